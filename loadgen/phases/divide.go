package phases

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/loads/loads/loadgen/arrivals"
	"github.com/loads/loads/loadgen/benchmark"
)

// Split divides a whole number by weights, so that the parts sum up to it: each
// gets the whole part of its share, and what is left goes to the largest
// fractions, the first of equal ones.
func Split(total int, weights []float64) []int {
	parts := make([]int, len(weights))
	for i, n := range split(int64(total), weights) {
		parts[i] = int(n)
	}
	return parts
}

// splitLimit divides as Split does, but each gets one at least: 0 would be no
// limit. A total that is too small for that has been refused before.
func splitLimit(total int, weights []float64) []int {
	if total < len(weights) {
		return make([]int, len(weights))
	}
	parts := Split(total-len(weights), weights)
	for i := range parts {
		parts[i]++
	}
	return parts
}

// splitRate divides a rate in units of arrivals.MinRate.
func splitRate(rate float64, weights []float64) []float64 {
	parts := make([]float64, len(weights))
	for i, n := range split(int64(math.Round(rate*(1/arrivals.MinRate))), weights) {
		parts[i] = float64(n) / (1 / arrivals.MinRate)
	}
	return parts
}

// split works with exact fractions: with rounded ones the sum could be off.
func split(total int64, weights []float64) []int64 {
	sum := new(big.Rat)
	shares := make([]*big.Rat, len(weights))
	for i, w := range weights {
		shares[i] = new(big.Rat)
		shares[i].SetFloat64(w)
		sum.Add(sum, shares[i])
	}
	parts, order, left := make([]int64, len(weights)), make([]int, len(weights)), total
	if sum.Sign() <= 0 {
		return parts
	}
	for i, share := range shares {
		share.Mul(share, new(big.Rat).SetInt64(total)).Quo(share, sum)
		whole := new(big.Int).Quo(share.Num(), share.Denom())
		parts[i], order[i] = whole.Int64(), i
		left -= parts[i]
		share.Sub(share, new(big.Rat).SetInt(whole))
	}
	slices.SortStableFunc(order, func(a, b int) int { return shares[b].Cmp(shares[a]) })
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts
}

// Share is a machine's part of a phase. The parts of all machines sum up to
// the phase's rates, users and limits.
type Share struct {
	Phase       *Phase
	From, To    float64          // its users a second
	Users       int              // its users, of closed phases
	MaxSessions int              // 0 is no limit
	Estimate    int              // sessions to prepare for
	Arrivals    *arrivals.Config // its timetable, of open phases
}

// Cluster is what a benchmark is divided among.
type Cluster struct {
	Machines int    // 1 or more
	Threads  int    // of each machine
	Seed     uint64 // of all random arrivals
}

// Divide returns machine's part of each phase, from 0. Even arrivals of the
// machines interleave; random ones are independent. The error says which
// limits can't be divided since there are more machines than sessions.
func Divide(list []Phase, c Cluster, machine int) ([]Share, error) {
	if machine < 0 || machine >= c.Machines {
		return nil, fmt.Errorf("the machine is %d of %d", machine, c.Machines)
	}
	var faults []string
	users, sessions := dealer{n: c.Machines}, dealer{n: c.Machines}
	shares := make([]Share, len(list))
	for i := range list {
		p := &list[i]
		share := Share{Phase: p}
		switch {
		case p.Umbrella || p.Kind == benchmark.Noop:
		case p.Kind.IsOpen():
			share.From, share.To = arrivals.Share(p.From, machine, c.Machines), arrivals.Share(p.To, machine, c.Machines)
			share.Arrivals = &arrivals.Config{
				From: p.From, To: p.To, Duration: p.Duration, Poisson: p.Variance,
				Seed: c.Seed + uint64(i), Machine: machine, Machines: c.Machines,
			}
			if p.MaxSessions > 0 && p.MaxSessions < c.Machines {
				faults = append(faults, fmt.Sprintf("phase %s has maxSessions %d, want at least one for each of %d machines", p.Name, p.MaxSessions, c.Machines))
			}
			share.MaxSessions = sessions.deal(p.MaxSessions, machine)
			share.Estimate = (p.Estimate + c.Machines - 1) / c.Machines
		default:
			share.Users = users.deal(p.Users, machine) + p.PerMachine + p.PerThread*max(c.Threads, 1)
			share.Estimate = share.Users
		}
		shares[i] = share
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("divide the benchmark: %s", strings.Join(faults, "; "))
	}
	return shares, nil
}

// dealer divides numbers among n evenly. What doesn't divide goes to where the
// last number's rest ended, so that many small numbers don't all go to the
// first.
type dealer struct{ n, next int }

func (d *dealer) deal(total, to int) int {
	rest := total % d.n
	part := total / d.n
	if (to-d.next+d.n)%d.n < rest {
		part++
	}
	d.next = (d.next + rest) % d.n
	return part
}

// Connections divides the connections of an endpoint. A machine has at least
// one, as it could not work without: then there are more than asked for, and
// raised is true.
func Connections(total, machine, machines int) (n int, raised bool) {
	d := dealer{n: machines}
	if n = d.deal(total, machine); n == 0 {
		return 1, true
	}
	return n, total < machines
}
