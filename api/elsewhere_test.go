package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/grafana"
)

// stored knows of InfluxDB and Grafana what the store does.
type stored struct {
	*db.DB
	broker *broker.Broker
}

func (s *stored) DashboardURL(ctx context.Context, runUUID string) (string, error) {
	rec, err := s.Dashboard(ctx, runUUID)
	return rec.URL, err
}

func (s *stored) DashboardJSON(ctx context.Context, runUUID string) ([]byte, error) {
	report, err := s.broker.Report(ctx, runUUID)
	if err != nil {
		return nil, err
	}
	return grafana.Dashboard(grafana.Input{Report: report})
}

func TestTheDashboardIsJSONUntilItIsPublished(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	path := "/dashboards/run/" + run.UUID + "/"

	var d struct{ UID, Title string }
	got := b.do("GET", path, "")
	if err := json.Unmarshal([]byte(got.body), &d); err != nil || got.status != 200 || d.UID != run.UUID || !strings.HasPrefix(d.Title, "Small, ") {
		t.Fatalf("got %d, %+v, %v; want the run's dashboard", got.status, d, err)
	}
	const at = "http://grafana.example.org/d/x/run"
	ok(t, b.store.SaveDashboard(t.Context(), broker.DashboardRecord{Run: run, URL: at}))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(b.url + path)
	ok(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != at {
		t.Errorf("got %d to %q, want 302 to %s", res.StatusCode, res.Header.Get("Location"), at)
	}
}

func TestTheSummaryHasTheAccountOfInfluxDB(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	r, err := b.client().Report(t.Context(), run.UUID)
	if ok(t, err); r.Influx != nil {
		t.Errorf("got %+v, want nothing while metrics go nowhere", r.Influx)
	}
	ok(t, b.store.BeginExports(t.Context()))
	run = b.mustStore(b.mustPlan())
	ok(t, b.store.SaveExport(t.Context(), broker.Export{Run: run, Written: 7, Refused: 2, Trouble: broker.TroubleRefused, Detail: "no"}, nil))
	r, err = b.client().Report(t.Context(), run.UUID)
	want := Exported{Written: 7, Refused: 2, Trouble: broker.TroubleRefused, Detail: "no"}
	if ok(t, err); r.Influx == nil || *r.Influx != want {
		t.Errorf("got %+v, want %+v", r.Influx, want)
	}
}

func TestAServerWithoutDashboardsSaysSo(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	s, err := NewServer(Config{Broker: b.broker})
	ok(t, err)
	_, err = s.dashboard(t.Context(), &uuidInput{UUID: run.UUID})
	var known *broker.Error
	if !errors.As(err, &known) || known.Code != broker.ENotFound {
		t.Errorf("got %v, want not found", err)
	}
}
