package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientProjectsAndPlans(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	made, err := c.CreateProject(ctx, []byte(projectFile))
	ok(t, err)
	got, err := c.Project(ctx, made.UUID)
	ok(t, err)
	if diff := cmp.Diff(made, got); diff != "" {
		t.Errorf("project made and asked for, -made +got:\n%s", diff)
	}
	all, err := c.Projects(ctx)
	ok(t, err)
	if diff := cmp.Diff([]Project{made}, all); diff != "" {
		t.Errorf("projects, -want +got:\n%s", diff)
	}
	plan, err := c.Plan(ctx, made.Plans[0].UUID)
	ok(t, err)
	if diff := cmp.Diff(made.Plans[0], plan); diff != "" {
		t.Errorf("plan, -want +got:\n%s", diff)
	}
	small := b.mustPlan()
	plans, err := c.Plans(ctx, "")
	ok(t, err)
	if len(plans) != 2 || plans[0].UUID != small {
		t.Errorf("got %d plans, want two, the newest first", len(plans))
	}
	plans, err = c.Plans(ctx, made.UUID)
	ok(t, err)
	if len(plans) != 1 || plans[0].UUID != plan.UUID {
		t.Errorf("got %d plans of the project, want its own", len(plans))
	}
	replaced, err := c.ReplacePlan(ctx, small, []byte("{name: Small, steps: [{name: two, container_name: a:1}]}"))
	ok(t, err)
	if replaced.UUID != small || replaced.Steps[0].Name != "two" {
		t.Errorf("got plan %s with step %s, want %s with two", replaced.UUID, replaced.Steps[0].Name, small)
	}
	ok(t, c.DeleteProject(ctx, made.UUID))
	if _, err := c.Project(ctx, made.UUID); broker.CodeOf(err) != broker.ENotFound {
		t.Errorf("a deleted project: got %v, want ENotFound", err)
	}
}

func TestClientImport(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	first, err := c.Import(ctx, "plan.yaml", []byte(planFile), false)
	ok(t, err)
	changed := []byte(strings.Replace(planFile, "name: one", "name: two", 1))
	same, err := c.Import(ctx, "plan.yaml", changed, false)
	ok(t, err)
	if got := same.Plans[0]; got.UUID != first.Plans[0].UUID || got.Steps[0].Name != "one" {
		t.Errorf("without update: got plan %s with step %s, want the first unchanged", got.UUID, got.Steps[0].Name)
	}
	updated, err := c.Import(ctx, "plan.yaml", changed, true)
	ok(t, err)
	if got := updated.Plans[0]; got.UUID != first.Plans[0].UUID || got.Steps[0].Name != "two" {
		t.Errorf("with update: got plan %s with step %s, want the first changed", got.UUID, got.Steps[0].Name)
	}
	b.mustStore(first.Plans[0].UUID)
	forked, err := c.Import(ctx, "plan.yaml", []byte(planFile), true)
	ok(t, err)
	if got := forked.Plans[0]; got.UUID == first.Plans[0].UUID || got.Parent != first.Plans[0].UUID {
		t.Errorf("with update, once run: got plan %s with parent %q, want a fork of %s", got.UUID, got.Parent, first.Plans[0].UUID)
	}
	_, err = c.Import(ctx, "plan.yaml", []byte("name: x\nsteps: 5\n"), true)
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.EInvalid || len(e.Faults) == 0 || e.Faults[0].File != "plan.yaml" || e.Faults[0].Line != 2 {
		t.Errorf("a broken file: got %v with %+v, want EInvalid with a fault in plan.yaml:2", err, e)
	}
}

func TestClientValidate(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	v, err := c.Validate(ctx, "shop.json", []byte(projectFile), []string{"RATE_GIVEN=5"})
	ok(t, err)
	if !v.Valid || v.Plans != 1 || v.Steps != 2 || len(v.Faults) != 0 {
		t.Errorf("a right file: got %+v, want it valid with 1 plan and 2 steps", v)
	}
	v, err = c.Validate(ctx, "shop.json", []byte(projectFile), nil)
	ok(t, err)
	if v.Valid || len(v.Faults) != 1 || v.Faults[0].File != "shop.json" || v.Faults[0].Line == 0 {
		t.Errorf("an unset variable: got %+v, want one fault with its place", v)
	}
	if projects, err := c.Projects(ctx); err != nil || len(projects) != 0 {
		t.Errorf("got %d projects, %v, want none: validation keeps nothing", len(projects), err)
	}
}

