package web_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
	"github.com/loads/loads/web"
)

// An empty is a pool that has no machines: a run ends at once. A held one
// keeps runs waiting for machines.
type pool struct{ held bool }

func (*pool) Name() string { return "pool" }

func (p *pool) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	if p.held {
		<-ctx.Done()
	}
	return make([]broker.Machine, len(reqs)), broker.Errorf(broker.EUnavailable, "There are no machines.")
}

func (*pool) Release(context.Context, broker.Machine) error         { return nil }
func (*pool) Owned(context.Context, string) ([]broker.Owned, error) { return nil, nil }
func (*pool) Discard(context.Context, broker.Owned) error           { return nil }
func noEngine(broker.Endpoint) (broker.Engine, error) {
	return nil, broker.Errorf(broker.EUnavailable, "no engine")
}

// A site is the pages over a real broker and database, behind the API's server.
type site struct {
	*testing.T
	store  *db.DB
	broker *broker.Broker
	url    string
	client *http.Client
}

func mustServe(t *testing.T, tokens *api.Tokens, held bool) *site {
	t.Helper()
	return mustServeFrom(t, tokens, &pool{held})
}

func mustServeFrom(t *testing.T, tokens *api.Tokens, machines broker.Pool) *site {
	t.Helper()
	store, err := db.Open(t.Context(), filepath.Join(t.TempDir(), "loads.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b := broker.New(broker.Config{Store: store, Pools: []broker.Pool{machines}, Dial: noEngine, Dir: t.TempDir()})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	pages, err := web.New(web.Config{Broker: b, SignIn: tokens != nil})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.NewServer(api.Config{Broker: b, Tokens: tokens, Pages: pages})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &site{T: t, store: store, broker: b, url: listener.URL, client: client}
}

// An answer is a page, or what came in place of one.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(method, path string, form url.Values, header ...string) answer {
	s.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, body)
	if err != nil {
		s.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (s *site) get(path string) answer { s.Helper(); return s.do("GET", path, nil) }

// has fails the test unless the answer has the status and all the texts.
func (s *site) has(what string, a answer, status int, texts ...string) {
	s.Helper()
	if a.status != status {
		s.Fatalf("%s: got %d, want %d: %s", what, a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			s.Errorf("%s: %q is not in it:\n%s", what, text, a.body)
		}
	}
}

// hasNot fails the test when one of the texts is in the answer.
func (s *site) hasNot(what string, a answer, texts ...string) {
	s.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			s.Errorf("%s: %q is in it:\n%s", what, text, a.body)
		}
	}
}

