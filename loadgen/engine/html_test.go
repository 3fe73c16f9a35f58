package engine_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/loads/loads/loadgen/engine"
)

// site is a server that takes down what it is asked for.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newSite(t *testing.T, start func(*httptest.Server), pages map[string]http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.RequestURI())
		s.mu.Unlock()
		if f := pages[r.URL.Path]; f != nil {
			f(w, r)
		}
	}))
	if start == nil {
		s.Start()
	} else {
		start(s.Server)
	}
	t.Cleanup(s.Close)
	return s
}

func plainly(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// visit runs a scenario once; HOST stands for the site.
func (s *site) visit(t *testing.T, scenario string) *engine.Result {
	t.Helper()
	cfg := config(t, s.URL, "name: b\nhttp: {host: HOST, sharedConnections: 20, requestTimeout: 2m}\nergonomics: {stopOnInvalid: false}\nphases:\n- main: {atOnce: {users: 1, maxDuration: 5m, scenario: "+scenario+"}}\n")
	return mustRun(t, t.Context(), cfg)
}

func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// counted are the names under which requests were counted.
func counted(r *engine.Result) (names []string) {
	for _, m := range r.Totals.Metrics {
		names = append(names, fmt.Sprintf("%s %d", m.Metric, m.Responses))
	}
	return names
}

const shopPage = `<html><head><link rel=canonical href="/other"><link rel="shortcut icon" href=/icon.ico><link rel=stylesheet href="a.css?v=1&amp;w=2">
<script src="HOST/x.js"></script><!-- <img src=no.png> --></head><body><img src="../b.png"><img src="../b.png#again"><img alt=none>
<img src="https://elsewhere.test/c.png"><img src="data:image/png;base64,AAAA"><script>"<img src='no.png'>"</script><object data=d></body></html>`

func TestResourcesOfPagesAreFetched(t *testing.T) {
	s := newSite(t, nil, map[string]http.HandlerFunc{"/shop/index": func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.ReplaceAll(shopPage, "HOST", "http://"+r.Host))
	}})
	r := s.visit(t, `[{page: [{httpRequest: {GET: /shop/index, handler: {body: {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: 10, concurrency: 3, onCompletion: [{set: done <- yes}]}}}}}}}, {awaitVar: done}, {httpRequest: {GET: "/${done}", metric: end}}]}]`)
	want := []string{"GET /b.png", "GET /icon.ico", "GET /shop/a.css?v=1&w=2", "GET /shop/d", "GET /shop/index", "GET /x.js", "GET /yes"}
	seen := s.asked()
	if last := seen[len(seen)-1]; last != "GET /yes" {
		t.Errorf("the last request was %s, want that what follows waits for all resources", last)
	}
	if slices.Sort(seen); !slices.Equal(seen, want) {
		t.Errorf("the server was asked for\n%q, want\n%q", seen, want)
	}
	if got, want := counted(r), []string{"/b.png 1", "/icon.ico 1", "/shop/a.css?v=1&w=2 1", "/shop/d 1", "/x.js 1", "end 1", "page 1"}; !slices.Equal(got, want) || r.Failed() {
		t.Errorf("counted are\n%q, want\n%q; %+v", got, want, r.Phases)
	}
}

// What is in a page is fetched while the page still comes: the page ends once
// its image was asked for.
func TestResourcesAreFetchedWhileThePageComes(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan bool)
			s := newSite(t, start, map[string]http.HandlerFunc{
				"/": func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprint(w, `<img src="a.p`)
					_ = http.NewResponseController(w).Flush()
					// With HTTP/2 pieces are told in batches of 64 KB.
					fmt.Fprint(w, `ng">`, strings.Repeat("text ", 30_000))
					_ = http.NewResponseController(w).Flush()
					select {
					case <-asked:
					case <-r.Context().Done():
					}
				},
				"/a.png": func(http.ResponseWriter, *http.Request) { close(asked) },
			})
			r := s.visit(t, `[{page: [{httpRequest: {GET: /, handler: {body: {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: 10, metric: all}}}}}}}]}]`)
			if got := counted(r); !slices.Equal(got, []string{"all 1", "page 1"}) {
				t.Errorf("got %q, want both answered", got)
			}
		})
	}
}

