package influx_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/metrics"
)

// addHost stores the machine's next frame, which tells of the machine only.
func (b *bench) addHost(machine, second int, host ...metrics.HostPoint) {
	b.Helper()
	b.frames[machine]++
	f := metrics.Frame{Seq: b.frames[machine], Time: t0 + int64(second+1)*1000, Host: host}
	body, err := metrics.Encode(f)
	ok(b, err)
	ok(b, b.store.AddFrames(b.Context(), []broker.StoredFrame{{MachineID: b.machines[machine].ID, Seq: f.Seq, At: f.Time, Body: body}}, nil))
}

func TestWhatMachinesTellIsWrittenAsTelegrafDoes(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	for second := range 3 {
		for machine := range b.machines {
			b.addHost(machine, second, metrics.HostPoint{
				Name: "net", Tags: []metrics.Tag{{Name: "interface", Value: "eth0"}},
				Fields: map[string]float64{"bytes_recv": float64(1000*machine + 100*second), "bytes_sent": 1},
			})
		}
	}
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })

	rows := b.read(server, "runs").rows
	if len(rows["net"]) != 2 || len(rows) != 2 {
		t.Fatalf("got %v, want net of both machines, not merged, beside their ledgers", rows)
	}
	want := map[string]string{
		"run": b.run.UUID, "plan": "smoke, all", "project": "shop", "step": "gen=1", "type": "load",
		"host": "10.0.0.1", "interface": "eth0",
	}
	if diff := cmp.Diff(want, rows["net"][0].Tags); diff != "" {
		t.Errorf("tags, -want +got:\n%s", diff)
	}
	for _, c := range []struct {
		query string
		want  float64
	}{
		{`SELECT count("bytes_sent") FROM net`, 6},
		{`SELECT max("bytes_recv") FROM net WHERE host = '10.0.0.2'`, 1200},
		{`SELECT spread("bytes_recv") FROM net WHERE host = '10.0.0.1'`, 200},
	} {
		if got := sum(t, server, "runs", c.query); got != c.want {
			t.Errorf("%s: got %v, want %v", c.query, got, c.want)
		}
	}
}
