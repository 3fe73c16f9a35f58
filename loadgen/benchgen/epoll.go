//go:build linux

package main

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/metrics"
)

// part is what one event loop does of a way, with the transport of loads and
// nothing above it.
type part struct {
	tally
	pool    *h1.Pool
	loop    *loop.Loop
	request h1.Request
	users   []*user // that are free
	end     loop.Instant
	closed  bool // users ask again at once
	arrival loop.Timer
	due     float64 // of the next arrival, as an Instant
	gap     float64
}

// user makes one request at a time.
type user struct {
	h1.Exchange
	part *part
	from loop.Instant
}

func (u *user) OnSent(loop.Instant)  {}
func (u *user) OnStatus(int)         {}
func (u *user) OnHeader(_, _ []byte) {}
func (u *user) OnBody([]byte)        {}

func (u *user) OnEnd(e h1.End) {
	p := u.part
	p.loop.Await(-1)
	p.add(u.from, e.At, e.Err)
	if p.closed && e.At < p.end && e.Err == nil {
		p.ask(u, e.At)
		return
	}
	p.users = append(p.users, u)
}

func (p *part) ask(u *user, from loop.Instant) {
	u.from = from
	p.loop.Await(1)
	p.pool.Do(&u.Exchange)
}

// arrive has users ask who are due, or are soon, and counts from when they were,
// or asked.
func (p *part) arrive() {
	for soon := p.loop.Now().Add(p.arrival.Early); p.due <= float64(soon) && loop.Instant(p.due) < p.end; p.due += p.gap {
		if len(p.users) == 0 {
			p.addUser()
		}
		last := len(p.users) - 1
		u := p.users[last]
		p.users = p.users[:last]
		p.ask(u, min(loop.Instant(p.due), p.loop.Now()))
	}
	if loop.Instant(p.due) < p.end {
		p.loop.Set(&p.arrival, loop.Instant(p.due))
	}
}

func (p *part) addUser() {
	u := &user{part: p}
	u.Exchange = h1.Exchange{Request: &p.request, Handler: u, Timeout: 10 * time.Second, Patient: !p.closed}
	p.users = append(p.users, u)
}

// epoll runs the event loops of loads.
func (w way) epoll(ctx context.Context) ([]*tally, error) {
	runtime.GOMAXPROCS(w.loops + 1) // see loop.Run, and Keep
	start := loop.Now().Add(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, w.duration+150*time.Millisecond)
	defer cancel()
	tallies, errs := make([]*tally, w.loops), make([]error, w.loops)
	var loops sync.WaitGroup
	for i := range w.loops {
		p, err := w.newPart(i, start)
		if err != nil {
			return nil, err
		}
		tallies[i] = &p.tally
		loops.Go(func() { errs[i] = p.loop.Run(ctx) })
	}
	loops.Wait()
	return tallies, errors.Join(errs...)
}

func (w way) newPart(i int, start loop.Instant) (*part, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	n := w.connections / w.loops
	p := &part{
		tally: tally{latency: metrics.NewSketch()}, loop: l, end: start.Add(w.duration), closed: w.rate == 0,
		pool: h1.NewPool(l, h1.Config{Addresses: []netip.AddrPort{w.address}, Min: n, Max: n}),
	}
	p.request.Begin("GET", nil, w.address.String())
	if err := p.request.End(nil); err != nil {
		return nil, err
	}
	p.arrival.Fire = p.arrive
	if w.rate > 0 { // the loops' timetables are interleaved
		p.loop.Rest, p.loop.Keep, p.arrival.Early = w.grain, true, w.grain
		p.gap = float64(w.loops) * 1e9 / w.rate
		p.due = float64(start) + float64(i)*1e9/w.rate
	} else {
		p.arrival.Fire = func() {
			for range n {
				p.addUser()
			}
			for _, u := range p.users {
				p.ask(u, l.Now())
			}
			p.users = p.users[:0]
		}
	}
	l.Post(func() {
		p.pool.Open(func(error) {})
		l.Set(&p.arrival, start)
	})
	return p, nil
}

func receive(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
