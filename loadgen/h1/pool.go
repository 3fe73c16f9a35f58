//go:build linux

package h1

import (
	"net/netip"
	"time"

	"github.com/loads/loads/loadgen/loop"
)

// Config says how a pool is to connect.
type Config struct {
	Addresses      []netip.AddrPort // connections are divided among them; at least one
	Min            int              // connections to make by Open, and to keep
	Max            int              // most connections at once, those of holds included
	Spare          int              // how many more than in use are to be kept open, up to Max
	IdleTimeout    time.Duration    // after which a connection above Min that was not used is closed; 0 is never
	ConnectTimeout time.Duration    // of one attempt; 0 is ten seconds
	NoReuse        bool             // a connection carries one exchange only
}

// Stats are counters of a pool, since its beginning, and gauges.
type Stats struct {
	Opened, Closed, Failed uint64 // connections made, closed by either side, and attempts that failed
	Stale                  uint64 // exchanges that failed since a used connection was just being closed
	Delayed                uint64 // exchanges that waited for a connection
	LongestWait            time.Duration

	Connections int // open
	Busy        int // of them, with an exchange under way
	Waiting     int // exchanges that wait for a connection
}

// Pool is the connections of one loop to one endpoint.
type Pool struct {
	loop *loop.Loop
	cfg  Config
}

// conn is one connection.
type conn struct{}

// NewPool returns a pool without connections.
func NewPool(l *loop.Loop, cfg Config) *Pool { return &Pool{loop: l, cfg: cfg} }

// Open makes the first Min connections, and calls ready when all are there, or
// an attempt has failed.
func (p *Pool) Open(ready func(error)) {}

// Do carries out an exchange: on a connection that is free, else on one that is
// made, as long as there are less than Max, else when one becomes free, first
// come first served. The exchange's handler is told what becomes of it. An
// attempt to connect that was made since exchanges waited, and fails, ends the
// one of them that has waited longest.
func (p *Pool) Do(x *Exchange) {}

// Cancel ends an exchange that is under way, if it is, with Cancelled; its
// connection is closed. OnEnd is called before Cancel returns.
func (p *Pool) Cancel(x *Exchange) {}

// Release gives a hold's connections back to the pool, or closes them.
func (p *Pool) Release(h *Hold, closing bool) {}

// SetAddresses changes where new connections go to.
func (p *Pool) SetAddresses(a []netip.AddrPort) {}

// Stats returns the pool's counters and gauges.
func (p *Pool) Stats() Stats { return Stats{} }

// Close closes all connections. Exchanges under way end with Cancelled.
func (p *Pool) Close() {}
