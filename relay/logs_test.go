package relay

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/metrics"
)

// runLogs runs a relay with log metrics until done, and returns its frames.
func runLogs(t *testing.T, cfg Config, while func()) []metrics.Frame {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	ended := make(chan error, 1)
	cfg.Listen, cfg.Out, cfg.Interval = "127.0.0.1:0", &out, 10*time.Millisecond
	go func() { ended <- Run(ctx, cfg) }()
	while()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var frames []metrics.Frame
	for line := range bytes.Lines(out.Bytes()) {
		f, err := metrics.Decode(bytes.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return frames
}

// logBench is an engine's folder with the output of a container, and the list
// that names it.
type logBench struct {
	cfg Config
	log *engineLog
	t   *testing.T
}

func newLogBench(t *testing.T) *logBench {
	t.Helper()
	dir := t.TempDir()
	b := &logBench{t: t, cfg: Config{
		Containers: filepath.Join(dir, "containers.json"), Logs: filepath.Join(dir, "containers"), Series: "printer",
		LogMetrics: []LogMetric{{Name: "lines", Type: "counter", Match: `\d+`}, {Name: "n", Type: "timer", Match: `(\d+)`}},
	}}
	b.log = &engineLog{t: t, path: b.file("c1"), size: 2000, files: DefaultLogFiles}
	return b
}

// file makes the folder of a container and returns the path of its output.
func (b *logBench) file(id string) string {
	dir := filepath.Join(b.cfg.Logs, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	return filepath.Join(dir, id+"-json.log")
}

func (b *logBench) list(ids ...string) {
	b.t.Helper()
	var entries []string
	for _, id := range ids {
		entries = append(entries, fmt.Sprintf(`{"id":"%s","name":"of %s"}`, id, id))
	}
	if err := os.WriteFile(b.cfg.Containers, []byte("["+strings.Join(entries, ",")+"]"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func counted(frames []metrics.Frame, name string) (sum float64) {
	for _, f := range frames {
		for _, p := range f.Points {
			if p.Name == name {
				sum += p.Value
			}
		}
	}
	return sum
}

func TestRelayReadsOutputToItsEnd(t *testing.T) {
	b := newLogBench(t)
	frames := runLogs(t, b.cfg, func() {
		b.log.print(3) // before the relay knows of it
		b.list("c1")
		b.log.print(40)
		b.list("c2", "c1") // another one, which is never started
		b.file("c2")
		b.log.print(40)
	})
	last := frames[len(frames)-1]
	if n := counted(frames, "lines"); n != 83 || !last.Final {
		t.Errorf("counted %v lines, last frame final: %v; want 83, true", n, last.Final)
	}
	sketch := metrics.NewSketch()
	for _, f := range frames {
		for _, p := range f.Points {
			if len(p.Tags) != 1 || p.Tags[0] != (metrics.Tag{Name: "type", Value: "printer"}) {
				t.Errorf("got tags %v, want type:printer", p.Tags)
			}
			if p.Name == "n" {
				if err := sketch.Merge(p.Sketch); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if sketch.Count() != 83 || sketch.Max() != 83 || sketch.Sum() != 83*84/2 {
		t.Errorf("got %v values, at most %v, %v in all", sketch.Count(), sketch.Max(), sketch.Sum())
	}
	l := last.Ledger
	if l.LogLines != 83 || l.LogValues != 166 || l.Values != 166 || l.LogMalformed+l.LogLost+l.LogGaps+l.Dropped != 0 {
		t.Errorf("got ledger %+v, want 83 lines and 166 values", l)
	}
}

func TestRelayCountsOutputThatItCantFind(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(b *logBench)
		gaps uint64
	}{
		{"a container that the engine has nothing of", func(b *logBench) { b.list("c1", "elsewhere") }, 1},
		{"one that was made anew", func(b *logBench) { b.list("c1") }, 0},
		{"no list, as no container was made", func(*logBench) {}, 0},
		{"a list that can't be read", func(b *logBench) {
			if err := os.WriteFile(b.cfg.Containers, []byte("{"), 0o600); err != nil {
				b.t.Fatal(err)
			}
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newLogBench(t)
			frames := runLogs(t, b.cfg, func() { row.do(b) })
			if l := frames[len(frames)-1].Ledger; l.LogGaps != row.gaps {
				t.Errorf("got %d gaps, want %d", l.LogGaps, row.gaps)
			}
		})
	}
}

func TestLogMetricsObeyTheSeriesLimit(t *testing.T) {
	b := newLogBench(t)
	b.cfg.MaxSeries = 5
	b.cfg.LogMetrics = []LogMetric{{Name: "n", Type: "counter", Match: `(\d+)`, Tags: map[string]string{"n": "1"}}}
	frames := runLogs(t, b.cfg, func() {
		b.list("c1")
		b.log.print(12)
	})
	l := frames[len(frames)-1].Ledger
	if n := counted(frames, "n"); n != 5 || l.Dropped != 7 || l.LogValues != 12 || l.Values != 5 {
		t.Errorf("counted %v, ledger %+v; want 5 of 12 values, 7 dropped", n, l)
	}
}

func TestRunDeclinesLogMetricsWithoutAPlaceForThem(t *testing.T) {
	one := []LogMetric{{Name: "a", Type: "counter", Match: "x"}}
	for name, cfg := range map[string]Config{
		"no list":        {LogMetrics: one, Logs: "/x"},
		"no folder":      {LogMetrics: one, Containers: "/x"},
		"no such metric": {LogMetrics: []LogMetric{{}}, Logs: "/x", Containers: "/x"},
	} {
		cfg.Listen, cfg.Out = "127.0.0.1:0", &bytes.Buffer{}
		if err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
