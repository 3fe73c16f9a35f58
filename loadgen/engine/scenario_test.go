package engine_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is a server that takes down requests and answers some paths in its
// own way.
type recorder struct {
	mu   sync.Mutex
	seen []string // METHOD path, and body if there is one
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.RequestURI()
	if len(body) > 0 {
		line += " " + string(body)
	}
	rec.mu.Lock()
	rec.seen = append(rec.seen, line)
	rec.mu.Unlock()
	switch r.URL.Path {
	case "/json":
		fmt.Fprint(w, `{"id": 7, "name": "a \"b\"", "items": [{"n": 1}, {"n": 2}, {"n": 3}]}`)
	case "/gzip":
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, `{"id": 8}`)
		_ = z.Close()
	case "/nothing":
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", "0")
	case "/login":
		http.SetCookie(w, &http.Cookie{Name: "who", Value: "me", Path: "/shop"})
		w.Header().Set("X-Token", "t-1")
	case "/moved":
		http.Redirect(w, r, "there?a=b", http.StatusFound)
	case "/kept":
		http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "/error":
		w.WriteHeader(http.StatusInternalServerError)
	case "/number":
		fmt.Fprint(w, " 42\n")
	case "/cookies":
		fmt.Fprint(w, r.Header.Get("Cookie"))
	}
}

// once runs a scenario once, and returns what the server has seen.
func once(t *testing.T, scenario string) (seen []string, failure string) {
	t.Helper()
	rec := &recorder{}
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	cfg := config(t, server.URL, "name: b\nhttp: {host: HOST, sharedConnections: 4, requestTimeout: 2m}\nergonomics: {stopOnInvalid: false}\nphases:\n- main: {atOnce: {users: 1, maxDuration: 5m, scenario: "+scenario+"}}\n")
	cfg.Read = func(name string) ([]byte, error) {
		return []byte(map[string]string{"rows.csv": "# id,name\n1,\"a, b\"\n", "items.txt": "one\n", "body.txt": "from a file"}[name]), nil
	}
	r := mustRun(t, t.Context(), cfg)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.seen, strings.Join(r.Phases[0].Reasons, "; ")
}

func TestScenariosDoWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		name     string
		scenario string
		want     []string // requests
		fails    string   // the phase fails, and says so
	}{
		{"sequences follow each other", `[{a: [{httpRequest: {GET: /a}}]}, {b: [{httpRequest: {GET: /b}}]}]`, []string{"GET /a", "GET /b"}, ""},
		{
			"methods, headers and bodies", `[{a: [{httpRequest: {POST: /p, body: {text: "${x}"}}}, {httpRequest: {PUT: /q, body: {fromFile: body.txt}}}, {httpRequest: {HEAD: /h}}, {httpRequest: {DELETE: /d}}]}]`,
			[]string{"POST /p ${x}", "PUT /q from a file", "HEAD /h", "DELETE /d"},
			"",
		},
		{
			"patterns and forms", `[{a: [{set: v <- a b&c}, {setInt: n <- 7}, {httpRequest: {GET: "/x?${urlencode:v}"}}, {httpRequest: {POST: "/${%03d:n}", body: {form: [{name: f, fromVar: v}, {name: g h, value: "1&2"}, {name: i, pattern: "${n}-${v}"}]}}}]}]`,
			[]string{"GET /x?a+b%26c", "POST /007 f=a+b%26c&g+h=1%262&i=7-a+b%26c"},
			"",
		},
		{
			"JSON into variables", `[{a: [{httpRequest: {GET: /json, handler: {body: [{json: {query: .id, toVar: id}}, {json: {query: .name, toVar: name}}, {json: {query: ".items[].n", toArray: "ns[5]"}}]}}}, {getSize: {fromVar: ns, toVar: size}}, {getItem: {fromVar: ns, index: 1, toVar: second}}, {httpRequest: {GET: "/${id}/${urlencode:name}/${size}/${second}"}}]}]`,
			[]string{"GET /json", "GET /7/a+%22b%22/3/2"},
			"",
		},
		{
			"compressed answers", `[{a: [{httpRequest: {GET: /gzip, compression: gzip, handler: {body: {json: {query: .id, toVar: id}}}}}, {httpRequest: {GET: "/${id}"}}]}]`,
			[]string{"GET /gzip", "GET /8"},
			"",
		},
		{
			"compressed answers without a body", `[{a: [{httpRequest: {HEAD: /gzip, compression: gzip, handler: &h {body: {count: n}, onCompletion: [{set: ok <- yes}, {conditional: {stringCondition: {fromVar: n, isSet: false}, actions: [{set: ok <- no}]}}]}}}, {httpRequest: {GET: /nothing, compression: gzip, handler: *h}}, {httpRequest: {GET: "/${ok}/${n}"}}]}]`,
			[]string{"HEAD /gzip", "GET /nothing", "GET /yes/2"},
			"",
		},
		{
			"gzipInflator", `[{a: [{httpRequest: {GET: /gzip, headers: {Accept-Encoding: gzip}, handler: {body: {gzipInflator: {processor: {json: {query: .id, toVar: id}}}}}}}, {httpRequest: {GET: "/${id}"}}]}]`,
			[]string{"GET /gzip", "GET /8"},
			"",
		},
		{
			"status, header and number", `[{a: [{httpRequest: {GET: /login, handler: {status: {store: status}, header: {filter: {header: x-token, processor: {store: token}}}}}}, {httpRequest: {GET: /number, handler: {body: {storeInt: n}}}}, {addToInt: n += 2}, {httpRequest: {GET: "/${status}/${token}/${n}"}}]}]`,
			[]string{"GET /login", "GET /number", "GET /200/t-1/44"},
			"",
		},
		{
			"redirects", `[{a: [{httpRequest: {POST: /moved, body: x, handler: {followRedirect: LOCATION_ONLY}}}, {httpRequest: {POST: /kept, body: y, handler: {followRedirect: LOCATION_ONLY}}}, {httpRequest: {GET: /moved}}]}]`,
			[]string{"POST /moved x", "GET /there?a=b", "POST /kept y", "POST /there y", "GET /moved"},
			"",
		},
		{
			"cookies of a path", `[{a: [{httpRequest: {GET: /login}}, {httpRequest: {GET: /cookies, handler: {body: {store: none}}}}, {httpRequest: {GET: "/x${none}"}}]}]`,
			[]string{"GET /login", "GET /cookies", "GET /x"},
			"",
		},
		{
			"a loop", `[{a: [{loop: {counterVar: i, repeats: 3, steps: [{httpRequest: {GET: "/${i}"}}]}}, {httpRequest: {GET: "/end${i}"}}]}]`,
			[]string{"GET /0", "GET /1", "GET /2", "GET /end3"},
			"",
		},
		{
			"conditions", `{initialSequences: [{a: [{setInt: n <- 5}, {conditional: {intCondition: {fromVar: n, greaterThan: 4}, actions: [{set: v <- big}]}}, {conditional: {intCondition: {fromVar: n, lessThan: 4}, actions: [{set: v <- small}]}}, {breakSequence: {stringCondition: {fromVar: v, startsWith: bi}, onBreak: [{newSequence: b}]}}, {httpRequest: {GET: /never}}]}], sequences: [{b: [{httpRequest: {GET: "/b/${v}"}}]}]}`,
			[]string{"GET /b/big"},
			"",
		},
		{
			"a restart", `[{a: [{setInt: {var: n, value: 0, onlyIfNotSet: true}}, {addToInt: n++}, {httpRequest: {GET: "/${n}"}}, {breakSequence: {intCondition: {fromVar: n, equalTo: 3}}}, {restartSequence: }]}]`,
			[]string{"GET /1", "GET /2", "GET /3"},
			"",
		},
		{
			"instances for items", `{initialSequences: [{a: [{httpRequest: {GET: /json, handler: {body: {json: {query: ".items[].n", toArray: "ns[3]"}}}}}, {foreach: {fromVar: ns, sequence: one}}]}], sequences: [{"one[3]": [{httpRequest: {GET: "/${ns[.]}"}}]}]}`,
			[]string{"GET /1", "GET /2", "GET /3", "GET /json"},
			"",
		},
		{
			"waiting for a variable", `{initialSequences: [{a: [{awaitVar: go}, {httpRequest: {GET: /second}}]}, {b: [{httpRequest: {GET: /first}}, {set: go <- 1}]}]}`,
			[]string{"GET /first", "GET /second"},
			"",
		},
		{
			"answers that nobody waits for", `[{a: [{httpRequest: {GET: /a, sync: false}}, {httpRequest: {GET: /b, sync: false}}, {awaitAllResponses: }, {httpRequest: {GET: /c}}]}]`,
			[]string{"GET /a", "GET /b", "GET /c"},
			"",
		},
		{
			"data from files", `[{a: [{randomItem: {toVar: x, file: items.txt}}, {randomCsvRow: {file: rows.csv, skipComments: true, columns: {0: id, 1: name}}}, {httpRequest: {GET: "/${x}/${id}/${urlencode:name}"}}]}]`,
			[]string{"GET /one/1/a%2C+b"},
			"",
		},
		{
			"shared data", `[{a: [{set: v <- 1}, {addToSharedCounter: c += 5}, {getSharedCounter: c}, {publishAgentData: v}, {readAgentData: v}, {pushSharedMap: {key: m, vars: [v]}}, {unset: v}, {pullSharedMap: {key: m}}, {httpRequest: {GET: "/${c}/${v}"}}]}]`,
			[]string{"GET /5/1"},
			"",
		},
		{
			"pauses", `[{a: [{thinkTime: 20ms}, {scheduleDelay: {key: k, duration: 10ms}}, {awaitDelay: k}, {thinkTime: {random: NEGATIVE_EXPONENTIAL, duration: 1ms, max: 5ms}}, {thinkTime: {random: LINEAR, min: 1ms, max: 2ms}}, {httpRequest: {GET: /a}}]}]`,
			[]string{"GET /a"},
			"",
		},
		{
			"a queue", `{initialSequences: [{a: [{httpRequest: {GET: /json, handler: {body: {json: {query: ".items[].n", processor: {queue: {var: q, sequence: one, maxSize: 10, concurrency: 2, onCompletion: [{newSequence: done}]}}}}}}}]}], sequences: [{one: [{httpRequest: {GET: "/${q[.]}"}}]}, {done: [{httpRequest: {GET: /done}}]}]}`,
			[]string{"GET /1", "GET /2", "GET /3", "GET /done", "GET /json"},
			"",
		},
		{
			"connections that are closed", `[{a: [{httpRequest: {GET: /a, handler: {body: [{closeConnection: }]}}}, {httpRequest: {GET: /b, sla: {blockedRatio: 1}}}]}]`,
			[]string{"GET /a", "GET /b"},
			"",
		},
		{
			"what the phase is", `[{a: [{httpRequest: {GET: "/${hyperfoil.phase.name}/${hyperfoil.phase.id}/${hyperfoil.phase.iteration}"}}, {template: {pattern: "${replace/^[0-9]{13}$/ms/:hyperfoil.phase.start.time.as.string}", toVar: unit}}, {httpRequest: {GET: "/${unit}"}}]}]`,
			[]string{"GET /main/0/0", "GET /ms"},
			"",
		},
		{"a stop", `[{a: [{httpRequest: {GET: /a}}, {stop: }, {httpRequest: {GET: /b}}]}]`, []string{"GET /a"}, ""},
		{"a failure", `[{a: [{httpRequest: {GET: /a}}, {fail: it broke}, {httpRequest: {GET: /b}}]}]`, []string{"GET /a"}, "it broke"},
		{"a variable that is not set", `[{a: [{set: v <- 1}, {unset: v}, {httpRequest: {GET: "/${v}"}}]}]`, nil, "variable v is not set"},
		{"a sequence that runs already", `{initialSequences: [{a: [{thinkTime: 5ms}, {newSequence: b}]}, {b: [{thinkTime: 4m}]}]}`, nil, "can't start b"},
		{
			"changed documents", `[{a: [{httpRequest: {GET: /json, handler: {body: [{json: {query: ".items[].n", replace: [{actions: {var: old, actions: [{stringToInt: old -> n}, {addToInt: n += 10}], pattern: "${n}"}}], processor: [{store: doc}]}}, {json: {query: .items, delete: true, toVar: less}}]}}}, {httpRequest: {POST: /p, body: {fromVar: doc}}}, {json: {fromVar: less, query: .name, replace: '"${n}"', toVar: less}}, {httpRequest: {POST: /q, body: {fromVar: less}}}]}]`,
			[]string{"GET /json", `POST /p {"id": 7, "name": "a \"b\"", "items": [{"n": 11}, {"n": 12}, {"n": 13}]}`, `POST /q {"id": 7, "name": "13"}`},
			"",
		},
		{
			"a change that fails before others don't", `[{a: [{httpRequest: {GET: /json, handler: {body: {json: {query: ".items[].n", replace: [{actions: {var: old, actions: [{conditional: {stringCondition: {fromVar: old, equalTo: "2"}, actions: [{set: v <- two}]}}], pattern: "${v}"}}], toVar: doc}}}}}, {set: v <- no}, {httpRequest: {GET: /never}}]}]`,
			[]string{"GET /json"},
			"variable v is not set",
		},
		{"a broken document", `[{a: [{httpRequest: {GET: /number, handler: {body: {json: {query: .a.b, toVar: v}}}}}, {httpRequest: {GET: /b}}]}]`, []string{"GET /number", "GET /b"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen, why := once(t, c.scenario)
			if slices.Contains([]string{"instances for items", "a queue", "answers that nobody waits for"}, c.name) {
				slices.Sort(seen)
			}
			if !slices.Equal(seen, c.want) || c.fails == "" && why != "" || !strings.Contains(why, c.fails) {
				t.Errorf("got %q, failure %q, want %q, %q", seen, why, c.want, c.fails)
			}
		})
	}
}

// Sequences of a session take requests in turn; one whose answer has come does not
// wait for another's: here that comes only when the first has gone on.
func TestSequencesWaitForTheirOwnAnswers(t *testing.T) {
	second := make(chan struct{})
	s := newSite(t, nil, map[string]http.HandlerFunc{
		"/second": func(http.ResponseWriter, *http.Request) { close(second) },
		"/slow": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-second:
			case <-r.Context().Done():
			}
		},
	})
	r := s.visit(t, `{initialSequences: [{a: [{awaitVar: go}, {httpRequest: {GET: /slow, timeout: 1m}}]}, {b: [{httpRequest: {GET: /first, handler: {onCompletion: [{set: go <- 1}]}}}, {httpRequest: {GET: /second}}]}]}`)
	if slow, rest := mainCell(r, "a"), mainCell(r, "b"); slow.Responses != 1 || rest.Responses != 2 {
		t.Errorf("got %+v for the slow answer, %+v for the others, want one and two answers", slow.Counts, rest.Counts)
	}
}
