package engine_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Redirects lead to other endpoints, but not what is meant for one of them only.
func TestRedirectsToOtherServers(t *testing.T) {
	for _, c := range []struct {
		name, to string // A and B stand for the servers' addresses, in capitals
		want     string // what the last request has had, of the server that has had it
		invalid  int64
	}{
		{"to the same server", "http://A/end", "a: GET /end host me.test, authorization Basic x, cookie a=1, x-other y", 0},
		{"to another", "http://B/end", "b: GET /end host b.test, authorization , cookie , x-other y", 0},
		{"to another, whose redirects lead on", "http://B/moved", "b: GET /end host b.test, authorization , cookie , x-other y", 0},
		{"to another and back", "http://B/back", "a: GET /end host a.test, authorization , cookie , x-other y", 0},
		{"to what isn't encoded", "http://B/sp ace?a b", "b: GET /sp ace?a%20b host b.test, authorization , cookie , x-other y", 0},
		{"to what has the same name, but speaks another protocol", "https://B/end", "", 1},
		{"to what is no server", "mailto:me@a.test", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var last, to, toA string
			serve := func(name string) *httptest.Server {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					switch r.URL.Path {
					case "/":
						w.Header().Set("Location", to)
						w.WriteHeader(http.StatusFound)
					case "/moved":
						http.Redirect(w, r, "/end", http.StatusFound)
					case "/back":
						http.Redirect(w, r, toA, http.StatusFound)
					default:
						host, _, _ := strings.Cut(r.Host, ":")
						last = fmt.Sprintf("%s: %s %s host %s, authorization %s, cookie %s, x-other %s", name, r.Method, strings.TrimSuffix(r.URL.Path+"?"+r.URL.RawQuery, "?"), host,
							r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.Header.Get("X-Other"))
					}
				}))
				t.Cleanup(s.Close)
				return s
			}
			a, b := serve("a"), serve("b")
			port := func(s *httptest.Server) string { return s.URL[strings.LastIndexByte(s.URL, ':'):] }
			mu.Lock()
			to = strings.NewReplacer("A", "A.Test"+port(a), "B", "B.Test"+port(b)).Replace(c.to)
			toA = "http://a.test" + port(a) + "/end"
			mu.Unlock()
			cfg := config(t, "", "name: b\nhttp:\n- {host: 'http://a.test"+port(a)+"', addresses: [127.0.0.1]}\n- {name: b, host: 'http://b.test"+port(b)+"', addresses: [127.0.0.1]}\n"+
				"ergonomics: {stopOnInvalid: false}\nphases:\n- main: {atOnce: {users: 1, scenario: [{s: [{httpRequest: {GET: /, headers: {Host: me.test, Authorization: Basic x, Cookie: a=1, X-Other: y}, handler: {followRedirect: ALWAYS}}}]}]}}\n")
			r := mustRun(t, t.Context(), cfg)
			mu.Lock()
			defer mu.Unlock()
			if cell := mainCell(r, "s"); last != c.want || cell.Invalid != c.invalid || r.Failed() {
				t.Errorf("the last request was %q, want %q; %+v, want %d invalid; %+v", last, c.want, cell.Counts, c.invalid, r.Phases)
			}
		})
	}
}

// What is in a page is fetched from where it is, however that is written.
func TestResourcesOfOtherServers(t *testing.T) {
	s := newSite(t, nil, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `<base href="/first/"><base href="/second/"><img src="HTTP://%s/a.png"><img src="https://%[1]s/b.png"><img src="c.png?a b"><link href=none.css>`, strings.ToUpper("localhost")+r.Host[strings.IndexByte(r.Host, ':'):])
	}})
	s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	r := s.visit(t, `[{page: [{httpRequest: {GET: /, handler: {body: {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: 10}}}}}}}]}]`)
	got := s.asked()
	slices.Sort(got)
	if want := []string{"GET /", "GET /a.png", "GET /first/c.png?a%20b"}; !slices.Equal(got, want) || r.Failed() {
		t.Errorf("got %q, want %q; %+v", got, want, r.Phases)
	}
}
