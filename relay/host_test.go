package relay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/loads/loads/metrics"
)

func hostPoint(v float64) []metrics.HostPoint {
	return []metrics.HostPoint{{Name: "net", Fields: map[string]float64{"in": v}}}
}

func TestHostOfMergedFramesIsTheLatest(t *testing.T) {
	later := mergeFrames(metrics.Frame{Time: 1, Host: hostPoint(1)}, metrics.Frame{Time: 2, Host: hostPoint(2)})
	if got := later.Host[0].Fields["in"]; got != 2 {
		t.Errorf("got %v, want 2, the later total", got)
	}
	if kept := mergeFrames(later, metrics.Frame{Time: 3}); len(kept.Host) != 1 {
		t.Errorf("got %v, want the host of the earlier frame, as the later has none", kept.Host)
	}
}

func TestHostOfAFrameInPartsIsInOne(t *testing.T) {
	o := newOutbox()
	f := metrics.Frame{Time: 1, Host: hostPoint(7)}
	for i := range 50 {
		f.Points = append(f.Points, point(metrics.Counter, fmt.Sprint(i, strings.Repeat("x", 100_000)), 1))
	}
	o.finish(f)
	var out bytes.Buffer
	if err := o.drainTo(&out); err != nil {
		t.Fatal(err)
	}
	frames, hosts := decodeAll(t, out.Bytes()), 0
	for _, f := range frames {
		hosts += len(f.Host)
	}
	if len(frames) < 2 || hosts != 1 {
		t.Errorf("got %d frames, the host in %d, want some, one", len(frames), hosts)
	}
}
