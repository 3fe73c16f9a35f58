package metrics_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/loads/loads/metrics"
)

// arrival is a frame of a machine.
type arrival struct {
	step    string
	machine int
	frame   metrics.Frame
}

// arrivals are the frames of two steps of three machines over some minutes:
// metrics that come now and then, with tags, and machines that begin late.
func arrivals(r *rand.Rand, seconds int) []arrival {
	var all []arrival
	for _, step := range []string{"a", "b"} {
		for machine := range 3 {
			for seq := 1; seq <= seconds; seq++ {
				f := metrics.Frame{
					Version: metrics.Version, Seq: uint64(seq), Final: seq == seconds,
					Time: 1_700_000_000_000 + int64(seq+7*machine)*1000 - r.Int64N(500),
				}
				for _, tag := range []string{"GET", "PUT"} {
					if r.IntN(3) == 0 {
						continue
					}
					s := metrics.NewSketch()
					for range r.IntN(20) {
						s.Add(math.Round(100*r.NormFloat64()), 1)
					}
					f.Points = append(f.Points,
						metrics.Point{Kind: metrics.Timer, Name: "latency", Tags: []metrics.Tag{{Name: "method", Value: tag}}, Sketch: s},
						metrics.Point{Kind: metrics.Counter, Name: "hits", Tags: []metrics.Tag{{Name: "method", Value: tag}}, Value: float64(r.IntN(9))})
				}
				f.Points = append(f.Points, metrics.Point{Kind: metrics.Gauge, Name: "users", Value: float64(r.IntN(50)), Count: float64(r.IntN(2))})
				all = append(all, arrival{step, machine, f})
			}
		}
	}
	return all
}

func byTime(a, b arrival) int { return int(a.frame.Time - b.frame.Time) }

// sameSummary compares all but the last digits of sums, which depend on their
// order.
func sameSummary(t *testing.T, what string, got, want metrics.Summary) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// TestCondensingChangesNoSummary condenses at random moments, with frames that
// come late and again, and sends the parts through their encoding.
func TestCondensingChangesNoSummary(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := arrivals(r, 130)
		slices.SortStableFunc(all, byTime)
		plain, condensed := metrics.NewSeries(), metrics.NewSeries()
		late := all[:0:0]
		add := func(a arrival) {
			plain.Add(a.step, a.machine, a.frame)
			condensed.Add(a.step, a.machine, a.frame)
		}
		for _, a := range all {
			if r.IntN(40) == 0 {
				late = append(late, a)
				continue
			}
			add(a)
			if r.IntN(60) == 0 {
				condensed.Condense(condensed.Newest() - 1000*r.Int64N(40))
				if before := all[r.IntN(len(all))]; before.frame.Seq < a.frame.Seq/2 && !slices.ContainsFunc(late, sameFrame(before)) {
					condensed.Add(before.step, before.machine, before.frame)
				}
			}
		}
		for _, a := range late {
			add(a)
		}
		sameSummary(t, "in memory", condensed.Summary(), plain.Summary())
		condensed.Condense(condensed.Newest())
		sameSummary(t, "all condensed", condensed.Summary(), plain.Summary())
		sameSummary(t, "from blocks", throughBytes(t, condensed.Blocks()).Summary(), plain.Summary())
		sameSummary(t, "from totals", throughBytes(t, condensed.Totals()).Summary(), plain.Summary())
		for _, by := range []string{"", "step"} {
			q := metrics.Query{By: by}
			if diff := cmp.Diff(plain.Lines(q), throughBytes(t, condensed.Blocks()).Lines(q), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
				t.Errorf("lines by %q: -want +got:\n%.2000s", by, diff)
			}
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// TestSummaryIsTheSameWheneverItIsAskedFor asks one series again and again,
// while frames and blocks are added to it and it is condensed, and another one
// only at the end.
func TestSummaryIsTheSameWheneverItIsAskedFor(t *testing.T) {
	all := arrivals(rand.New(rand.NewPCG(3, 4)), 70)
	slices.SortStableFunc(all, byTime)
	part := metrics.NewSeries()
	for _, a := range all[:100] {
		part.Add(a.step, a.machine, a.frame)
	}
	part.Condense(part.Newest())
	often, once := metrics.NewSeries(), metrics.NewSeries()
	for i, a := range all[100:] {
		often.Add(a.step, a.machine, a.frame)
		once.Add(a.step, a.machine, a.frame)
		switch i {
		case 50:
			for step, b := range part.Blocks() {
				often.AddBlock(step, b)
				once.AddBlock(step, b)
			}
		case 150:
			often.Condense(often.Newest() - 5000)
			once.Condense(once.Newest() - 5000)
		}
		if i%20 == 0 && len(often.Summary().Metrics) == 0 {
			t.Fatal("got no metrics on the way")
		}
	}
	sameSummary(t, "asked for once", once.Summary(), often.Summary())
}

func sameFrame(a arrival) func(arrival) bool {
	return func(b arrival) bool {
		return a.step == b.step && a.machine == b.machine && a.frame.Seq == b.frame.Seq
	}
}

func throughBytes(t *testing.T, blocks map[string]metrics.Block) *metrics.Series {
	t.Helper()
	s := metrics.NewSeries()
	for step, b := range blocks {
		encoded, err := metrics.EncodeBlock(b)
		if err != nil {
			t.Fatal(err)
		}
		back, err := metrics.DecodeBlock(encoded)
		if err != nil {
			t.Fatal(err)
		}
		s.AddBlock(step, back)
	}
	return s
}

func TestCondensedMachinesAreThereByTheMinute(t *testing.T) {
	s := metrics.NewSeries()
	const minute = 1_700_000_040_000 // a full one
	for i := range 90 {
		s.Add("a", 0, metrics.Frame{Seq: uint64(i + 1), Time: minute + int64(i+1)*1000, Points: []metrics.Point{
			{Kind: metrics.Counter, Name: "hits", Value: 3},
		}})
	}
	s.Condense(minute + 80_000)
	lines := s.Lines(metrics.Query{By: "machine"})
	if len(lines) != 1 || *lines[0].Machine != 0 {
		t.Fatalf("got %+v, want a line of machine 0", lines)
	}
	var got []string
	for _, b := range lines[0].Buckets {
		got = append(got, fmt.Sprint((b.Time-minute)/1000, b.Seconds, b.Count, b.Rate))
	}
	want := []string{"60 60 180 3", "80 20 60 3"}
	for i := 81; i <= 90; i++ {
		want = append(want, fmt.Sprint(i, 1, 3, 3))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("time, seconds, count, rate: -want +got:\n%s", diff)
	}
}

func TestDecodeBlockRefusesWhatIsNoBlock(t *testing.T) {
	s := metrics.NewSeries()
	for _, a := range arrivals(rand.New(rand.NewPCG(1, 1)), 3) {
		s.Add(a.step, a.machine, a.frame)
	}
	s.Condense(s.Newest())
	encoded, err := metrics.EncodeBlock(s.Blocks()["a"])
	if err != nil {
		t.Fatal(err)
	}
	for n := range encoded {
		if _, err := metrics.DecodeBlock(encoded[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a block", n, len(encoded))
		}
	}
	if _, err := metrics.DecodeBlock(append(encoded, 0)); err == nil {
		t.Error("a byte too many was taken for part of a block")
	}
}
