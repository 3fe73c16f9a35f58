package engine_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/engine"
)

// cached runs a sequence of requests with a cache, and returns what a server has
// seen: the path, and what a request was conditional on.
func cached(t *testing.T, http2 bool, steps string, answer http.HandlerFunc) (*engine.Result, []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + r.URL.RequestURI()
		for _, name := range []string{"If-None-Match", "If-Modified-Since"} {
			if v := r.Header.Get(name); v != "" {
				line += " " + name
			}
		}
		mu.Lock()
		seen = append(seen, line)
		mu.Unlock()
		answer(w, r)
	}))
	if server.EnableHTTP2 = http2; http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	r := mustRun(t, t.Context(), config(t, server.URL, "name: b\nhttp: {host: HOST, sharedConnections: 2, useHttpCache: true, requestTimeout: 2m}\nphases:\n"+
		"- main: {atOnce: {users: 1, maxDuration: 5m, scenario: [{s: ["+steps+"]}]}}\n"))
	return r, seen
}

const get = "{httpRequest: {GET: /a}}"

func twice(what string) string { return what + ", " + what }

func TestAnswersAreCached(t *testing.T) {
	yesterday, tomorrow := time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(24*time.Hour).UTC().Format(http.TimeFormat)
	again, checked := []string{"GET /a", "GET /a"}, func(name string) []string { return []string{"GET /a", "GET /a " + name} }
	for i, c := range []struct {
		name    string
		headers string // of the answer, one a line
		steps   string
		want    []string
		hits    int64
	}{
		{"while they are fresh", "Cache-Control: private, max-age=60", twice(get), []string{"GET /a"}, 1},
		{"until a date", "Expires: " + tomorrow, twice(get), []string{"GET /a"}, 1},
		{"until a date that is far away", "Expires: Fri, 31 Dec 9999 23:59:59 GMT", twice(get), []string{"GET /a"}, 1},
		{"as long as an age below zero allows", "Cache-Control: max-age=0\nAge: -60", twice(get), again, 0},
		{"not after a date", "Expires: " + yesterday, twice(get), again, 0},
		{"not after what is no date", "Expires: 0", twice(get), again, 0},
		{"as long as max-age says, not Expires", "Cache-Control: max-age=0\nExpires: " + tomorrow, twice(get), again, 0},
		{"not when others have had them too long", "Cache-Control: max-age=60\nAge: 61", twice(get), again, 0},
		{"not without a time", "", twice(get), again, 0},
		{"not when they forbid it", "Cache-Control: max-age=60, no-store\nETag: x", twice(get), again, 0},
		{"and checked by their tag", `ETag: "1"`, twice(get), checked("If-None-Match"), 0},
		{"and checked by their date", "Last-Modified: " + yesterday, twice(get), checked("If-Modified-Since"), 0},
		{"and checked by both", "Last-Modified: " + yesterday + "\nETag: x", twice(get), checked("If-None-Match If-Modified-Since"), 0},
		{"and checked each time", "Cache-Control: no-cache, max-age=60\nETag: x", twice(get), checked("If-None-Match"), 0},
		{"by path and query", "Cache-Control: max-age=60", get + ", {httpRequest: {GET: /a?b}}, " + get, []string{"GET /a", "GET /a?b"}, 1},
		{"for HEAD, too", "Cache-Control: max-age=60", get + ", {httpRequest: {HEAD: /a}}", []string{"GET /a"}, 1},
		{"not of POST", "Cache-Control: max-age=60", twice("{httpRequest: {POST: /a}}"), []string{"POST /a", "POST /a"}, 0},
		{"not after a change", "Cache-Control: max-age=60", get + ", {httpRequest: {PUT: /a}}, " + get, []string{"GET /a", "PUT /a", "GET /a"}, 0},
		{"not when the step forbids it", "Cache-Control: max-age=60", get + ", {httpRequest: {GET: /a, headers: {Cache-Control: no-cache}}}", again, 0},
		{"not after clearHttpCache", "Cache-Control: max-age=60", get + ", {clearHttpCache: }, " + get, again, 0},
		{"by what they vary on", "Cache-Control: max-age=60\nVary: Accept-Encoding", twice(get), []string{"GET /a"}, 1},
		{"not for other headers", "Cache-Control: max-age=60\nVary: Accept", get + ", {httpRequest: {GET: /a, headers: {Accept: x/y}}}", again, 0},
		{"not when they vary on all", "Cache-Control: max-age=60\nVary: *", twice(get), again, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, http2 := range []bool{false, true} {
				if http2 && i%8 != 0 {
					continue // some are enough
				}
				r, seen := cached(t, http2, c.steps, func(w http.ResponseWriter, _ *http.Request) {
					for line := range strings.Lines(c.headers) {
						name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
						w.Header().Set(name, value)
					}
				})
				cell := mainCell(r, "s")
				if !slices.Equal(seen, c.want) || cell.CacheHits != c.hits || cell.Requests != int64(len(c.want)) || cell.Latency.Count() != float64(len(c.want)) || r.Failed() {
					t.Errorf("HTTP/2 %t: the server has seen %q, want %q; counted are %+v, want %d hits; %+v", http2, seen, c.want, cell.Counts, c.hits, r.Phases)
				}
			}
		})
	}
}

