package arrivals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/arrivals"
)

// all returns the timetable's times.
func all(t *testing.T, c arrivals.Config) []time.Duration {
	t.Helper()
	table, err := arrivals.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var times []time.Duration
	for at, ok := table.Next(); ok; at, ok = table.Next() {
		if len(times) > 0 && at < times[len(times)-1] {
			t.Fatalf("arrival %d is due at %v, before the one before it, %v", len(times), at, times[len(times)-1])
		}
		times = append(times, at)
	}
	if _, ok := table.Next(); ok {
		t.Error("there is an arrival after the last one")
	}
	return times
}

func TestEvenArrivals(t *testing.T) {
	ms := func(list ...float64) (times []time.Duration) {
		for _, v := range list {
			times = append(times, time.Duration(v*float64(time.Millisecond)))
		}
		return times
	}
	tests := []struct {
		name string
		c    arrivals.Config
		want []time.Duration
	}{
		{"the first of a constant rate is a gap after the start", arrivals.Config{From: 4, To: 4, Duration: time.Second}, ms(250, 500, 750, 1000)},
		{"what comes after the end is left out", arrivals.Config{From: 4, To: 4, Duration: 900 * time.Millisecond}, ms(250, 500, 750)},
		{"a rate below one in the duration has none", arrivals.Config{From: 0.1, To: 0.1, Duration: time.Second}, nil},
		{"no rate has none", arrivals.Config{Duration: time.Second}, nil},
		{"a tiny rate over a long time", arrivals.Config{From: 1e-6, To: 1e-6, Duration: 2500000 * time.Second}, ms(1e9, 2e9)},
		{"a ramp up from 0", arrivals.Config{To: 2, Duration: 4 * time.Second}, ms(2000, 2828.427124, 3464.101615, 4000)},
		{"a ramp down to 0 keeps its last", arrivals.Config{From: 2, Duration: 4 * time.Second}, ms(535.898384, 1171.572875, 2000, 4000)},
		{"the second machine of two", arrivals.Config{From: 4, To: 4, Duration: time.Second, Machine: 1, Machines: 2}, ms(500, 1000)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := all(t, test.c)
			near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= time.Nanosecond })
			if diff := cmp.Diff(test.want, got, near); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHugeRateKeepsItsCount(t *testing.T) {
	c := arrivals.Config{From: 1e9, To: 1e9, Duration: time.Millisecond / 5}
	if got := len(all(t, c)); got != 200_000 {
		t.Errorf("got %d arrivals, want 200000", got)
	}
}

// Whatever the rates and the number of machines: all their even arrivals
// together are those of one machine.
func TestEvenArrivalsOfMachinesInterleave(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		c := arrivals.Config{
			From: random.Float64() * 100, To: random.Float64() * 100,
			Duration: time.Duration(1 + random.Int64N(int64(5*time.Second))), Machines: 1 + random.IntN(12),
		}
		one := c
		one.Machines = 1
		want := all(t, one)
		var got []time.Duration
		for c.Machine = range c.Machines {
			got = append(got, all(t, c)...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: %d machines have %d arrivals %v,\none has %d %v", c, c.Machines, len(got), got, len(want), want)
		}
		if len(want) != int(c.Count()) {
			t.Fatalf("%+v: got %d arrivals, Count says %v", c, len(want), c.Count())
		}
	}
}

func TestSharesOfRatesSumUpExactly(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		rate, n := math.Exp(random.Float64()*30-10), 1+random.IntN(2000)
		if random.IntN(3) == 0 {
			rate = math.Round(rate)
		}
		rate = min(rate, arrivals.MaxRate)
		var sum int64
		least, most := math.Inf(1), 0.0
		for k := range n {
			share := arrivals.Share(rate, k, n)
			sum += int64(math.Round(share * 1e6))
			least, most = min(least, share), max(most, share)
		}
		if n > 1 && sum != int64(math.Round(rate*1e6)) {
			t.Fatalf("the shares of %v over %d machines sum up to %v", rate, n, float64(sum)*arrivals.MinRate)
		}
		if most-least > 1.001*arrivals.MinRate+rate*1e-15 {
			t.Fatalf("the shares of %v over %d machines differ by %v", rate, n, most-least)
		}
	}
}

func TestSeedRepeatsTheTimetable(t *testing.T) {
	c := arrivals.Config{From: 10, To: 200, Duration: 10 * time.Second, Poisson: true, Seed: 7, Machines: 3}
	first := all(t, c)
	if !slices.Equal(first, all(t, c)) {
		t.Error("the same seed gives another timetable")
	}
	c.Machine = 1
	if slices.Equal(first, all(t, c)) {
		t.Error("two machines have the same random arrivals")
	}
	c.Machine, c.Seed = 0, 8
	if slices.Equal(first, all(t, c)) {
		t.Error("another seed gives the same timetable")
	}
}