func TestClientSetsBudgets(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	plan, err := c.Plan(ctx, b.mustPlan())
	ok(t, err)
	none, err := c.ProjectBudget(ctx, plan.ProjectUUID)
	ok(t, err)
	set, err := c.SetMaxCost(ctx, plan.ProjectUUID, 12.5)
	ok(t, err)
	got, err := c.ProjectBudget(ctx, plan.ProjectUUID)
	ok(t, err)
	if none != nil || set == nil || got == nil || *got != *set || got.MaxUSD != 12.5 || got.Left() != 12.5 {
		t.Errorf("got %+v, then %+v and %+v; want none, then 12.5 USD, all of it left", none, set, got)
	}
	projects, err := c.Projects(ctx)
	ok(t, err)
	if projects[0].MaxCost != 12.5 {
		t.Errorf("the project has max_cost %v, want 12.5", projects[0].MaxCost)
	}
}

func TestClientForks(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	parent := b.mustPlan()
	run := b.mustStore(parent)
	fork, err := c.ForkPlan(ctx, parent, ForkRequest{Name: "Bigger", Set: map[string]any{"steps.one.instance_count": 5}})
	ok(t, err)
	if fork.Name != "Bigger" || fork.Parent != parent || fork.Steps[0].InstanceCount != 5 || fork.Frozen {
		t.Errorf("fork of a plan: got %+v", fork)
	}
	fork, err = c.ForkRun(ctx, run.UUID, ForkRequest{Name: "Again"})
	ok(t, err)
	if fork.Name != "Again" || fork.ParentRun != run.UUID || fork.Steps[0].InstanceCount != 1 {
		t.Errorf("fork of a run: got %+v", fork)
	}
	for what, plan := range map[string]any{
		"an object": map[string]any{"name": "Other", "steps": []any{map[string]any{"name": "s", "container_name": "a:1"}}},
		"YAML":      "name: Other\nsteps: [{name: s, container_name: 'a:1'}]",
	} {
		fork, err = c.ForkPlan(ctx, parent, ForkRequest{Name: "By " + what, Plan: plan})
		ok(t, err)
		if fork.Steps[0].Name != "s" {
			t.Errorf("fork with a plan as %s: got step %q, want s", what, fork.Steps[0].Name)
		}
	}
	_, err = c.ForkPlan(ctx, parent, ForkRequest{Name: "Wrong", Set: map[string]any{"steps.one.instance_count": -1, "steps.one.run_delay": -1}})
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.EInvalid || len(e.Faults) == 0 {
		t.Errorf("a wrong fork: got %v, want EInvalid with faults", err)
	}
}

func TestClientRuns(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	plan := b.mustPlan()
	id, err := c.Start(ctx, plan, StartOptions{RunUUID: "my-run", Owner: "ann", Environment: map[string]string{"A": "1", "MY_SECRET": "x"}})
	ok(t, err)
	if id != "my-run" {
		t.Errorf("got run %q, want my-run", id)
	}
	run, err := c.Run(ctx, id)
	ok(t, err)
	if run.Owner != "ann" || run.Plan == nil || run.Plan.Name != "Small" || run.Completed() {
		t.Errorf("got run %+v", run)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "MY_SECRET": "***"}, run.Environment); diff != "" {
		t.Errorf("environment, -want +got:\n%s", diff)
	}
	if _, done, err := c.Wait(ctx, id, 10*time.Millisecond); err != nil || done {
		t.Errorf("wait for a run under way: got %v, %v, want false", done, err)
	}
	stopped, err := c.Abort(ctx, id)
	ok(t, err)
	if !stopped {
		t.Error("abort: got false, want true")
	}
	run, done, err := c.Wait(ctx, id, 0)
	ok(t, err)
	if !done || !run.Completed() || run.Verdict != broker.Aborted || !run.Aborted {
		t.Errorf("after the abort: got %v, %+v", done, run)
	}
	if stopped, err = c.Abort(ctx, id); err != nil || stopped {
		t.Errorf("second abort: got %v, %v, want false", stopped, err)
	}
	_, err = c.DeleteRun(ctx, id, false, false)
	if broker.CodeOf(err) != broker.EInvalid || err.Error() != "Already terminated" {
		t.Errorf("delete of a completed run: got %v, want EInvalid", err)
	}
	deleted, err := c.DeleteRun(ctx, id, true, true)
	ok(t, err)
	if diff := cmp.Diff(DeletedRun{Terminated: []string{}, Purged: true}, deleted); diff != "" {
		t.Errorf("purge, -want +got:\n%s", diff)
	}
	if _, err := c.Run(ctx, id); broker.CodeOf(err) != broker.ENotFound {
		t.Errorf("a purged run: got %v, want ENotFound", err)
	}
}

