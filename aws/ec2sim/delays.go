package ec2sim

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// A Delay is a distribution of durations. The zero Delay is none at all.
// As text it is a duration ("2s"), "uniform 1s 3s" (from, to), or
// "lognormal 20s 0.3" (median, sigma of the logarithm).
type Delay struct {
	kind string
	a, b float64 // seconds, or sigma
}

// Fixed is a delay that is always the same.
func Fixed(d time.Duration) Delay { return Delay{"fixed", d.Seconds(), 0} }

// Uniform is a delay between two others, each as likely as any.
func Uniform(from, to time.Duration) Delay { return Delay{"uniform", from.Seconds(), to.Seconds()} }

// Lognormal is a delay whose logarithm is normally distributed.
func Lognormal(median time.Duration, sigma float64) Delay {
	return Delay{"lognormal", median.Seconds(), sigma}
}

// UnmarshalText reads a delay as it is written in a drill.
func (d *Delay) UnmarshalText(text []byte) error {
	const forms = `is not a delay; write "2s", "uniform 1s 3s" or "lognormal 20s 0.3"`
	words := strings.Fields(string(text))
	if len(words) == 1 {
		words = []string{"fixed", words[0], "0s"}
	}
	if len(words) != 3 {
		return fmt.Errorf("%q %s", text, forms)
	}
	first, err := time.ParseDuration(words[1])
	if err != nil || first < 0 {
		return fmt.Errorf("%q %s", text, forms)
	}
	switch words[0] {
	case "fixed":
		*d = Fixed(first)
		return nil
	case "uniform":
		if second, err := time.ParseDuration(words[2]); err == nil && second >= first {
			*d = Uniform(first, second)
			return nil
		}
	case "lognormal":
		var sigma float64
		if _, err := fmt.Sscanf(words[2], "%g", &sigma); err == nil && sigma >= 0 && sigma <= 3 {
			*d = Lognormal(first, sigma)
			return nil
		}
	}
	return fmt.Errorf("%q %s", text, forms)
}

// MarshalText writes the delay so that it can be read again.
func (d Delay) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the delay as it is written in a drill.
func (d Delay) String() string {
	a := time.Duration(d.a * float64(time.Second))
	switch d.kind {
	case "uniform":
		return fmt.Sprintf("uniform %v %v", a, time.Duration(d.b*float64(time.Second)))
	case "lognormal":
		return fmt.Sprintf("lognormal %v %g", a, d.b)
	}
	return a.String()
}

func (d Delay) draw(r *rand.Rand) time.Duration {
	seconds := d.a
	switch d.kind {
	case "uniform":
		seconds += (d.b - d.a) * r.Float64()
	case "lognormal":
		seconds *= math.Exp(d.b * r.NormFloat64())
	}
	return time.Duration(seconds * float64(time.Second))
}

// draws are the simulator's dice. Each purpose has its own, so that one call
// more of one kind changes nothing for the others.
type draws struct {
	seed  uint64
	count map[string]uint64
}

func newDraws(seed uint64) *draws { return &draws{seed, map[string]uint64{}} }

// next is what the next draw for a purpose is made with.
func (d *draws) next(purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	d.count[purpose]++
	return rand.New(rand.NewPCG(d.seed^h.Sum64(), d.count[purpose]))
}

// id is the next id of a kind: i-0123456789abcdef0.
func (d *draws) id(kind string) string {
	return fmt.Sprintf("%s-0%016x", kind, d.next("id "+kind).Uint64())
}