// evil is what a text must never do to a page.
const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`

func hostilePlan() strategies.Project {
	step := strategies.Step{
		Name: "web", ContainerName: "loads/node", InstanceCount: 2, RunMaxTime: 10, InstanceRegion: "us-west-2",
		InstanceType: "t3.micro", PruneRunning: true, StopTimeout: 15, AdditionalCommandArgs: "serve $RATE", Role: strategies.RoleGenerator,
		EnvironmentData: strategies.Environment{{Name: "TEXT", Value: evil}, {Name: "API_TOKEN", Value: "hunter22"}},
	}
	return strategies.Project{Name: "shop " + evil, HomePage: "javascript:alert(3)", Plans: []strategies.Plan{{
		Name: "visits", Description: evil, Steps: []strategies.Step{step},
		Criteria: []strategies.Criterion{{Name: evil, Expr: `p95("req.latency") < 250`}, {Expr: `rate("req.count") > 1`}},
	}}}
}

func (s *site) mustPlan() broker.PlanRecord {
	s.Helper()
	rec, err := s.broker.CreateProject(s.Context(), hostilePlan())
	if err != nil {
		s.Fatal(err)
	}
	return rec.Plans[0]
}

// mustRun stores a run that is over, with ten seconds of two machines, as changed
// by the edits.
func (s *site) mustRun(plan broker.PlanRecord, edits ...func(*broker.Run)) broker.Run {
	s.Helper()
	ctx := s.Context()
	run, err := s.store.CreateRun(ctx, broker.Run{
		PlanUUID: plan.Plan.UUID, Owner: evil,
		Environment: strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "DB_PASSWORD", Value: "swordfish"}},
	})
	if err != nil {
		s.Fatal(err)
	}
	start := time.Now().Add(-time.Minute).Truncate(time.Second)
	for i := range 2 {
		m := broker.Machine{Step: 0, Index: i, State: broker.MachineReleased, Reason: evil, StartedAt: &start, RelayID: "relay"}
		if err := s.store.SaveMachine(ctx, &run, &m); err != nil {
			s.Fatal(err)
		}
		var frames []broker.StoredFrame
		for second := 1; second <= 10; second++ {
			frames = append(frames, mustFrame(s.T, m, start, second))
		}
		if err := s.store.AddFrames(ctx, frames, nil); err != nil {
			s.Fatal(err)
		}
	}
	end := start.Add(11 * time.Second)
	value, limit := 300.0, 250.0
	run.State, run.Verdict, run.Reason, run.StartedAt, run.CompletedAt = broker.Completed, broker.Fail, evil, &start, &end
	run.Cleanup = broker.CleanupDone
	run.Judgement = broker.Judgement{Done: true, Criteria: []broker.CriterionResult{
		{Name: evil, Expr: `p95("req.latency") < 250`, State: broker.CriterionFailed, Value: &value, Limit: &limit, Bound: "< 250"},
	}}
	for _, edit := range edits {
		edit(&run)
	}
	event := broker.Event{At: start, Kind: broker.EventNote, Text: evil}
	if err := s.store.SaveRun(ctx, &run, event); err != nil {
		s.Fatal(err)
	}
	return run
}

// mustFrame is a second of a machine, in which a timer and a counter come, the
// latter not in the fifth second.
func mustFrame(t *testing.T, m broker.Machine, start time.Time, second int) broker.StoredFrame {
	t.Helper()
	sketch := metrics.NewSketch()
	sketch.Add(float64(second), 1)
	f := metrics.Frame{Seq: uint64(second), Time: start.UnixMilli() + int64(second)*1000, Final: second == 10}
	f.Points = append(f.Points, metrics.Point{Kind: metrics.Timer, Name: "req.latency", Sketch: sketch})
	if second != 5 {
		f.Points = append(f.Points, metrics.Point{Kind: metrics.Counter, Name: "req.count", Value: 3})
	}
	f.Host = hostPoints(float64(second))
	if second == 10 {
		f.Ledger = metrics.Received{LogLines: 77, LogValues: 66, LogMalformed: 55, Notes: &metrics.Notes{Malformed: []string{evil}, Dropped: []string{"a.name"}}}
	}
	body, err := metrics.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	return broker.StoredFrame{MachineID: m.ID, Seq: f.Seq, At: f.Time, Final: f.Final, Body: body}
}

// hostPoints are what a machine tells of itself in a second: levels that are the
// second, or ten times that, and totals that grow by 2 kB a second.
func hostPoints(second float64) []metrics.HostPoint {
	container := []metrics.Tag{{Name: metrics.ContainerTag, Value: "load"}}
	return []metrics.HostPoint{
		{Name: "cpu", Fields: map[string]float64{"usage_active": second, "usage_steal": 2.5}},
		{Name: "mem", Fields: map[string]float64{"used_percent": 10 * second}},
		{Name: "net", Fields: map[string]float64{"bytes_recv": 1e9 + 2000*second, "bytes_sent": 2000 * second}},
		{Name: metrics.ContainerCPU, Tags: container, Fields: map[string]float64{"usage_percent": 20 * second}},
		{Name: metrics.ContainerMemory, Tags: container, Fields: map[string]float64{"usage": 3e6, "oom_kill": 4}},
	}
}

func TestPagesShowWhatThereIsAndNothingBreaksOut(t *testing.T) {
	s := mustServe(t, nil, false)
	plan := s.mustPlan()
	run := s.mustRun(plan)
	for _, c := range []struct {
		path  string
		texts []string
	}{
		{"/", []string{"FAIL", "visits", "/run/" + run.UUID, "/plan/" + plan.Plan.UUID}},
		{"/?state=completed&plan=" + plan.Plan.UUID, []string{"/run/" + run.UUID}},
		{"/project/" + plan.ProjectUUID, []string{"visits", "/run/" + run.UUID, "javascript:alert(3)"}},
		{"/plan/" + plan.Plan.UUID, []string{"loads/node", `name="env.RATE"`, `type="password"`, "req.latency", "/run/" + run.UUID, "fixed"}},
		{"/plan/" + plan.Plan.UUID + "/fork", []string{"steps:", "<textarea", "API_TOKEN"}},
		{"/run/" + run.UUID, []string{
			"FAIL", "300", "&lt; 250", "web/1", "req.count", "Frames stored", "report?format=csv", "/dashboards/run/" + run.UUID + "/",
			"/run/" + run.UUID + "/logs?step=web&amp;machine=1", "<rect", "DB_PASSWORD",
			">5.5 %<", ">10.0 %<", "steal 2.5 %", ">100.0 %<", ">18 kB<", ">200.0 %<", ">3 MB<", "killed for want of it: 4",
			"Lines of output read</dt><dd>154<", "malformed: ", "too many series: a.name", "generator",
		}},
		{"/run/" + run.UUID + "/fork", []string{"steps:"}},
		{"/run/" + run.UUID + "/logs", []string{"No output yet."}},
		{"/run/" + run.UUID + "/abort", []string{"Abort the run"}},
		{"/import", []string{"<textarea"}},
	} {
		t.Run(c.path, func(t *testing.T) {
			a := s.get(c.path)
			s.has(c.path, a, 200, c.texts...)
			s.hasNot(c.path, a, "<script>", "<img", "hunter22", "swordfish", `href="javascript:`, " style=", "onclick")
			if got := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || strings.Contains(got, "unsafe") {
				t.Errorf("got policy %q, want that of this server alone", got)
			}
		})
	}
}

