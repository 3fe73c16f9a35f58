//go:build linux

// Package loop runs connections, timers and whatever is made of them on one
// thread, without locks: a wait for the kernel's events (epoll), the functions
// that they call, and again. A load generator has one loop for each processor
// core. See decision 42 for why it does not use Go's own network poller.
package loop

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxEvents is how many events one wait may bring.
	maxEvents = 256
	// standstill is how late a timer is that tells that the loop has stood still.
	standstill = 50 * time.Millisecond
	// yieldEvery is how often the loop lets other goroutines have its processor,
	// if there are any. The runtime would take it away after 10 ms, by means of a
	// signal and in the middle of something.
	yieldEvery = 5 * time.Millisecond
	// DefaultGrain is the Grain of loops that are not told otherwise.
	DefaultGrain = 100 * time.Microsecond
)

// Events are what a file is ready for; several bits may be set.
type Events uint32

// The bits of Events. A file that is Readable may also have come to its end, or
// to an error, which reading it tells.
const (
	Readable Events = unix.EPOLLIN
	Writable Events = unix.EPOLLOUT
	// HangUp says that the other side sends nothing more, or that the
	// connection is broken: what is to be read has an end.
	HangUp Events = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// A Source is a file that a loop watches.
type Source interface {
	// OnReady is called on the loop when the file has become ready, once for each
	// change: it has to read, or write, until the file would block. If it stops
	// before, to let others have their turn, it returns true and is called again
	// with Readable in the next turn.
	OnReady(Events) (again bool)
}

// watch is what the loop knows of a file. An event carries the number of its
// watch, since a descriptor is given out again as soon as it is closed.
type watch struct {
	source Source
	number uint32
}

// Loop is one thread's events and timers. Only Post may be called from any
// goroutine; everything else belongs to the goroutine in Run, and to the one
// that made the loop before Run is called.
type Loop struct {
	// Grain is the least time for which the loop sleeps if only a timer ends
	// that. Timers that are due within it fire together, up to Grain late: each
	// waking of a thread costs more than a request. Files and posts wake the loop
	// at once. It is set before Run.
	Grain time.Duration
	// Rest is the least time between two wakings while all that the loop waits for
	// is patient: then it sleeps that long whatever comes, and finds it all at
	// once. 0 is no rest. It is set before Run.
	Rest time.Duration
	// Keep has the loop keep its processor of the runtime when it sleeps for less
	// than a millisecond, which is cheaper. GOMAXPROCS has to be above the number of
	// loops then, or nothing else would run meanwhile. It is set before Run.
	Keep bool

	epoll, wake int
	now         Instant
	ticked      bool    // now has passed
	watches     []watch // by descriptor
	numbers     uint32
	timers      timers
	again, then []watched // sources to call in the next turn
	events      [maxEvents]unix.EpollEvent
	precise     bool    // the kernel has epoll_pwait2
	woke        Instant // when the loop woke up last
	awaited     int     // by Await
	patient     int     // of them, by Patient

	mu       sync.Mutex
	posted   []func()
	ended    bool
	spare    []func() // taken turns with posted
	waiting  atomic.Bool
	hasPosts atomic.Bool
}

// watched is a source that waits for its next turn.
type watched struct {
	fd     int
	number uint32
}

// New returns a loop that does not run yet.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	now := Now()
	l := &Loop{epoll: epoll, wake: wake, now: now, woke: now, precise: true, Grain: DefaultGrain}
	// The counter of wake is never read: each write is an event by itself.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &event); err != nil {
		_ = unix.Close(epoll)
		_ = unix.Close(wake)
		return nil, fmt.Errorf("watch an eventfd: %w", err)
	}
	return l, nil
}

// Run carries out what the kernel, timers and posts bring until ctx is done,
// and closes the loop; a loop runs once. Functions are called one after the
// other, on one thread of the operating system. What is open on the loop when
// it ends is for its owner to close. The error is the kernel's.
//
// A program with loops should have a GOMAXPROCS above their number, as gen has. Else the
// runtime takes the processor of a loop that sleeps away, for others which
// there may be, and its waking costs half as much again.
func (l *Loop) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	// By default the kernel lets timers of a thread be 50 µs late on top of Grain.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0)
	stop := context.AfterFunc(ctx, l.interrupt)
	defer stop()
	for yielded := l.Now(); ctx.Err() == nil; {
		if l.Now().Sub(yielded) > yieldEvery {
			runtime.Gosched()
			l.Tick()
			yielded = l.Now()
		}
		n, err := l.wait()
		if err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		l.Tick()
		l.runPosts()
		l.runReady(n)
		if err := l.catchUp(); err != nil {
			return fmt.Errorf("look for events: %w", err)
		}
		l.timers.run(l.Now())
	}
	return nil
}

