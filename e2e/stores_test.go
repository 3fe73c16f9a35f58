package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/grafana/grafanatest"
	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/metrics"
)

// storesPlan measures on two machines at once.
func storesPlan(away time.Duration) string {
	more := int(away.Seconds())
	return fmt.Sprintf(`
name: stores
max_skew_ms: 60000
steps:
  - name: service
    container_name: loads/node
    additional_command_args: serve --listen :8000
    run_max_time: %d
    port_mapping: "8000:8000"
    dns_name: service.stores
    ready: {port: 8000, timeout: 60}
  - name: generator
    container_name: loads/node
    additional_command_args: gen --url http://service.stores:8000/ --rate 50 --duration %ds --timeout 60s
    instance_count: 2
    run_max_time: %d
    start_after: [service]
    docker_series: load
`, 600+more, 10+more, 120+more)
}

// awayVariable has how long InfluxDB is away in the middle of a run, such as
// 60s; not set, it is as long as the broker takes to notice.
const awayVariable = "LOADS_TEST_INFLUX_AWAY"

// A real run: InfluxDB is away for a part of it, and the broker is killed while
// InfluxDB is away. What InfluxDB holds at the end is what the broker counted.
func TestMetricsReachInfluxDBWhateverDies(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	dashboards := grafanatest.Start(t)
	tokens := []string{"LOADS_INFLUX_TOKEN=" + server.Token, "LOADS_GRAFANA_TOKEN=" + grafanatest.Token}
	d := startBrokerWith(t, tokens, "--influx-url", server.URL, "--influx-bucket", bucket, "--grafana-url", dashboards.URL)
	away, err := time.ParseDuration(cmp.Or(os.Getenv(awayVariable), "0s"))
	if err != nil {
		t.Fatal(err)
	}
	run := d.trigger(storesPlan(away))
	written := func() api.Exported {
		r, err := d.Report(t.Context(), run)
		if err != nil || r.Influx == nil {
			t.Fatalf("report: %+v, %v", r.Influx, err)
		}
		return *r.Influx
	}
	until(t, "points are written while the run goes on", 2*time.Minute, func() bool { return written().Written > 20 })
	server.Stop(t)
	until(t, "the trouble is told", 2*time.Minute, func() bool { return written().Trouble != "" })
	d.kill()
	d.start()
	<-time.After(away)
	server.Restart(t)
	d.closeService(t, run)
	r := d.await(run)
	d.pass(r)
	until(t, "all is written", 2*time.Minute, func() bool { return written().Waiting == 0 })

	if e := written(); e.Refused != 0 || e.Trouble != "" || e.Written != points(t, server) {
		t.Errorf("ledger %+v, %d points read back; want as many", e, points(t, server))
	}
	for _, m := range r.Summary.Metrics {
		field := map[metrics.Kind]string{metrics.Counter: "value", metrics.Timer: "count"}[m.Kind]
		if field == "" {
			continue
		}
		for _, name := range []string{metrics.Measurement(m.Name), metrics.Measurement(m.Name) + metrics.MergedSuffix} {
			if got := influxSum(t, server, field, name, run); got != m.Count {
				t.Errorf("sum of %s is %v, want %v", name, got, m.Count)
			}
		}
	}
	// What machines tell of themselves and of their containers, by the names that
	// the dashboard's panels read.
	for measurement, field := range map[string]string{
		"cpu": "usage_active", "mem": "used_percent", "system": "n_cpus", "netstat": "tcp_listen",
		metrics.ContainerCPU: "usage_percent", metrics.ContainerMemory: "usage", metrics.ContainerNetwork: "rx_bytes",
	} {
		if got := influxSum(t, server, field, measurement, run); got <= 0 {
			t.Errorf("sum of %s of %s is %v, want more than nothing", field, measurement, got)
		}
	}
	history := d.events(run)
	for _, want := range []string{"InfluxDB can't take the run's points now", "InfluxDB takes the run's points again.", "The run's dashboard is at " + dashboards.URL} {
		if strings.Count(history, want) != 1 {
			t.Errorf("history says %q %d times, want once:\n%s", want, strings.Count(history, want), history)
		}
	}
	checkDashboard(t, d, dashboards, run)
}

// checkDashboard wants the final dashboard published, with the run's time and a
// mark for the run and each step, and the broker to send people there.
func checkDashboard(t *testing.T, d *daemon, dashboards *grafanatest.Server, run string) {
	t.Helper()
	until(t, "the final dashboard is published", 2*time.Minute, func() (final bool) {
		dashboards.Look(func(s grafanatest.State) {
			if b := s.Dashboards[run]; b != nil {
				span, _ := b.Model["time"].(map[string]any)
				final = span["to"] != "now" && len(s.Annotations) == 3
			}
		})
		return final
	})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(d.BaseURL + "/dashboards/run/" + run + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || !strings.HasPrefix(got, dashboards.URL+"/d/"+run) {
		t.Errorf("the dashboard: got %d to %q, want 302 to Grafana", res.StatusCode, got)
	}
}

// points counts all points of the database.
func points(t *testing.T, server *influxtest.Server) (n uint64) {
	t.Helper()
	for _, row := range server.Query(t, "runs", `SELECT * FROM /.*/ GROUP BY *`) {
		n += uint64(len(row.Values))
	}
	return n
}

func influxSum(t *testing.T, server *influxtest.Server, field, name, run string) float64 {
	t.Helper()
	rows := server.Query(t, "runs", fmt.Sprintf(`SELECT sum(%q) FROM %q WHERE run = '%s'`, field, name, run))
	if len(rows) == 0 {
		return 0
	}
	v, err := rows[0].Values[0][1].(json.Number).Float64()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A run does not wait for an InfluxDB that takes nothing, and its history says
// why it does.
func TestRunsAreUnharmedByAnInfluxDBThatTakesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		open       func(t *testing.T) (url, bucket, token string)
	}{
		{"wrong token", "401", func(t *testing.T) (string, string, string) {
			server := influxtest.Start(t)
			return server.URL, server.CreateDatabase(t, "runs"), "loads:not-the-secret"
		}},
		{"full disk", "no space left on device", func(t *testing.T) (string, string, string) {
			server := fullInflux(t)
			return server.URL, "runs/autogen", server.Token
		}},
		{"no answer", "InfluxDB can't take the run's points now", func(t *testing.T) (string, string, string) {
			silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			}))
			t.Cleanup(silent.Close)
			return silent.URL, "runs", "token"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, bucket, token := tt.open(t)
			d := startBroker(t, "--influx-url", url, "--influx-bucket", bucket, "--influx-token", token)
			run := d.trigger("name: unharmed\n" + ticks + "\nsteps:\n  - " + ticking + "\n")
			d.pass(d.await(run))
			until(t, "the run's history says so", 2*time.Minute, func() bool { return strings.Contains(d.events(run), tt.says) })
			if r, err := d.Report(t.Context(), run); err != nil || r.Influx == nil || r.Influx.Refused != 0 || r.Run.Verdict != broker.Pass {
				t.Errorf("report: %+v, %v; want a pass still, and nothing given up", r.Influx, err)
			}
			if strings.Contains(d.events(run), token) {
				t.Error("the token is shown")
			}
		})
	}
}

// fullInflux is a server with a database and no room for more.
func fullInflux(t *testing.T) *influxtest.Server {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	server := influxtest.StartIn(t, dir)
	bucket := server.CreateDatabase(t, "runs")
	server.Write(t, bucket, "before value=1")
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	for err == nil {
		_, err = ballast.Write(make([]byte, 512))
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
	_ = ballast.Close()
	return server
}
