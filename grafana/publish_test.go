package grafana_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/grafana"
	"github.com/loads/loads/grafana/grafanatest"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// bench publishes the runs of a real store to a stand-in.
type bench struct {
	*testing.T
	grafana *grafanatest.Server
	store   *db.DB
	run     broker.Run

	mu   sync.Mutex
	more []metrics.MetricSummary
}

func mustBench(t *testing.T, token string) *bench {
	t.Helper()
	store, err := db.Open(t.Context(), filepath.Join(t.TempDir(), "loads.db"))
	ok(t, err)
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t, grafana: grafanatest.Start(t), store: store}
	project, err := store.CreateProject(t.Context(), strategies.Project{Name: "shop", Plans: []strategies.Plan{{
		Name: "smoke", Steps: []strategies.Step{{Name: "gen", InstanceCount: 1, RunMaxTime: 60, ContainerName: "x:1"}},
	}}})
	ok(t, err)
	b.run, err = store.CreateRun(t.Context(), broker.Run{PlanUUID: project.Plans[0].Plan.UUID})
	ok(t, err)
	at := time.Now().UTC().Truncate(time.Millisecond)
	b.run.State, b.run.StartedAt = broker.Running, &at
	ok(t, store.SaveRun(t.Context(), &b.run))

	client, err := grafana.NewClient(b.grafana.URL+"/", "", token)
	ok(t, err)
	p := grafana.NewPublisher(grafana.PublisherConfig{
		Client: client, Store: store, Input: b.input, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		DataSource: grafana.DataSource{URL: "http://influxdb:8086", Token: "secret", Database: "loads"},
		Every:      10 * time.Millisecond, RetryMax: 40 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return b
}

func (b *bench) input(ctx context.Context, runUUID string) (grafana.Input, error) {
	run, err := b.store.Run(ctx, runUUID)
	b.mu.Lock()
	defer b.mu.Unlock()
	return grafana.Input{Report: broker.Report{Run: run, Summary: metrics.Summary{Metrics: b.more}}}, err
}

func (b *bench) record() broker.DashboardRecord {
	b.Helper()
	rec, err := b.store.Dashboard(b.Context(), b.run.UUID)
	ok(b, err)
	return rec
}

func (b *bench) until(what string, holds func() bool) {
	b.Helper()
	if !waittest.Holds(5*time.Minute, holds) {
		b.Fatalf("it did not come about: %s; record %+v", what, b.record())
	}
}

// version is that of the run's dashboard, 0 for none.
func (b *bench) version() (n int) {
	b.grafana.Look(func(s grafanatest.State) {
		if d := s.Dashboards[b.run.UUID]; d != nil {
			n = d.Version
		}
	})
	return n
}

func (b *bench) notes() (texts []string) {
	b.Helper()
	events, err := b.store.Events(b.Context(), b.run.UUID, 0)
	ok(b, err)
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	return texts
}

func TestARunIsPublishedFromItsStartToItsEnd(t *testing.T) {
	b := mustBench(t, grafanatest.Token)
	b.until("it is published at its start", func() bool { return b.record().URL != "" })
	if got, want := b.record().URL, b.grafana.URL+"/d/"+b.run.UUID+"/run"; got != want {
		t.Errorf("it is at %s, want %s", got, want)
	}
	first := b.version()
	b.mu.Lock()
	b.more = []metrics.MetricSummary{{Name: "requests", Kind: metrics.Counter}}
	b.mu.Unlock()
	b.until("it is published again with a new metric", func() bool { return b.version() == first+1 })

	step := b.run.StepRecords[0]
	start := b.run.StartedAt.Add(time.Second)
	end := start.Add(20 * time.Second)
	step.State, step.StartedAt = broker.StepStarted, &start
	ok(t, b.store.SaveStep(t.Context(), &b.run, &step))
	b.until("the step's start is marked", func() bool { return len(b.marks()) == 2 })
	step.State, step.CompletedAt = broker.StepEnded, &end
	ok(t, b.store.SaveStep(t.Context(), &b.run, &step))
	b.run.State, b.run.CompletedAt, b.run.Verdict = broker.Completed, &end, broker.Pass
	ok(t, b.store.SaveRun(t.Context(), &b.run))
	b.until("it is final", func() bool { return b.record().Final })

	for _, a := range b.marks() {
		if a.TimeEnd != end.UnixMilli() {
			t.Errorf("mark %+v ends at %d, want %d", a, a.TimeEnd, end.UnixMilli())
		}
	}
	b.grafana.Look(func(s grafanatest.State) {
		d := s.Dashboards[b.run.UUID]
		want := map[string]any{"from": b.run.StartedAt.Format("2006-01-02T15:04:05.000Z"), "to": end.Format("2006-01-02T15:04:05.000Z")}
		if !reflect.DeepEqual(d.Model["time"], want) || d.Folder != b.run.ProjectUUID || s.Folders[d.Folder] != "shop" {
			t.Errorf("got time %v in folder %q, want %v in shop", d.Model["time"], s.Folders[d.Folder], want)
		}
		if source := s.DataSources[grafana.DataSourceUID]; source["url"] != "http://influxdb:8086" || source["database"] != "loads" {
			t.Errorf("got data source %v", source)
		}
	})
	if notes := strings.Join(b.notes(), "\n"); strings.Count(notes, "The run's dashboard is at ") != 1 {
		t.Errorf("got %q, want to be told once where it is", notes)
	}
}

func (b *bench) marks() (marks []grafanatest.Annotation) {
	b.grafana.Look(func(s grafanatest.State) {
		for _, a := range s.Annotations {
			marks = append(marks, *a)
		}
	})
	return marks
}

func TestWhatGrafanaRefusesIsToldOnceAndPublishedLater(t *testing.T) {
	for name, status := range map[string]int{"out of order": http.StatusInternalServerError, "not allowed": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			b := mustBench(t, grafanatest.Token)
			b.grafana.Fail(status)
			b.until("it is published before or told now", func() bool { return b.record().URL != "" || b.record().Trouble != "" })
			end := b.run.StartedAt.Add(time.Minute)
			b.run.State, b.run.CompletedAt, b.run.Verdict = broker.Completed, &end, broker.Pass
			ok(t, b.store.SaveRun(t.Context(), &b.run))
			b.until("the trouble is told", func() bool { return b.record().Trouble != "" })
			b.grafana.Fail(0)
			b.until("it is final", func() bool { return b.record().Final })
			if rec := b.record(); rec.Trouble != "" || b.version() == 0 {
				t.Errorf("got %+v, want it published", rec)
			}
			if notes := strings.Join(b.notes(), "\n"); strings.Count(notes, "can't be published now") != 1 {
				t.Errorf("got %q, want one note on the trouble", notes)
			}
		})
	}
}