func TestPagesGiveValues(t *testing.T) {
	const form = `<FORM Action='/a?x=1&amp;y=2'><input name=token value=t1><form action=/b><img src=1.png><img src=2.png>`
	zipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, form)
		_ = z.Close()
	}
	for _, c := range []struct {
		name, scenario string
		want           []string
	}{
		{
			"attributes", `[{a: [{httpRequest: {GET: /form, handler: {body: [{parseHtml: {onTagAttribute: {tag: FORM, attribute: action, toArray: "as[5]", toVar: first, processor: {count: n}}}}, {store: all}]}}}, {getSize: {fromVar: as, toVar: size}}, {httpRequest: {GET: "${first}"}}, {httpRequest: {GET: "/${size}/${n}"}}]}]`,
			[]string{"GET /form", "GET /a?x=1&y=2", "GET /2/2"},
		},
		{
			"of compressed pages", `[{a: [{httpRequest: {GET: /zipped, compression: gzip, handler: {body: {parseHtml: {onTagAttribute: {tag: input, attribute: value, toVar: v}}}}}}, {httpRequest: {GET: "/${v}"}}]}]`,
			[]string{"GET /zipped", "GET /t1"},
		},
		{
			"within gzipInflator", `[{a: [{httpRequest: {GET: /zipped, headers: {Accept-Encoding: gzip}, handler: {body: {gzipInflator: {processor: {parseHtml: {onTagAttribute: {tag: input, attribute: value, toVar: v}}}}}}}}, {httpRequest: {GET: "/${v}"}}]}]`,
			[]string{"GET /zipped", "GET /t1"},
		},
		{
			"a value of an earlier page is forgotten", `[{a: [{httpRequest: {GET: /form, handler: {body: {parseHtml: &p {onTagAttribute: {tag: form, attribute: action, toVar: v}}}}}}, {httpRequest: {GET: /none, handler: {body: {parseHtml: *p}}}}, {breakSequence: {stringCondition: {fromVar: v, isSet: false}}}, {httpRequest: {GET: /never}}]}]`,
			[]string{"GET /form", "GET /none"},
		},
		{
			"addresses for a queue", `{initialSequences: [{a: [{httpRequest: {GET: /form, handler: {body: {parseHtml: {onEmbeddedResource: {processor: {queue: {var: q, maxSize: 4, concurrency: 1, sequence: one, onCompletion: [{set: all <- done}]}}}}}}}}, {awaitVar: all}, {httpRequest: {GET: "/${all}"}}]}], sequences: [{one: [{httpRequest: {GET: {fromVar: "q[.]"}}}]}]}`,
			[]string{"GET /form", "GET /1.png", "GET /2.png", "GET /done"},
		},
		{
			"addresses in an array whose items become free", `{initialSequences: [{a: [{httpRequest: {GET: /form, handler: {body: {parseHtml: {onEmbeddedResource: {processor: [{array: "urls[2]"}, {newSequence: one}]}}}}}}]}], sequences: [{"one[2]": [{httpRequest: {GET: "${urls[.]}", sync: false, handler: {onCompletion: [{unset: "urls[.]"}]}}}]}]}`,
			[]string{"GET /form", "GET /1.png", "GET /2.png"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, nil, map[string]http.HandlerFunc{"/form": plainly(form), "/zipped": zipped})
			r := s.visit(t, c.scenario)
			got := s.asked()
			if strings.Contains(c.name, "array") {
				slices.Sort(got[1:])
			}
			if !slices.Equal(got, c.want) || r.Failed() {
				t.Errorf("got %q, want %q; %+v", got, c.want, r.Phases)
			}
		})
	}
}