// catchUp takes all events that there are, when timers are long overdue: the loop,
// or the whole computer, has stood still, and answers that came meanwhile must
// not be taken for missing by the timers that are there for those. It looks at
// each file once, so that timers get their turn whatever comes.
func (l *Loop) catchUp() error {
	for range len(l.watches)/maxEvents + 1 {
		if at, ok := l.timers.next(); !ok || l.Now().Sub(at) < standstill {
			return nil
		}
		n, err := l.poll()
		if err != nil {
			return err
		}
		l.Tick()
		l.runEvents(n)
		if n < maxEvents {
			return nil
		}
	}
	return nil
}

// Now returns the time. The clock is read once in a turn, and once more after
// each Tick, so that asking often costs nothing.
func (l *Loop) Now() Instant {
	if l.ticked {
		l.now, l.ticked = Now(), false
	}
	return l.now
}

// Tick says that time has passed, as it does in a system call.
func (l *Loop) Tick() { l.ticked = true }

// Add watches a file, which must not block, for reading and writing. The
// caller removes it before it closes it.
func (l *Loop) Add(fd int, s Source) error {
	l.numbers++
	event := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(fd), Pad: int32(l.numbers),
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	for fd >= len(l.watches) {
		l.watches = append(l.watches, watch{})
	}
	l.watches[fd] = watch{s, l.numbers}
	return nil
}

// Remove ends the watch of a file that is about to be closed; its source is
// not called any more. Closing takes it out of the kernel's list.
func (l *Loop) Remove(fd int) { l.watches[fd] = watch{} }

// Await says that n more answers are waited for, or, below zero, that many less.
func (l *Loop) Await(n int) { l.awaited += n }

// Patient says that n more, or less, of the awaited answers may be taken up to
// Rest after they have come. The loop rests as long as all of them may.
func (l *Loop) Patient(n int) { l.patient += n }

// Set arms the timer for an instant, also when it is armed for another. One
// that is due is fired in this turn of the loop or the next, never by Set.
func (l *Loop) Set(t *Timer, at Instant) { l.timers.set(t, at) }

// Stop disarms the timer, if it is armed.
func (l *Loop) Stop(t *Timer) { l.timers.stop(t) }

// Post has f called on the loop, soon, in the order of the posts of a goroutine.
// Any goroutine may call it, and it never waits. It returns false when the loop
// has ended, and f is not called; nor is what was posted just before. The loop
// doesn't bound how many posts are waiting: who posts answers to something that
// is bounded itself, such as requests under way.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.posted = append(l.posted, f)
	if !l.hasPosts.Swap(true) && l.waiting.Load() {
		l.ring()
	}
	return true
}

// interrupt ends a wait.
func (l *Loop) interrupt() { l.Post(func() {}) }

// ring makes the eventfd ready. It fails only when its counter is full, and
// then it is ready.
func (l *Loop) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wake, one[:])
}

// runPosts calls what was posted until now.
func (l *Loop) runPosts() {
	if !l.hasPosts.Load() {
		return
	}
	l.mu.Lock()
	posts := l.posted
	l.posted, l.spare = l.spare[:0], nil
	l.hasPosts.Store(false)
	l.mu.Unlock()
	for _, f := range posts {
		f()
	}
	clear(posts)
	l.spare = posts
}

// runReady calls the sources of n events, and those that asked for it.
func (l *Loop) runReady(n int) {
	l.again, l.then = l.then[:0], l.again
	l.runEvents(n)
	for _, w := range l.then {
		l.call(w, Readable)
	}
}

func (l *Loop) runEvents(n int) {
	for i := range n {
		e := &l.events[i]
		if e.Fd < 0 {
			continue // the eventfd: it has ended the wait, which is all
		}
		l.call(watched{int(e.Fd), uint32(e.Pad)}, Events(e.Events))
	}
}

func (l *Loop) call(w watched, e Events) {
	if to := l.watches[w.fd]; to.source != nil && to.number == w.number && to.source.OnReady(e) {
		l.again = append(l.again, w)
	}
}

func (l *Loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.posted = true, nil
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.wake)
}

// Instant is a time on the monotonic clock, in nanoseconds since this program
// began. It is the same clock for all loops.
type Instant int64

// began is the zero of Instant.
var began = time.Now()

// Now reads the clock.
func Now() Instant { return Instant(time.Since(began)) }

// At returns the instant of a time. One that comes from elsewhere is taken by what
// the clock on the wall says now, as that may have been set since this program began.
func At(t time.Time) Instant {
	now, wall := Clocks()
	return now.Add(t.Sub(wall))
}

// Clocks reads the clock, and that on the wall, at once.
func Clocks() (Instant, time.Time) {
	now := time.Now()
	return Instant(now.Sub(began)), now
}

// Add returns the instant a time after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from o to i.
func (i Instant) Sub(o Instant) time.Duration { return time.Duration(i - o) }

// Time returns the time of the instant.
func (i Instant) Time() time.Time { return began.Add(time.Duration(i)) }