func TestAWrongTokenHarmsNothing(t *testing.T) {
	b := mustBench(t, "glsa_wrong")
	b.until("the trouble is told", func() bool { return strings.Contains(b.record().Trouble, "Unauthorized (401)") })
	if said := strings.Join(b.notes(), "\n") + b.record().Trouble; strings.Contains(said, "glsa_wrong") {
		t.Errorf("the token is shown: %s", said)
	}
}

func TestPublishingTwiceChangesNothing(t *testing.T) {
	server := grafanatest.Start(t)
	c, err := grafana.NewClient(server.URL, "https://example.org/grafana/", grafanatest.Login)
	ok(t, err)
	in := sample()
	in.DataSource = grafana.DataSourceUID
	text, err := grafana.Dashboard(in)
	ok(t, err)
	run := in.Report.Run
	publish := func() (writes int) {
		t.Helper()
		ok(t, c.EnsureDataSource(t.Context(), grafana.DataSource{URL: "http://influxdb:8086", Token: "secret", Database: "loads"}))
		ok(t, c.EnsureFolder(t.Context(), run.ProjectUUID, run.ProjectName))
		at, err := c.PutDashboard(t.Context(), run.ProjectUUID, text)
		if ok(t, err); at != "https://example.org/grafana/d/"+run.UUID+"/run" {
			t.Errorf("it is at %s, want it where people find it", at)
		}
		ok(t, c.PutAnnotations(t.Context(), run.UUID, grafana.Annotations(run)))
		server.Look(func(s grafanatest.State) { writes = s.Writes })
		return writes
	}
	if first, second := publish(), publish(); first != 6 || second != first {
		t.Errorf("%d writes, then %d; want 6 and no more", first, second)
	}
	t.Run("and a changed data source is brought up to date", func(t *testing.T) {
		ok(t, c.EnsureDataSource(t.Context(), grafana.DataSource{URL: "http://other:8086", Token: "secret", Database: "loads"}))
		server.Look(func(s grafanatest.State) {
			if got := s.DataSources[grafana.DataSourceUID]["url"]; got != "http://other:8086" {
				t.Errorf("got %v", got)
			}
		})
	})
	t.Run("and a second project of the name gets a folder of its own", func(t *testing.T) {
		ok(t, c.EnsureFolder(t.Context(), "ffffffff-0000", run.ProjectName))
		server.Look(func(s grafanatest.State) {
			if got := s.Folders["ffffffff-0000"]; got != "shop (ffffffff)" {
				t.Errorf("got folder %q", got)
			}
		})
	})
}

func TestAddressesThatCantBeRightAreRefused(t *testing.T) {
	for _, at := range []string{"", "grafana:3000", "ftp://h", "http://admin:hidden@h", "http://h\x00"} {
		if _, err := grafana.NewClient(at, "", "x"); broker.CodeOf(err) != broker.EInvalid || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: got %v, want it refused", at, err)
		}
	}
}