func TestClientSelectsRuns(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	shop := b.mustProject(projectFile)
	one, two := b.mustStore(shop.Plans[0].UUID), b.mustStore(b.mustPlan())
	b.complete(&one)
	for _, q := range []struct {
		what string
		RunQuery
		want []string
	}{
		{"All runs come, the newest first.", RunQuery{}, []string{two.UUID, one.UUID}},
		{"Completed ones come by name.", RunQuery{State: "completed"}, []string{one.UUID}},
		{"And by number.", RunQuery{State: "3"}, []string{one.UUID}},
		{"Active ones are the others.", RunQuery{State: "active"}, []string{two.UUID}},
		{"A list of states is any of them.", RunQuery{State: "Initializing, COMPLETED"}, []string{two.UUID, one.UUID}},
		{"Runs come by their plan.", RunQuery{Plan: two.PlanUUID}, []string{two.UUID}},
		{"And by their project.", RunQuery{Project: shop.UUID}, []string{one.UUID}},
		{"And by their owner.", RunQuery{Owner: "ann"}, []string{two.UUID, one.UUID}},
		{"Nobody's runs are none.", RunQuery{Owner: "nobody"}, nil},
		{"A limit takes the newest.", RunQuery{Limit: 1}, []string{two.UUID}},
		{"An offset leaves them out.", RunQuery{Limit: 1, Offset: 1}, []string{one.UUID}},
	} {
		t.Run(q.what, func(t *testing.T) {
			runs, err := c.Runs(ctx, q.RunQuery)
			ok(t, err)
			var got []string
			for _, r := range runs {
				got = append(got, r.UUID)
			}
			if diff := cmp.Diff(q.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	info, err := c.Info(ctx, 1, 1)
	ok(t, err)
	if info.Version != "1.2.3" || info.BrokerID != b.broker.ID() || len(info.Runs) != 1 || info.Runs[0].UUID != one.UUID {
		t.Errorf("info: got %+v", info)
	}
}

func TestClientResults(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	run := b.mustStore(b.mustPlan())
	exit := 3
	m := broker.Machine{
		State: broker.MachinePrepared, Pool: "shelf", ProviderID: "i-1", Address: "10.0.0.1", RelayID: "r", ExitCode: &exit,
		Endpoint: broker.Endpoint{Host: "tcp://10.0.0.1:2376", Key: "/etc/secret.pem"}, ClockOffset: 1500 * time.Microsecond,
	}
	ok(t, b.store.SaveMachine(ctx, &run, &m))
	b.frames(m, 4)
	machines, err := c.Machines(ctx, run.UUID)
	ok(t, err)
	want := []Machine{{
		Step: "one", State: broker.MachinePrepared, Pool: "shelf", ProviderID: "i-1", Address: "10.0.0.1",
		Engine: "tcp://10.0.0.1:2376", ClockOffsetMS: 1.5, RelayID: "r", ExitCode: &exit, FrameSeq: 4,
	}}
	if diff := cmp.Diff(want, machines); diff != "" {
		t.Errorf("machines, -want +got:\n%s", diff)
	}
	report, err := c.Report(ctx, run.UUID)
	ok(t, err)
	if report.Run.UUID != run.UUID || len(report.Machines) != 1 || report.Ledger.Stored != 4 {
		t.Errorf("report: got %+v", report)
	}
	if got := report.Summary.Metrics; len(got) != 1 || got[0].Name != "req.count" || got[0].Count != 28 {
		t.Errorf("report's metrics: got %+v, want req.count 28", got)
	}
	lines, err := c.Series(ctx, run.UUID, metrics.Query{Metric: "req.count", By: "machine"})
	ok(t, err)
	if len(lines) != 1 || lines[0].Step != "one" || lines[0].Machine == nil || len(lines[0].Buckets) != 4 || lines[0].Buckets[0].Count != 7 {
		t.Errorf("series: got %+v, want one line of four sevens", lines)
	}
	for what, q := range map[string]metrics.Query{
		"another metric": {Metric: "other"},
		"another tag":    {Tags: []metrics.Tag{{Name: "a", Value: "b:c"}}},
		"another time":   {From: 1, To: 2},
	} {
		if lines, err := c.Series(ctx, run.UUID, q); err != nil || len(lines) != 0 {
			t.Errorf("series of %s: got %+v, %v, want none", what, lines, err)
		}
	}
	plan, err := c.RunPlan(ctx, run.UUID)
	ok(t, err)
	if plan.Name != "Small" || plan.UUID != run.PlanUUID || len(plan.Steps) != 1 || plan.Steps[0].UUID == "" {
		t.Errorf("plan of the run: got %+v", plan)
	}
	d, err := c.Links(ctx, run.UUID)
	ok(t, err)
	for name, path := range d.Links {
		if name == "events" {
			continue // goes on until the run is completed
		}
		if got := b.do("GET", path, ""); got.status != 200 {
			t.Errorf("link %s of the run: got %d", name, got.status)
		}
	}
}

func TestClientInstances(t *testing.T) {
	b := mustServe(t, nil)
	c, ctx := b.client(), t.Context()
	run := b.mustStore(b.mustPlan())
	for _, id := range []string{"i-1", "i/2", "i-3"} {
		b.shelf.put(broker.Owned{ProviderID: id, RunUUID: run.UUID, State: "running"})
	}
	all, err := c.Instances(ctx)
	ok(t, err)
	if len(all) != 3 || all["i/2"].ID != "i/2" {
		t.Errorf("got %+v, want three", all)
	}
	one, err := c.Instance(ctx, "i/2")
	ok(t, err)
	if one.ID != "i/2" || one.RunUUID != run.UUID {
		t.Errorf("got %+v, want i/2", one)
	}
	if got := b.do("GET", "/api/instances/i/2", ""); got.status != 200 {
		t.Errorf("the id as it is in the path: got %d %s", got.status, got.body)
	}
	ok(t, c.DeleteInstance(ctx, "i/2"))
	gone, err := c.DeleteInstances(ctx)
	ok(t, err)
	if diff := cmp.Diff([]string{"i-1", "i-3"}, gone); diff != "" {
		t.Errorf("ended, -want +got:\n%s", diff)
	}
}

func TestClientErrors(t *testing.T) {
	b := mustServe(t, nil)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/html/api":
			fmt.Fprint(w, "<html>hello</html>")
		case "/gateway/api":
			http.Error(w, "bad gateway", http.StatusBadGateway)
		case "/cut/api":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"success":`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer page.Close()
	for _, c := range []struct {
		what string
		base string
		code broker.Code
		part string
	}{
		{"A broker that is not there can't be reached.", "http://" + waittest.FreeAddress(t), broker.EUnavailable, "can't be reached; see that it runs and that the address is right: dial tcp"},
		{"An address without a scheme is refused.", "127.0.0.1:8080", broker.EInvalid, "is not the address of a broker"},
		{"An empty address is refused.", "", broker.EInvalid, "is not the address of a broker"},
		{"A web page is no broker.", page.URL + "/html", broker.EUnavailable, "is it a broker?"},
		{"A gateway without a broker is unavailable.", page.URL + "/gateway", broker.EUnavailable, "502 Bad Gateway"},
		{"An answer that breaks off is no answer.", page.URL + "/cut", broker.EUnavailable, "can't be read"},
		{"A server without our paths is no broker.", page.URL, broker.ENotFound, "not a broker's answer"},
		{"A slash at the end of the address does not matter.", b.url + "/", "", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := (&Client{BaseURL: c.base}).Info(t.Context(), 0, 0)
			if broker.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.part) {
				t.Errorf("got %v (%s), want %s with %q", err, broker.CodeOf(err), c.code, c.part)
			}
		})
	}
	t.Run("The caller's end of the context stays what it is.", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.client().Info(ctx, 0, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
	})
}

func TestServeEndsStreamsWhenStopped(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	b.note(&run, "one")
	s, err := NewServer(Config{Broker: b.broker})
	ok(t, err)
	s.grace = time.Hour
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	c := &Client{BaseURL: "http://" + ln.Addr().String()}
	streaming, broke := make(chan struct{}), make(chan error, 1)
	following, unfollow := context.WithCancel(t.Context())
	defer unfollow()
	c.Retrying = func(err error, _ time.Duration) {
		unfollow()
		broke <- err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Events(following, run.UUID, 0, func(Event) error { close(streaming); return nil })
	}()
	waited := make(chan error, 1)
	go func() {
		got, err := c.waitOnce(t.Context(), run.UUID, time.Minute)
		if err == nil && got.UUID != run.UUID {
			err = fmt.Errorf("waited for %q", got.UUID)
		}
		waited <- err
	}()
	<-streaming
	stop()
	for what, done := range map[string]chan error{"server": served, "wait": waited} {
		select {
		case err := <-done:
			if err != nil && (what == "server" || broker.CodeOf(err) != broker.EUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(5 * time.Minute): // and not as long as it may take
			t.Fatalf("the %s did not end", what)
		}
	}
	if err := <-broke; broker.CodeOf(err) != broker.EUnavailable {
		t.Errorf("the stream broke with %v, want EUnavailable", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the client ended with %v", err)
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	b := mustServe(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ok(t, ln.Close())
	if err := b.server.Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "serve 127.0.0.1") {
		t.Errorf("got %v, want an error with the address", err)
	}
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	ok(t, err)
	if err := b.server.Serve(t.Context(), everywhere); broker.CodeOf(err) != broker.EInvalid {
		t.Errorf("without tokens on all addresses: got %v, want EInvalid", err)
	}
	if _, err := everywhere.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after it: got %v, want a closed listener", err)
	}
	if _, err := NewServer(Config{}); err == nil {
		t.Error("a server without a broker: got no error")
	}
}

// Many callers at once, while runs start and end.
func TestManyCallersAtOnce(t *testing.T) {
	b := mustServe(t, nil)
	plan := b.mustPlan()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, ctx := b.client(), t.Context()
			run, err := c.Start(ctx, plan, StartOptions{Owner: fmt.Sprint("caller ", i)})
			if err != nil {
				t.Errorf("start: %v", err)
				return
			}
			followed := make(chan error, 1)
			go func() { followed <- c.Events(ctx, run, 0, func(Event) error { return nil }) }()
			for _, call := range []func() error{
				func() error { _, err := c.Info(ctx, 0, 0); return err },
				func() error { _, err := c.Projects(ctx); return err },
				func() error { _, err := c.Plan(ctx, plan); return err },
				func() error { _, err := c.Report(ctx, run); return err },
				func() error { _, err := c.Instances(ctx); return err },
				func() error { _, err := c.Validate(ctx, "", []byte(planFile), nil); return err },
				func() error { _, err := c.ForkPlan(ctx, plan, ForkRequest{Name: fmt.Sprint("fork ", i)}); return err },
				func() error { _, err := c.Abort(ctx, run); return err },
				func() error { _, _, err := c.Wait(ctx, run, time.Minute); return err },
				func() error { return <-followed },
				func() error { _, err := c.DeleteRun(ctx, run, true, false); return err },
			} {
				if err := call(); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if runs, err := b.client().Runs(t.Context(), RunQuery{}); err != nil || len(runs) != 0 {
		t.Errorf("got %d runs, %v, want none left", len(runs), err)
	}
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("got errors in the log:\n%s", log)
	}
}