// Of a page that is looked into no more is kept than of any other.
func TestLargePagesAreNotKept(t *testing.T) {
	const size = 100 << 20
	s := newSite(t, nil, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<title>")
		_, _ = io.CopyN(w, zeros{}, size)
		fmt.Fprint(w, "</title><img src=a.png>")
	}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := s.visit(t, `[{page: [{httpRequest: {GET: /, handler: {body: {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: 1}}}}}}}]}]`)
	runtime.ReadMemStats(&after)
	if cell := mainCell(r, "/a.png"); cell.Responses != 1 || mainCell(r, "page").BytesIn < size {
		t.Errorf("got %q, want the image behind %d bytes", counted(r), size)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > size/4 {
		t.Errorf("%d bytes were allocated for a page of %d", grown, size)
	}
}

func TestPagesThatSendElsewhere(t *testing.T) {
	pages := map[string]http.HandlerFunc{
		"/old":     plainly(`<meta http-equiv="Refresh" content="0; URL='new?a=1'">`),
		"/slow":    plainly(`<META CONTENT="1;url=/new" HTTP-EQUIV=refresh>`),
		"/reload":  plainly(`<meta http-equiv=refresh content=300>`),
		"/moved":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/old", http.StatusFound) },
		"/round":   plainly(`<meta http-equiv=refresh content="0;/round">`),
		"/far":     plainly(`<meta http-equiv=refresh content="0;url=http://elsewhere.test/">`),
		"/new":     plainly("here"),
		"/comment": plainly(`<!-- <meta http-equiv="Refresh" content="0; URL=new"> -->`),
		"/compress": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprint(z, `<meta http-equiv="Refresh" content="0; URL=new">`)
			_ = z.Close()
		},
	}
	for _, c := range []struct {
		name, path, follow, more string
		want                     []string
		invalid                  int64
	}{
		{"at once", "POST: /old, body: x", "HTML_ONLY", "", []string{"POST /old", "GET /new?a=1", "GET /end/here/1"}, 0},
		{"after a pause", "GET: /slow", "ALWAYS", "", []string{"GET /slow", "GET /new", "GET /end/here/1"}, 0},
		{"not when only headers count", "GET: /old", "LOCATION_ONLY", "", []string{"GET /old", "GET /end/meta/1"}, 0},
		{"not by a header", "GET: /moved", "HTML_ONLY", "", []string{"GET /moved", "GET /end/other/1"}, 0},
		{"by both", "GET: /moved", "ALWAYS", "", []string{"GET /moved", "GET /old", "GET /new?a=1", "GET /end/here/1"}, 0},
		{"compressed", "GET: /compress", "HTML_ONLY", ", compression: gzip", []string{"GET /compress", "GET /new", "GET /end/here/1"}, 0},
		{"not to load again", "GET: /reload", "ALWAYS", "", []string{"GET /reload", "GET /end/meta/1"}, 0},
		{"not by a comment", "GET: /comment", "ALWAYS", "", []string{"GET /comment", "GET /end/other/1"}, 0},
		{"not for ever", "GET: /round", "ALWAYS", "", append(slices.Repeat([]string{"GET /round"}, 21), "GET /end/unset/0"), 1},
		{"not to other servers", "GET: /far", "ALWAYS", "", []string{"GET /far", "GET /end/unset/0"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, nil, pages)
			r := s.visit(t, `[{s: [{set: what <- unset}, {setInt: n <- 0}, {httpRequest: {`+c.path+c.more+`, metric: m, handler: {followRedirect: `+c.follow+`, body: {store: body}, onCompletion: [{addToInt: n++}, {set: what <- other}, {conditional: {stringCondition: {fromVar: body, startsWith: "<meta"}, actions: [{set: what <- meta}]}}, {conditional: {stringCondition: {fromVar: body, equalTo: here}, actions: [{set: what <- here}]}}]}}}, {httpRequest: {GET: "/end/${what}/${n}"}}]}]`)
			if got := s.asked(); !slices.Equal(got, c.want) || r.Failed() {
				t.Errorf("got %q, want %q; %+v", got, c.want, r.Phases)
			}
			if cell := mainCell(r, "m"); cell.Responses != int64(len(c.want)-1) || cell.Invalid != c.invalid {
				t.Errorf("counted are %+v, want each request, %d invalid", cell.Counts, c.invalid)
			}
		})
	}
}

// A user who waits to be sent elsewhere ends with the phase.
func TestPausesEndWithThePhase(t *testing.T) {
	first := make(chan bool, 1)
	first <- true
	s := newSite(t, nil, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-first:
			fmt.Fprint(w, `<meta http-equiv=refresh content="1000; url=/never">`)
		default:
			fmt.Fprint(w, "end")
		}
	}})
	// The second user has the connection once the first one waits, and ends the phase.
	r := mustRun(t, t.Context(), config(t, s.URL, "name: b\nhttp: {host: HOST, sharedConnections: 1, requestTimeout: 2m}\nphases:\n- main: {atOnce: {users: 2, scenario: [{s: ["+
		"{httpRequest: {GET: /, sla: {blockedRatio: 1}, handler: {followRedirect: ALWAYS, body: {store: b}}}}, "+
		"{conditional: {stringCondition: {fromVar: b, equalTo: end}, actions: [{fail: it is over}]}}]}]}}\n"))
	if users := r.Totals.Users("main"); users.Ended != 2 || !slices.Equal(s.asked(), []string{"GET /", "GET /"}) || mainCell(r, "s").Responses != 2 {
		t.Errorf("got %+v, %q, want two users who have ended", users, s.asked())
	}
	if why := strings.Join(r.Phases[0].Reasons, ""); !strings.Contains(why, "it is over") {
		t.Errorf("the phase ended for %q", why)
	}
}
