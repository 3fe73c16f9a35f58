package relay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/loads/loads/metrics"
)

// sent is what a stream of lines is made of, added up without any of our code.
type sent struct {
	lines    []string
	counters map[string]float64
	timers   map[string][]float64
	members  map[string]bool
}

func stream(rnd *rand.Rand, n int) sent {
	s := sent{counters: make(map[string]float64), timers: make(map[string][]float64), members: make(map[string]bool)}
	for range n {
		name := fmt.Sprintf("m%d", rnd.IntN(5))
		switch rnd.IntN(5) {
		case 0:
			v := float64(rnd.IntN(1000))
			s.counters["c"+name] += v
			s.lines = append(s.lines, fmt.Sprintf("c%s:%v|c", name, v))
		case 1: // a sample rate whose inverse is a whole number
			rate := []float64{0.5, 0.25, 0.125}[rnd.IntN(3)]
			s.counters["c"+name] += 3 / rate
			s.lines = append(s.lines, fmt.Sprintf("c%s:1:2|c|@%v|#a:%d", name, rate, rnd.IntN(3)))
		case 2:
			v := math.Round(math.Exp(rnd.NormFloat64()*2+3)*1000) / 1000
			s.timers["t"+name] = append(s.timers["t"+name], v)
			s.lines = append(s.lines, fmt.Sprintf("t%s:%v|ms|#status:%d", name, v, 200+rnd.IntN(3)))
		case 3: // Etsy's form, twice in one line
			v := float64(rnd.IntN(100) - 20)
			s.timers["t"+name] = append(s.timers["t"+name], v, v)
			s.lines = append(s.lines, fmt.Sprintf("t%s:%v|h:%v|ms", name, v, v))
		case 4:
			member := fmt.Sprint(rnd.IntN(n))
			s.members[member] = true
			s.lines = append(s.lines, "users:"+member+"|s")
		}
	}
	return s
}

// over sends the lines in random packets to so many relays, whose seconds end
// at random, and returns the summary of all frames, encoded and read again.
func over(t *testing.T, rnd *rand.Rand, lines []string, relays int) map[string]metrics.MetricSummary {
	t.Helper()
	series := metrics.NewSeries()
	all := make([]*aggregate, relays)
	seqs := make([]uint64, relays)
	for i := range all {
		all[i] = newAggregate(100, "")
	}
	flush := func(i int) {
		points, received := all[i].take()
		seqs[i]++
		encoded, err := metrics.Encode(metrics.Frame{Seq: seqs[i], Time: 1e12 + int64(rnd.IntN(5000)), Points: points, Ledger: received})
		if err != nil {
			t.Fatal(err)
		}
		frame, err := metrics.Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		series.Add("step", i, frame)
	}
	for len(lines) > 0 {
		n := 1 + rnd.IntN(min(len(lines), 30))
		var packet []byte
		for _, l := range lines[:n] {
			packet = append(append(packet, l...), '\n')
		}
		lines = lines[n:]
		i := rnd.IntN(relays)
		all[i].packets([][]byte{packet})
		if rnd.IntN(20) == 0 {
			flush(i)
		}
	}
	for i := range all {
		flush(i)
	}
	byName := make(map[string]metrics.MetricSummary)
	for _, m := range series.Summary().Metrics {
		byName[m.Name] = m
	}
	return byName
}

func TestAnySplitOverAnyRelaysMergesToTheSame(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := stream(rnd, 200+rnd.IntN(4000))
		whole := over(t, rnd, s.lines, 1)
		rnd.Shuffle(len(s.lines), func(i, j int) { s.lines[i], s.lines[j] = s.lines[j], s.lines[i] })
		split := over(t, rnd, s.lines, 1+rnd.IntN(9))
		if len(split) != len(whole) {
			t.Fatalf("seed %d: got %d metrics, want %d", seed, len(split), len(whole))
		}
		for name, want := range whole {
			got := split[name]
			if got.Count != want.Count || got.P50 != want.P50 || got.P90 != want.P90 || got.P95 != want.P95 || got.P99 != want.P99 ||
				got.Min != want.Min || got.Max != want.Max {
				t.Errorf("seed %d, %s: got %+v, want %+v", seed, name, got, want)
			}
		}
		s.check(t, seed, split)
	}
}

// check compares a summary to what was sent.
func (s *sent) check(t *testing.T, seed uint64, got map[string]metrics.MetricSummary) {
	t.Helper()
	for name, want := range s.counters {
		if got[name].Count != want {
			t.Errorf("seed %d, %s: got %v, want %v", seed, name, got[name].Count, want)
		}
	}
	for name, values := range s.timers {
		m := got[name]
		slices.Sort(values)
		if m.Count != float64(len(values)) || m.Min != values[0] || m.Max != values[len(values)-1] {
			t.Errorf("seed %d, %s: got %+v, want %d values from %v to %v", seed, name, m, len(values), values[0], values[len(values)-1])
		}
		for q, v := range map[float64]float64{0.5: m.P50, 0.9: m.P90, 0.95: m.P95, 0.99: m.P99} {
			want := values[int(math.Ceil(q*float64(len(values))-1e-6))-1]
			if math.Abs(v-want) > metrics.RelativeError*math.Abs(want)*(1+1e-9) {
				t.Errorf("seed %d, %s: got quantile %v of %v, want %v within 1 %%", seed, name, q, v, want)
			}
		}
	}
	if n := float64(len(s.members)); math.Abs(got["users"].Count-n) > 4*metrics.DistinctError*n {
		t.Errorf("seed %d: got %v distinct users, want %v", seed, got["users"].Count, n)
	}
}