// The number of arrivals of a Poisson process has the mean and the variance
// Λ = ∫r, and, given their number, the arrivals are independent draws from the
// density r(t)/Λ: the largest distance between their distribution and that
// one is below the Kolmogorov-Smirnov bound. Seeds are fixed, so that what
// holds today holds always.
func TestPoissonArrivalsFollowTheory(t *testing.T) {
	tests := []struct {
		name     string
		from, to float64
		machines int
	}{
		{"constant", 100, 100, 1},
		{"constant on three machines", 100, 100, 3},
		{"ramp up", 1, 200, 1},
		{"ramp down", 200, 1, 1},
		{"ramp up from 0", 0, 200, 1},
		{"ramp down to 0", 200, 0, 1},
		{"ramp down to 0 on four machines", 200, 0, 4},
		{"ramp of almost no slope", 100, 100.0000001, 1},
	}
	const seeds, seconds = 100, 20.0
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := (test.to - test.from) / seconds
			lambda := (test.from + test.to) / 2 * seconds
			var counts, squares float64
			var places []float64 // of arrivals in their theoretical distribution, 0 to 1
			for seed := range uint64(seeds) {
				n := 0
				for machine := range test.machines {
					times := all(t, arrivals.Config{
						From: test.from, To: test.to, Duration: seconds * time.Second,
						Poisson: true, Seed: seed, Machine: machine, Machines: test.machines,
					})
					n += len(times)
					for _, at := range times {
						s := at.Seconds()
						places = append(places, (test.from*s+k*s*s/2)/lambda)
					}
				}
				counts += float64(n)
				squares += (float64(n) - lambda) * (float64(n) - lambda)
			}
			if mean, sigma := counts/seeds, math.Sqrt(lambda/seeds); math.Abs(mean-lambda) > 4*sigma {
				t.Errorf("mean number of arrivals: got %.2f, want %.2f ± %.2f", mean, lambda, 4*sigma)
			}
			if variance := squares / seeds; math.Abs(variance/lambda-1) > 4*math.Sqrt(2.0/seeds) {
				t.Errorf("variance of the number: got %.1f, want about %.1f", variance, lambda)
			}
			if d := farthest(places); d > 1.95/math.Sqrt(float64(len(places))) {
				t.Errorf("the distribution is off by %.5f, want at most %.5f", d, 1.95/math.Sqrt(float64(len(places))))
			}
		})
	}
}

// The gaps of a Poisson process of constant rate are exponential.
func TestPoissonGapsAreExponential(t *testing.T) {
	times := all(t, arrivals.Config{From: 1000, To: 1000, Duration: 100 * time.Second, Poisson: true, Seed: 5})
	places := make([]float64, 0, len(times))
	before := time.Duration(0)
	for _, at := range times {
		places = append(places, 1-math.Exp(-1000*(at-before).Seconds()))
		before = at
	}
	if d := farthest(places); d > 1.95/math.Sqrt(float64(len(places))) {
		t.Errorf("the distribution of gaps is off by %.5f", d)
	}
}

// farthest is the largest distance of a sample from the even distribution
// between 0 and 1.
func farthest(sample []float64) float64 {
	slices.Sort(sample)
	d, n := 0.0, float64(len(sample))
	for i, p := range sample {
		d = max(d, math.Abs(p-float64(i)/n), math.Abs(p-float64(i+1)/n))
	}
	return d
}

func TestWrongConfigsAreRefused(t *testing.T) {
	tests := []struct {
		name string
		c    arrivals.Config
		want string
	}{
		{"negative rate", arrivals.Config{From: -1, Duration: 1}, "-1 a second"},
		{"no number", arrivals.Config{To: math.NaN(), Duration: 1}, "NaN a second"},
		{"rate too high", arrivals.Config{To: 2e9, Duration: 1}, "2e+09 a second"},
		{"no duration", arrivals.Config{From: 1}, "duration is 0s"},
		{"machine beyond the last", arrivals.Config{From: 1, Duration: 1, Machine: 3, Machines: 3}, "machine is 3 of 3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := arrivals.New(test.c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		table, err := arrivals.New(arrivals.Config{From: 1, To: 1000, Duration: time.Hour, Poisson: poisson})
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() { table.Next() }); n != 0 {
			t.Errorf("Poisson %v: %v allocations an arrival, want none", poisson, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, c := range []arrivals.Config{
		{From: 1e6, To: 1e6, Duration: 1e6 * time.Second},
		{From: 1e6, To: 1e6, Duration: 1e6 * time.Second, Poisson: true},
		{From: 1, To: 1e6, Duration: 1e6 * time.Second, Poisson: true},
	} {
		b.Run(fmt.Sprintf("from=%g/poisson=%v", c.From, c.Poisson), func(b *testing.B) {
			table, err := arrivals.New(c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				table.Next()
			}
		})
	}
}
