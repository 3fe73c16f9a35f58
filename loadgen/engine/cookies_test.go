package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
)

// at takes an address apart.
func at(address string) (*benchmark.Endpoint, []byte) {
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	return &benchmark.Endpoint{Protocol: scheme, Host: host}, []byte("/" + path)
}

func TestCookiesGoWhereTheyBelong(t *testing.T) {
	past, future := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, tt := range []struct {
		name, from, header string
		later              time.Duration
		to                 string
		want               bool
	}{
		{"back to their host", "http://shop.test/", "a=1", 0, "http://SHOP.test/x", true},
		{"not to others", "http://shop.test/", "a=1", 0, "http://other.test/", false},
		{"not to hosts below", "http://shop.test/", "a=1", 0, "http://www.shop.test/", false},
		{"to hosts below a domain", "http://www.shop.test/", "a=1; Domain=.shop.test", 0, "http://api.shop.test/", true},
		{"to the domain itself", "http://www.shop.test/", "a=1; Domain=shop.test", 0, "http://shop.test/", true},
		{"not to what only ends alike", "http://www.shop.test/", "a=1; Domain=shop.test", 0, "http://my-shop.test/", false},
		{"not for a domain of others", "http://shop.test/", "a=1; Domain=other.test", 0, "http://other.test/", false},
		{"not for all hosts of a top domain", "http://shop.test/", "a=1; Domain=test", 0, "http://other.test/", false},
		{"for a host without a dot", "http://shop/", "a=1; Domain=shop", 0, "http://shop/", true},
		{"not for a part of an address", "http://10.0.0.1/", "a=1; Domain=0.0.1", 0, "http://11.0.0.1/", false},
		{"for an address", "http://10.0.0.1/", "a=1; Domain=10.0.0.1", 0, "http://10.0.0.1/", true},
		{"to their path", "http://shop.test/", "a=1; Path=/x", 0, "http://shop.test/x/y", true},
		{"with a query", "http://shop.test/", "a=1; Path=/x", 0, "http://shop.test/x?y", true},
		{"not to other paths", "http://shop.test/", "a=1; Path=/x", 0, "http://shop.test/xy", false},
		{"to the folder where they were set", "http://shop.test/in/login?a=/b/c", "a=1", 0, "http://shop.test/in/cart", true},
		{"not to other folders", "http://shop.test/in/login", "a=1", 0, "http://shop.test/out", false},
		{"not to other folders, for a path that is none", "http://shop.test/in/login", "a=1; Path=out", 0, "http://shop.test/out", false},
		{"to all, from the top", "http://shop.test/login", "a=1", 0, "http://shop.test/a/b", true},
		{"over HTTPS, if they are secure", "https://shop.test/", "a=1; Secure", 0, "https://shop.test/", true},
		{"and not over HTTP", "https://shop.test/", "a=1; Secure", 0, "http://shop.test/", false},
		{"until they are old", "http://shop.test/", "a=1; Max-Age=60", 59 * time.Second, "http://shop.test/", true},
		{"and not later", "http://shop.test/", "a=1; Max-Age=60", 60 * time.Second, "http://shop.test/", false},
		{"until a date", "http://shop.test/", "a=1; Expires=" + future, 59 * time.Minute, "http://shop.test/", true},
		{"and not after it", "http://shop.test/", "a=1; Expires=" + future, 61 * time.Minute, "http://shop.test/", false},
		{"by age rather than date", "http://shop.test/", "a=1; Max-Age=60; Expires=" + past, 0, "http://shop.test/", true},
		{"not of the past", "http://shop.test/", "a=1; Expires=" + past, 0, "http://shop.test/", false},
		{"not without an age", "http://shop.test/", "a=1; Max-Age=0", 0, "http://shop.test/", false},
		{"for ever", "http://shop.test/", "a=1; Max-Age=99999999999", 1000 * time.Hour, "http://shop.test/", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j jar
			now := loop.Now()
			from, path := at(tt.from)
			j.set(from.Host, path, []byte(tt.header), now)
			before := j.version
			j.expire(now.Add(tt.later))
			to, target := at(tt.to)
			if got := string(j.append(nil, to, target)); got != map[bool]string{true: "a=1"}[tt.want] {
				t.Errorf("got %q", got)
			}
			if tt.later > 0 && !tt.want && j.version == before {
				t.Error("requests that had the cookie are taken for those without")
			}
		})
	}
}

// Whatever a server sets, a request can be made of it, and little is kept.
func FuzzCookies(f *testing.F) {
	f.Add("a=1; Path=/; Domain=shop.test; Max-Age=-1; Secure", "/a/b?c")
	f.Add(`a="x y"; Expires=Fri, 31 Dec 9999 23:59:59 GMT`, "")
	f.Fuzz(func(t *testing.T, header, target string) {
		var j jar
		to, _ := at("https://www.shop.test/")
		for i := range 3 * maxCookies {
			j.set(to.Host, []byte(target), fmt.Append(nil, i%2*i, header), loop.Now())
		}
		j.expire(loop.Now().Add(time.Hour))
		if sent := j.append(nil, to, []byte(target)); len(j.cookies) > maxCookies || strings.ContainsAny(string(sent), "\r\n\x00") {
			t.Errorf("%d cookies are kept, and %q is sent", len(j.cookies), sent)
		}
	})
}
