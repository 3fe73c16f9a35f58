package engine

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/metrics"
)

// second is how far the frames of a relay are apart.
const second = time.Second

// relaying is the relay: a frame at once, one at each full second, and a final
// one when it is asked to end.
type relaying struct {
	engine *Engine
	points [][]metrics.Point // of a second each, over and over
	values uint64            // in each of them
}

func newRelaying(e *Engine, args []string) program {
	var tags []metrics.Tag
	for _, arg := range args {
		if series, ok := strings.CutPrefix(arg, "--series="); ok && series != "" {
			tags = []metrics.Tag{{Name: "type", Value: series}}
		}
	}
	p := relaying{engine: e}
	p.points, p.values = secondsOf(e.cfg.Metrics, tags)
	return p
}

func (relaying) length() time.Duration { return forever }
func (relaying) status() int           { return 0 }
func (relaying) asked() int            { return 0 }

func (relaying) count(r run, until time.Time) int {
	if until = r.last(until); until.Before(r.began) {
		return 0
	}
	n := 1 + int(until.Sub(r.began.Truncate(second))/second)
	if r.over && r.orderly {
		n++
	}
	return n
}

func (p relaying) at(r run, i int) time.Time {
	switch {
	case i == 0:
		return r.began
	case p.final(r, i):
		return r.ended
	}
	return r.began.Truncate(second).Add(time.Duration(i) * second)
}

// final reports whether line i is the last frame of a run.
func (p relaying) final(r run, i int) bool { return r.over && r.orderly && i == p.count(r, r.ended)-1 }

func (p relaying) text(r run, i int) []byte {
	f := metrics.Frame{Seq: uint64(i) + 1, Time: p.at(r, i).UnixMilli(), Final: p.final(r, i)}
	seconds := uint64(i) // in which values came: not before the first frame, nor in what is left at the end
	if f.Final {
		seconds--
	} else if i > 0 {
		f.Points = p.points[i%len(p.points)]
	}
	f.Ledger = metrics.Received{Datagrams: seconds, Values: seconds * p.values}
	f.Host = p.engine.hostPoints(i)
	line, err := metrics.Encode(f)
	if err != nil {
		line = fmt.Appendf(nil, "a light machine can't make frame %d: %v", f.Seq, err)
	}
	return append(line, '\n')
}

// hostPoints is what a machine tells of itself that does a little, since so
// many seconds.
func (e *Engine) hostPoints(seconds int) []metrics.HostPoint {
	busy := 5 + float64(seconds%7)
	memory, cpus, age := float64(e.cfg.Memory), float64(e.cfg.VCPUs), float64(seconds)
	return []metrics.HostPoint{
		{Name: "cpu", Tags: []metrics.Tag{{Name: "cpu", Value: "cpu-total"}}, Fields: map[string]float64{
			"usage_active": busy, "usage_user": busy - 2, "usage_system": 2, "usage_idle": 100 - busy, "usage_iowait": 0,
		}},
		{Name: "mem", Fields: map[string]float64{
			"total": memory, "available": memory * 0.9, "used": memory * 0.1, "free": memory * 0.8,
			"used_percent": 10, "available_percent": 90,
		}},
		{Name: "net", Tags: []metrics.Tag{{Name: "interface", Value: "total"}}, Fields: map[string]float64{
			"bytes_sent": 1e6 * age, "bytes_recv": 2e6 * age, "packets_sent": 1e3 * age, "packets_recv": 2e3 * age,
		}},
		{Name: "system", Fields: map[string]float64{"load1": busy / 100 * cpus, "n_cpus": cpus}},
	}
}

// variants is how many seconds there are that differ.
const variants = 8

// Of what statsd values the points of a second are made.
const (
	countsPerCounter = 10
	timingsPerTimer  = 100
)

// template holds the seconds of machines with the same settings, which share
// them: points that are in a frame don't change.
type template struct {
	once   sync.Once
	points [][]metrics.Point
	values uint64
}

var templates sync.Map // of *template, by number of metrics and tags

// secondsOf makes the points of some seconds of n metrics, a third of them
// counters, gauges and timers each, and tells how many values are in one.
func secondsOf(n int, tags []metrics.Tag) ([][]metrics.Point, uint64) {
	found, _ := templates.LoadOrStore(fmt.Sprint(n, tags), &template{})
	t := found.(*template)
	t.once.Do(func() {
		for s := range variants {
			var points []metrics.Point
			t.values = 0
			for i := range n {
				p, values := point(s, i)
				p.Tags = tags
				points = append(points, p)
				t.values += values
			}
			t.points = append(t.points, points)
		}
	})
	return t.points, t.values
}

// point is metric i in a second, and how many values it is made of.
func point(s, i int) (metrics.Point, uint64) {
	p := metrics.Point{Name: fmt.Sprintf("light.metric_%d", i)}
	switch i % 3 {
	case 0:
		p.Kind, p.Sketch = metrics.Timer, metrics.NewSketch()
		for v := range timingsPerTimer {
			p.Sketch.Add(20*math.Exp(float64((v*37+s*11+i)%100)/50), 1)
		}
		p.Sketch.Pack()
		return p, timingsPerTimer
	case 1:
		p.Kind, p.Value = metrics.Counter, countsPerCounter
		return p, countsPerCounter
	}
	p.Kind, p.Value, p.Count = metrics.Gauge, float64(s+i), 1
	return p, 1
}