// What is taken from the cache is handled as what the server sends, and so is
// what the server says is unchanged.
func TestCachedAnswersAreHandled(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		version := 0
		r, seen := cached(t, false, "{loop: {counterVar: i, repeats: 3, steps: [{unset: v}, {unset: h}, {unset: st}, {httpRequest: {GET: /a, handler: {status: {store: st}, header: {filter: {header: x-id, processor: {store: h}}}, body: {json: {query: .v, toVar: v}}, onCompletion: [{addToInt: {var: n, value: 1, orElseSetTo: 1}}]}}}, {httpRequest: {GET: '/${st}/${h}/${v}/${n}'}}]}}",
			func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path != "/a":
				case r.Header.Get("If-None-Match") == `"1"` && version < 2:
					version++
					w.WriteHeader(http.StatusNotModified)
				default:
					w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(version+1)))
					w.Header().Set("X-Id", fmt.Sprint("id-", version))
					if fresh {
						w.Header().Set("Cache-Control", "max-age=60")
					}
					version++
					fmt.Fprintf(w, `{"v": "w%d"}`, version)
				}
			})
		want := []string{"GET /a", "GET /200/id-0/w1/1", "GET /200/id-0/w1/2", "GET /200/id-0/w1/3"}
		status := 0
		if !fresh {
			want = []string{"GET /a", "GET /200/id-0/w1/1", "GET /a If-None-Match", "GET /200/id-0/w1/2", "GET /a If-None-Match", "GET /200/id-2/w3/3"}
			status = 1
		}
		if !slices.Equal(seen, want) || r.Failed() {
			t.Errorf("fresh %t: the server has seen\n%q, want\n%q; %+v", fresh, seen, want, r.Phases)
		}
		if got := mainCell(r, "s").Class(3); got != int64(status) {
			t.Errorf("fresh %t: %d answers count as 3xx, want %d", fresh, got, status)
		}
	}
}

// An answer that depends on cookies is for those that its request had, not for
// those that it sets itself.
func TestCachedAnswersAreForTheirCookies(t *testing.T) {
	step := "{httpRequest: {GET: /a, handler: {body: {store: b}}}}, {httpRequest: {GET: '/${b}'}}"
	_, seen := cached(t, false, step+", "+step+", "+step, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a" {
			return
		}
		who := "nobody"
		if c, err := r.Cookie("who"); err == nil {
			who = c.Value
		} else {
			http.SetCookie(w, &http.Cookie{Name: "who", Value: "me"})
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Cookie")
		fmt.Fprint(w, who)
	})
	if want := []string{"GET /a", "GET /nobody", "GET /a", "GET /me", "GET /me"}; !slices.Equal(seen, want) {
		t.Errorf("the server has seen %q, want %q", seen, want)
	}
}

// How long an answer was on its way is a part of its age.
func TestSlowAnswersAreOldWhenTheyCome(t *testing.T) {
	r, seen := cached(t, false, twice(get), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1")
		<-time.After(1100 * time.Millisecond)
	})
	if hits := mainCell(r, "s").CacheHits; len(seen) != 2 || hits > 0 {
		t.Errorf("the server has seen %q, with %d hits, want two requests", seen, hits)
	}
}

// Each user has a cache of their own, which begins empty.
func TestCachesAreOfUsers(t *testing.T) {
	s := newSite(t, nil, map[string]http.HandlerFunc{"/a": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "max-age=60") }})
	r := mustRun(t, t.Context(), config(t, s.URL, "name: b\nhttp: {host: HOST, useHttpCache: true}\nphases:\n- main: {atOnce: {users: 5, scenario: [{s: ["+get+", "+get+", "+get+"]}]}}\n"))
	if cell := mainCell(r, "s"); len(s.asked()) != 5 || cell.CacheHits != 10 || cell.Requests != 5 {
		t.Errorf("the server was asked %d times, %d answers came from caches, want 5 and 10", len(s.asked()), cell.CacheHits)
	}
}

// A cache does not grow without end: here the first answers have to go.
func TestCachesAreBounded(t *testing.T) {
	r, seen := cached(t, false, "{loop: {counterVar: i, repeats: 300, steps: [{httpRequest: {GET: '/${i}', handler: {body: {store: b}}}}]}}, {httpRequest: {GET: /299, handler: {body: {store: b}}}}, {httpRequest: {GET: /0, handler: {body: {store: b}}}}",
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprint(w, strings.Repeat("x", 10_000))
		})
	if cell := mainCell(r, "s"); len(seen) != 301 || cell.CacheHits != 1 {
		t.Errorf("the server has seen %d requests, with %d hits, want 301 and 1", len(seen), cell.CacheHits)
	}
}
