// Package arrivals is the timetable of an open phase: when each user starts,
// fixed beforehand by the rates, the length and a seed, whatever the system
// under test does. It is arithmetic only; nothing here waits or reads a clock.
package arrivals

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Rates a second, if not 0, are from MinRate to MaxRate. Shares of a rate are
// whole multiples of MinRate, and up to MaxRate all of these are exact.
const (
	MinRate = 1e-6
	MaxRate = 1e9
)

// Config says which timetable. The rates are those of all machines together.
type Config struct {
	From, To float64       // users a second at the start and at the end; equal for a constant rate
	Duration time.Duration // in which users start
	Poisson  bool          // random gaps instead of even ones
	Seed     uint64        // of the random gaps; the same seed gives the same timetable
	Machine  int           // whose part this is, from 0
	Machines int           // among which arrivals are divided; 0 is 1
}

// Timetable hands out the times of one machine's arrivals, in their order. It
// is for one goroutine.
//
// With the rate r(t) growing or falling in a straight line, the number of
// users due until t is r0·t + k·t²/2, where k is the rate's growth a second.
// Even arrivals are where this number is 1, 2, 3, …; those of a Poisson process
// are where it is a sum of exponential gaps of mean 1. One inverse serves both:
// the next time follows from the number before, and never from a clock.
type Timetable struct {
	r0, k float64 // users/s, users/s²
	due   float64 // the number of users at the last arrival
	end   float64 // the number of users at the end
	step  float64 // between even arrivals of this machine
	limit time.Duration
	gaps  *rand.Rand // nil when arrivals are even
}

// New returns the timetable. The error says what of the config is wrong.
func New(c Config) (*Timetable, error) {
	c.Machines = max(c.Machines, 1)
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &Timetable{limit: c.Duration, step: float64(c.Machines)}
	if c.Poisson {
		// The sum of independent Poisson processes is one, so each machine has
		// its own, from a seed of its own.
		c.From, c.To = Share(c.From, c.Machine, c.Machines), Share(c.To, c.Machine, c.Machines)
		t.gaps = rand.New(rand.NewPCG(c.Seed, uint64(c.Machine)))
	} else {
		// Each machine takes every n-th of the common even arrivals, so
		// together they are exactly those of one machine.
		t.due = float64(c.Machine+1) - t.step
	}
	seconds := c.Duration.Seconds()
	t.r0, t.k = c.From, (c.To-c.From)/seconds
	t.end = (c.From + c.To) / 2 * seconds
	if t.gaps == nil {
		t.end = math.Floor(t.end * (1 + 1e-12)) // the last may be due at the very end
	}
	return t, nil
}

func (c Config) check() error {
	for _, rate := range []float64{c.From, c.To} {
		if rate != 0 && !(rate >= MinRate && rate <= MaxRate) {
			return fmt.Errorf("the rate is %v a second, want 0, or %g to %g", rate, float64(MinRate), float64(MaxRate))
		}
	}
	if c.Duration <= 0 {
		return fmt.Errorf("the duration is %v, want more than 0", c.Duration)
	}
	if c.Machine < 0 || c.Machine >= c.Machines {
		return fmt.Errorf("the machine is %d of %d, want 0 to %d", c.Machine, c.Machines, c.Machines-1)
	}
	return nil
}

// Next returns when the next user is due, from the start of the phase, and
// false when there are no more. It allocates nothing.
func (t *Timetable) Next() (at time.Duration, ok bool) {
	if t.gaps != nil {
		t.due += t.gaps.ExpFloat64()
	} else {
		t.due += t.step
	}
	if t.due > t.end {
		return 0, false
	}
	// The root of r0·t + k·t²/2 = due in the form that loses no digits when k
	// is small, and is exact for a constant rate. A ramp down to 0 can make
	// the radicand negative by rounding, at its very end only.
	root := math.Sqrt(max(0, t.r0*t.r0+2*t.k*t.due))
	at = time.Duration(2 * t.due / (t.r0 + root) * float64(time.Second))
	return min(at, t.limit), true
}

// Count returns how many users a timetable starts on all machines: exactly
// so many when arrivals are even, on average when they are not.
func (c Config) Count() float64 {
	n := (c.From + c.To) / 2 * c.Duration.Seconds()
	if c.Poisson {
		return n
	}
	return math.Floor(n * (1 + 1e-12))
}

// Share is a machine's part of a rate. The parts differ by MinRate at most, and
// in units of it they sum up to the rate exactly; what doesn't divide goes to
// the first machines.
func Share(rate float64, machine, machines int) float64 {
	if machines <= 1 {
		return rate
	}
	whole := int64(math.Round(rate * (1 / MinRate)))
	part := whole / int64(machines)
	if int64(machine) < whole%int64(machines) {
		part++
	}
	return float64(part) / (1 / MinRate)
}