func TestAnInvalidRunSaysWhy(t *testing.T) {
	s := mustServe(t, nil, false)
	run := s.mustRun(s.mustPlan(), func(r *broker.Run) {
		r.Verdict, r.Reason = broker.Invalid, "The instrument was at fault: it was asleep; it was blind."
		r.Judgement.Instrument = []string{"it was asleep", "it was blind"}
	})
	a := s.get("/run/" + run.UUID)
	s.has("the page", a, 200, "INVALID", "what was measured proves nothing", "<li>it was asleep</li><li>it was blind</li>")
	s.hasNot("the page", a, run.Reason)
}

func TestWhatIsNotThereIsAPageThatSaysSo(t *testing.T) {
	s := mustServe(t, nil, false)
	for _, path := range []string{"/nothing", "/run/none", "/plan/none", "/plan/none/fork", "/project/none", "/run/none/logs", "/assets/none.js", "/login/x"} {
		a := s.get(path)
		s.has(path, a, 404, "<!doctype html>", "Nothing here")
	}
	if a := s.get("/api/nothing"); a.status != 404 || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("the API's unknown path: got %d, %s, want 404 in JSON", a.status, a.header.Get("Content-Type"))
	}
	s.has("a run's unknown step", s.get("/run/"+s.mustRun(s.mustPlan()).UUID+"/logs?step=none"), 404, "no step none")
}

func TestRunsArePaged(t *testing.T) {
	s := mustServe(t, nil, false)
	plan := s.mustPlan()
	for range 26 {
		if _, err := s.store.CreateRun(t.Context(), broker.Run{PlanUUID: plan.Plan.UUID}); err != nil {
			t.Fatal(err)
		}
	}
	first := s.get("/?state=active")
	s.has("the first page", first, 200, `href="/?offset=25&amp;state=active"`)
	second := s.get("/?offset=25&state=active")
	s.has("the second page", second, 200, `href="/?offset=0&amp;state=active"`)
	if got := strings.Count(first.body, `href="/run/`) + strings.Count(second.body, `href="/run/`); got != 26 {
		t.Errorf("got %d runs on both pages, want 26", got)
	}
	s.has("a filter that leaves none", s.get("/?state=completed"), 200, "There is no run yet.")
}

