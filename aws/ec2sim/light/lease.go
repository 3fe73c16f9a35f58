package light

import (
	"time"

	"github.com/loads/loads/aws/boot"
)

// A lease is what a machine's watchdog knows. Times are ages of the machine: how
// long it has lived, not counting when it was off.
type lease struct {
	term, seq  uint64
	until, end time.Duration // of the lease and of the term
}

func newLease(p boot.Params) lease { return lease{term: p.Term, until: p.Lease, end: p.End} }

// renew takes a renewal if it is newer than all before it: see docs/leases.md.
func (l *lease) renew(r boot.Renewal, age time.Duration) bool {
	if r.Seq <= l.seq || r.Term < l.term {
		return false
	}
	l.seq, l.until = r.Seq, age+r.Lease
	if r.Term > l.term {
		l.term, l.end = r.Term, age+r.End
	}
	l.end = min(l.end, age+r.End)
	return true
}

// over is the age at which the machine powers itself off.
func (l *lease) over() time.Duration { return min(l.until, l.end) }
