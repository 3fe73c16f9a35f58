package benchmark_test

import (
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
)

func TestHostsOfEndpoints(t *testing.T) {
	tests := []struct{ http, protocol, authority, fault string }{
		{http: "{host: shop.test}", protocol: "http", authority: "shop.test:80"},
		{http: "{host: shop.test:8080}", protocol: "http", authority: "shop.test:8080"},
		{http: "{host: https://shop.test}", protocol: "https", authority: "shop.test:443"},
		{http: "{host: shop.test, protocol: https, port: 8443}", protocol: "https", authority: "shop.test:8443"},
		{http: "{host: 'http://[::1]:8080/'}", protocol: "http", authority: "[::1]:8080"},
		{http: "{host: '::1'}", protocol: "http", authority: "[::1]:80"},
		{http: "{host: 'https://a.test', protocol: http}", fault: "another protocol than protocol"},
		{http: "{host: 'ftp://a.test'}", fault: "is not a host"},
		{http: "{host: 'http://a.test:99999'}", fault: "has no port from 1 to 65535"},
		{http: "{host: 'a.test:80', port: 81}", fault: "another than port"},
		{http: "{host: 'http://a.test/path'}", fault: "more than a host"},
		{http: "{host: 'a b'}", fault: "is not a host"},
		{http: "{host: a, addresses: [b, 'b:81', '10.0.0.1:81', '::1', '[::1]:81', '[::1]']}", protocol: "http", authority: "a:80"},
		{http: "{host: a, addresses: 'b:81'}", protocol: "http", authority: "a:80"},
		{http: "{host: a, addresses: [b, 'b:0']}", fault: "b.yaml:5:32: http.addresses[1]: b:0 is not an address"},
		{http: "{host: a, addresses: [':81']}", fault: "is not an address"},
		{http: "{host: a, addresses: 'http://b:81'}", fault: "b.yaml:5:28: http.addresses: "},
		{http: "{host: a, addresses: ['']}", fault: "is not an address"},
		{http: "{host: a, sharedConnections: 0}", fault: "is not a number of connections"},
		{http: "{host: a, pipeliningLimit: 4}", fault: "asks for pipelining"},
		{http: "{host: a, allowHttp1x: false, allowHttp2: false}", fault: "leaves no version"},
		{http: "{port: 80}", fault: "http.host is missing"},
	}
	for _, test := range tests {
		t.Run(test.http, func(t *testing.T) {
			text := "name: x\nusersPerSec: 1\nduration: 1s\nscenario: [{s: [noop]}]\nhttp: " + test.http
			b, err := benchmark.Parse("b.yaml", []byte(text), nil)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("got error %v, want one with %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e := b.HTTP[0]; e.Protocol != test.protocol || e.Authority() != test.authority {
				t.Errorf("got %s %s, want %s %s", e.Protocol, e.Authority(), test.protocol, test.authority)
			}
		})
	}
}

// Times and sizes are strict, so that nothing is taken for what it isn't.
func TestTimes(t *testing.T) {
	tests := []struct {
		field, value string
		right        bool
	}{
		{"duration", "5", true},
		{"duration", "5s", true},
		{"duration", "5 s", true},
		{"duration", "500ms", true},
		{"duration", "2h", true},
		{"duration", "5us", false},
		{"duration", "1.5s", false},
		{"duration", "1m30s", false},
		{"duration", "-5s", false},
		{"duration", "s", false},
		{"duration", "999999999999h", false},
		{"duration", "0", false},
		{"thinkTime", "10us", true},
		{"thinkTime", "3 ms", true},
		{"thinkTime", "3", false},
		{"thinkTime", "fast", false},
	}
	for _, test := range tests {
		t.Run(test.field+" "+test.value, func(t *testing.T) {
			duration, pause := "5s", "1s"
			if test.field == "duration" {
				duration = test.value
			} else {
				pause = test.value
			}
			text := "name: x\nhttp: {host: a}\nusersPerSec: 1\nduration: " + duration + "\nscenario: [{s: [thinkTime: " + pause + "]}]"
			if _, err := benchmark.Parse("b.yaml", []byte(text), nil); (err == nil) != test.right {
				t.Errorf("got error %v, want none: %v", err, test.right)
			}
		})
	}
}