func TestAFormStartsARun(t *testing.T) {
	s := mustServe(t, nil, true)
	plan := s.mustPlan()
	path := "/plan/" + plan.Plan.UUID + "/start"
	a := s.do("POST", path, url.Values{"owner": {"ann"}, "more": {"A=1\r\nnonsense"}})
	s.has("with a line that is none", a, 400, "not NAME=VALUE", `value="ann"`, "nonsense")
	s.has("without a variable that it needs", s.do("POST", path, url.Values{"env.TEXT": {evil}}), 400, "$RATE", "is not set", "&lt;script&gt;")

	a = s.do("POST", path, url.Values{"env.RATE": {"7"}, "env.API_TOKEN": {""}, "owner": {"ann"}, "more": {"EXTRA = x=y\r\n"}})
	uuid, ok := strings.CutPrefix(a.header.Get("Location"), "/run/")
	if a.status != 303 || !ok {
		t.Fatalf("got %d to %q, want 303 to the run: %s", a.status, a.header.Get("Location"), a.body)
	}
	run, err := s.broker.Run(t.Context(), uuid)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"RATE": "7", "EXTRA": " x=y"}
	if got := run.Environment.Map(); run.Owner != "ann" || len(got) != len(want) || got["RATE"] != "7" || got["EXTRA"] != " x=y" {
		t.Errorf("the run is of %q with %v, want ann and %v", run.Owner, got, want)
	}

	s.has("the run's page", s.get("/run/"+uuid), 200, "INITIALIZING", "Abort…", "pending")
	s.has("a part of it", s.get("/run/"+uuid+"?part=now"), 200, `data-live="criteria"`)
	if a := s.do("POST", "/run/"+uuid+"/abort", url.Values{}); a.status != 303 {
		t.Fatalf("abort: got %d, want 303", a.status)
	}
	if run, err = s.broker.Wait(t.Context(), uuid); err != nil || run.Verdict != broker.Aborted {
		t.Errorf("after the abort: %s, %v, want ABORTED", run.Verdict, err)
	}
	s.hasNot("the page of a run that is over", s.get("/run/"+uuid), "Abort…")
}

func TestForkingShowsAllFaultsAndKeepsSecrets(t *testing.T) {
	s := mustServe(t, nil, false)
	plan := s.mustPlan()
	run := s.mustRun(plan)
	text, err := plan.Plan.YAML()
	if err != nil {
		t.Fatal(err)
	}
	masked := strings.ReplaceAll(string(text), "hunter22", "'***'")
	for name, from := range map[string]string{"plan": "/plan/" + plan.Plan.UUID + "/fork", "run": "/run/" + run.UUID + "/fork"} {
		t.Run(name, func(t *testing.T) {
			broken := strings.NewReplacer("run_max_time: 10", "run_max_time: -1", "instance_count: 2", "instance_cuont: 2").Replace(masked)
			a := s.do("POST", from, url.Values{"text": {strings.ReplaceAll(broken, "\n", "\r\n")}, "name": {"more"}})
			s.has("two mistakes", a, 400, "2 mistakes", "run_max_time", "instance_cuont", "did you mean instance_count?", `value="more"`, "&lt;script&gt;")
			s.hasNot("two mistakes", a, "<script>", "hunter22")

			a = s.do("POST", from, url.Values{"text": {strings.Replace(masked, "instance_count: 2", "instance_count: 3", 1)}, "name": {"more"}})
			uuid, ok := strings.CutPrefix(a.header.Get("Location"), "/plan/")
			if !ok {
				t.Fatalf("got %d to %q, want the new plan: %s", a.status, a.header.Get("Location"), a.body)
			}
			fork, err := s.broker.Plan(t.Context(), uuid)
			if err != nil {
				t.Fatal(err)
			}
			secret, _ := fork.Plan.Steps[0].EnvironmentData.Get("API_TOKEN")
			if fork.Plan.Name != "more" || fork.Parent != plan.Plan.UUID || fork.Plan.Steps[0].InstanceCount != 3 || secret != "hunter22" {
				t.Errorf("got fork %q of %q, %d machines, secret %q", fork.Plan.Name, fork.Parent, fork.Plan.Steps[0].InstanceCount, secret)
			}
			if (fork.ParentRun == run.UUID) != (name == "run") {
				t.Errorf("the fork is of run %q", fork.ParentRun)
			}
		})
	}
}

