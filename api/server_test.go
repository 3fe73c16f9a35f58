package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

// A shelf is a pool whose machines can be had only once it is opened; until
// then runs wait for them. It remembers what exists.
type shelf struct {
	mu     sync.Mutex
	exists map[string]broker.Owned
}

func (p *shelf) Name() string { return "shelf" }

// Acquire puts machines on the shelf and then waits for the end of the run: a
// test sees a run that is under way, without an engine.
func (p *shelf) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	machines := make([]broker.Machine, len(reqs))
	p.mu.Lock()
	for _, r := range reqs {
		p.exists[r.Token] = broker.Owned{
			ProviderID: r.Token, Kind: "instance", RunUUID: r.RunUUID, Name: r.StepName,
			Address: "127.0.0.1", State: "running", Type: r.Type, Placement: r.Region,
			Tags: map[string]string{"RunId": r.RunUUID},
		}
	}
	p.mu.Unlock()
	<-ctx.Done()
	return machines, broker.Errorf(broker.EUnavailable, "The shelf is closed.")
}

func (p *shelf) Release(_ context.Context, m broker.Machine) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.exists, m.Token)
	return nil
}

func (p *shelf) Owned(context.Context, string) ([]broker.Owned, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []broker.Owned
	for _, o := range p.exists {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b broker.Owned) int { return strings.Compare(a.ProviderID, b.ProviderID) })
	return list, nil
}

func (p *shelf) Discard(_ context.Context, o broker.Owned) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.exists, o.ProviderID)
	return nil
}

func (p *shelf) put(o broker.Owned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exists[o.ProviderID] = o
}

// A bench is a server with a real broker on a real database.
type bench struct {
	*testing.T
	store  *db.DB
	broker *broker.Broker
	server *Server
	url    string
	shelf  *shelf
	tape   *tape
	log    *waittest.Buffer
}

// mustServe starts a broker on a new database, and a server of it.
func mustServe(t *testing.T, tokens *Tokens) *bench {
	t.Helper()
	return mustServeStore(t, tokens, nil)
}

// mustServeStore wraps the broker's store when wrap is not nil.
func mustServeStore(t *testing.T, tokens *Tokens, wrap func(broker.Store) broker.Store) *bench {
	t.Helper()
	store, err := db.Open(t.Context(), filepath.Join(t.TempDir(), "loads.db"))
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t, store: store, shelf: &shelf{exists: map[string]broker.Owned{}}, tape: newTape(), log: &waittest.Buffer{}}
	var used broker.Store = store
	if wrap != nil {
		used = wrap(store)
	}
	b.broker = broker.New(broker.Config{
		Store: used, Pools: []broker.Pool{b.shelf}, Dir: t.TempDir(), Version: "1.2.3",
		Dial: func(broker.Endpoint) (broker.Engine, error) { return b.tape, nil },
	})
	if err := b.broker.Start(t.Context()); err != nil {
		t.Fatalf("start broker: %v", err)
	}
	t.Cleanup(func() { _ = b.broker.Close() })
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if b.server, err = NewServer(Config{
		Broker: b.broker, Elsewhere: &stored{DB: store, broker: b.broker}, Tokens: tokens, Log: log,
		Reports: reportForms(), Comparisons: comparisonForms(),
	}); err != nil {
		t.Fatalf("make server: %v", err)
	}
	web := httptest.NewServer(b.server.Handler())
	t.Cleanup(web.Close)
	t.Cleanup(b.server.drain)
	b.url = web.URL
	return b
}

func (b *bench) client() *Client { return &Client{BaseURL: b.url} }

// An exchange is one call's answer.
type exchange struct {
	status int
	header http.Header
	body   string
}

// do makes a call, and follows no redirection. header holds names and values in
// turn.
func (b *bench) do(method, path, body string, header ...string) exchange {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return exchange{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// object reads the answer's JSON object.
func (e exchange) object(tb testing.TB) map[string]any {
	tb.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(e.body), &o); err != nil {
		tb.Fatalf("answer is not JSON: %v\n%s", err, e.body)
	}
	return o
}

const projectFile = `{
  "name": "Shop",
  "home_page": "https://shop.example.org",
  "plans": [{
    "name": "Smoke",
    "description": "Two steps.",
    "steps": [
      {"name": "service", "container_name": "loads/node:latest", "instance_count": 1,
       "environment_data": ["GREETING=hello"], "port_mapping": "8000:8000", "run_max_time": 60},
      {"name": "generator", "run_delay": 5, "container_name": "loads/node:latest", "instance_count": 2,
       "environment_data": {"RATE": "$RATE_GIVEN"}, "additional_command_args": "gen --rate $RATE", "run_max_time": 30}
    ]
  }]
}`

const planFile = `
name: Small
steps:
  - name: one
    container_name: loads/node:latest
`

// mustProject makes a project of the file and returns it.
func (b *bench) mustProject(file string) Project {
	b.Helper()
	p, err := b.client().CreateProject(b.Context(), []byte(file))
	if err != nil {
		b.Fatalf("create project: %v", err)
	}
	return p
}

// mustPlan returns the uuid of a plan that needs no environment.
func (b *bench) mustPlan() string {
	b.Helper()
	p, err := b.client().Import(b.Context(), "plan.yaml", []byte(planFile), false)
	if err != nil {
		b.Fatalf("import plan: %v", err)
	}
	return p.Plans[0].UUID
}

// mustStart starts a run that stays under way until it is aborted.
func (b *bench) mustStart(plan string) string {
	b.Helper()
	run, err := b.client().Start(b.Context(), plan, StartOptions{})
	if err != nil {
		b.Fatalf("start: %v", err)
	}
	return run
}

// mustStore stores a run that nobody drives, so that the test may.
func (b *bench) mustStore(plan string, env ...strategies.Variable) broker.Run {
	b.Helper()
	run, err := b.store.CreateRun(b.Context(), broker.Run{PlanUUID: plan, Owner: "ann", Environment: env})
	if err != nil {
		b.Fatalf("create run: %v", err)
	}
	return run
}

// save stores the run's state with events.
func (b *bench) save(run *broker.Run, events ...broker.Event) {
	b.Helper()
	if err := b.store.SaveRun(b.Context(), run, events...); err != nil {
		b.Fatalf("save run: %v", err)
	}
}

// complete ends a stored run.
func (b *bench) complete(run *broker.Run) {
	b.Helper()
	at := time.Date(2026, 11, 21, 10, 0, 9, 0, time.UTC)
	run.State, run.Verdict, run.Cleanup, run.CompletedAt = broker.Completed, broker.Pass, broker.CleanupDone, &at
	b.save(run, broker.Event{Kind: broker.EventRun, State: "COMPLETED", Text: "The run is completed."})
}

// eventually waits until the condition holds.
func (b *bench) eventually(what string, condition func() bool) {
	b.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			b.Fatalf("it did not come about that %s", what)
		}
		<-tick.C
	}
}