func TestImport(t *testing.T) {
	s := mustServe(t, nil, false)
	s.has("a form of another site", s.do("POST", "/import", url.Values{}, "Sec-Fetch-Site", "cross-site"), 403)
	s.has("nonsense", s.do("POST", "/import", url.Values{"text": {"steps: [{nam: x}]"}}), 400, "mistake", "nam")
	a := s.do("POST", "/import", url.Values{"text": {"name: small\nsteps: [{name: web, container_name: loads/node}]"}})
	if a.status != 303 || !strings.HasPrefix(a.header.Get("Location"), "/plan/") {
		t.Fatalf("got %d to %q, want the plan: %s", a.status, a.header.Get("Location"), a.body)
	}
	s.has("the new plan", s.get(a.header.Get("Location")), 200, "small")
}

func TestAssetsAreKeptByTheirTag(t *testing.T) {
	s := mustServe(t, nil, false)
	a := s.get("/assets/style.css")
	s.has("the style", a, 200, "prefers-color-scheme")
	if a.header.Get("Content-Type") != "text/css; charset=utf-8" || a.header.Get("ETag") == "" {
		t.Errorf("got headers %v", a.header)
	}
	if a = s.do("GET", "/assets/style.css", nil, "If-None-Match", a.header.Get("ETag")); a.status != 304 {
		t.Errorf("with its tag: got %d, want 304", a.status)
	}
}

func TestSigningInAndOut(t *testing.T) {
	token, line, err := api.NewToken("ann")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := api.ParseTokens([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	s := mustServe(t, tokens, false)
	a := s.get("/plan/x?a=b")
	if a.status != 303 || a.header.Get("Location") != "/login?next=%2Fplan%2Fx%3Fa%3Db" {
		t.Fatalf("without a session: got %d to %q, want 303 to the sign-in", a.status, a.header.Get("Location"))
	}
	s.has("the form", s.get(a.header.Get("Location")), 200, `value="/plan/x?a=b"`, `type="password"`)
	if a = s.get("/api"); a.status != 401 || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("the API without a token: got %d, want 401 in JSON", a.status)
	}
	a = s.do("POST", "/login", url.Values{"token": {token + "x"}, "next": {"/import"}})
	s.has("a wrong token", s.get(a.header.Get("Location")), 200, "not known here", `value="/import"`)

	a = s.do("POST", "/login", url.Values{"token": {token}, "next": {"/import"}})
	if a.status != 303 || a.header.Get("Location") != "/import" {
		t.Fatalf("got %d to %q, want 303 to /import: %s", a.status, a.header.Get("Location"), a.body)
	}
	s.has("signed in", s.get("/import"), 200, "Sign out")
	s.has("the API, as the script calls it", s.get("/api"), 200, `"success":true`)
	a = s.do("POST", "/import", url.Values{"text": {"x"}}, "Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site")
	if a.status != 403 {
		t.Errorf("a form of another site: got %d, want 403", a.status)
	}
	if a = s.do("POST", "/logout", url.Values{}); a.status != 303 {
		t.Errorf("sign out: got %d, want 303", a.status)
	}
	if a = s.get("/"); a.header.Get("Location") != "/login" {
		t.Errorf("signed out: got %d to %q, want the sign-in", a.status, a.header.Get("Location"))
	}
}
