//go:build linux

package loop_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/loop"
)

// patience is how long a test waits for what is certain to come.
const patience = 5 * time.Minute

// mustRun returns a loop that runs until the test ends.
func mustRun(t *testing.T) *loop.Loop {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if l.Post(func() {}) {
			t.Error("a loop that has ended takes a post")
		}
	})
	return l
}

// await waits until what was posted closes the channel.
func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("the loop did not do it")
	}
}

func TestPostsOfManyGoroutinesAllRunInTheirOrder(t *testing.T) {
	l := mustRun(t)
	const posters, each = 8, 2000
	var got [posters][]int
	done := make(chan struct{})
	left := posters * each
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				l.Post(func() {
					got[p] = append(got[p], i)
					if left--; left == 0 {
						close(done)
					}
				})
			}
		})
	}
	wg.Wait()
	await(t, done)
	for p := range posters {
		if !slices.IsSorted(got[p]) || len(got[p]) != each {
			t.Errorf("posts of goroutine %d ran as %v", p, got[p])
		}
	}
}

func TestTimersFireInTheirOrderAndNotEarly(t *testing.T) {
	l := mustRun(t)
	const n = 500
	dice := rand.New(rand.NewPCG(1, 2))
	var fired []loop.Instant
	done := make(chan struct{})
	l.Post(func() {
		base := l.Now()
		timers := make([]loop.Timer, n)
		left := 0
		for i := range timers {
			timers[i].Fire = func() {
				fired = append(fired, timers[i].When())
				if now := loop.Now(); now < timers[i].When() {
					t.Errorf("fired %v early", timers[i].When().Sub(now))
				}
				if left--; left == 0 {
					close(done)
				}
			}
		}
		for range 4 { // set again, and some stopped
			for i := range timers {
				l.Set(&timers[i], base.Add(time.Duration(dice.IntN(50_000))*time.Microsecond))
			}
			for range n / 4 {
				l.Stop(&timers[dice.IntN(n)])
			}
		}
		for i := range timers {
			if timers[i].Armed() {
				left++
			}
		}
	})
	await(t, done)
	if !slices.IsSorted(fired) {
		t.Errorf("timers fired out of order: %v", fired)
	}
}

func TestTimersWithinAGrainFireTogether(t *testing.T) {
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	l.Grain = 200 * time.Millisecond
	const n = 1000
	turns := map[loop.Instant]int{}
	left := n
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := l.Now().Add(time.Millisecond)
	timers := make([]loop.Timer, n)
	for i := range timers {
		timers[i].Fire = func() {
			turns[l.Now()]++
			if left--; left == 0 {
				cancel()
			}
		}
		l.Set(&timers[i], start.Add(time.Duration(i)*100*time.Microsecond))
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	// One turn, or some if the runtime's signals wake the loop.
	if len(turns) > n/2 || left != 0 {
		t.Errorf("fired in %d turns, %d not at all", len(turns), left)
	}
}

func TestTimersThatMayBeEarlyFireInTheTurnOfTheFirst(t *testing.T) {
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := l.Now().Add(time.Millisecond)
	at := map[string]time.Duration{"due": 0, "soon": time.Minute, "later": time.Hour, "exact": 10 * time.Millisecond}
	var fired []string
	timers := map[string]*loop.Timer{}
	for name, after := range at {
		timer := &loop.Timer{Fire: func() {
			if fired = append(fired, name); name == "exact" {
				cancel()
			}
		}}
		if name == "soon" || name == "later" {
			timer.Early = 2 * time.Minute
		}
		timers[name] = timer
		l.Set(timer, start.Add(after))
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	// One that has to be exact holds up those behind it, which need not be early.
	if want := []string{"due", "exact"}; !slices.Equal(fired, want) && !slices.Equal(fired, []string{"due", "exact", "soon"}) {
		t.Errorf("fired %v, want %v, and soon behind them or not at all", fired, want)
	}
	if !timers["later"].Armed() {
		t.Error("a timer fired by more than it may be early")
	}
}

// What has come is found by a loop that rests when a timer ends that.
func TestLoopRestsAsLongAsAllAnswersArePatient(t *testing.T) {
	tests := []struct {
		name             string
		awaited, patient int
		keep, rests      bool
		timer            time.Duration
	}{
		{name: "nothing is awaited", timer: patience},
		{name: "one of two answers is patient", awaited: 2, patient: 1, timer: patience},
		{name: "all are patient", awaited: 2, patient: 2, rests: true, timer: 50 * time.Millisecond},
		{name: "all are patient, and the loop keeps its processor", awaited: 2, patient: 2, keep: true, rests: true, timer: 500 * time.Microsecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := loop.New()
			if err != nil {
				t.Fatal(err)
			}
			l.Rest, l.Keep = patience, tt.keep
			l.Await(tt.awaited)
			l.Patient(tt.patient)
			var fds [2]int
			if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[0])
			p := &pipe{fd: fds[0], done: make(chan struct{})}
			if err := l.Add(fds[0], p); err != nil {
				t.Fatal(err)
			}
			_, _ = unix.Write(fds[1], []byte{1})
			_ = unix.Close(fds[1])
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p.onEnd = cancel
			fired := false
			timer := loop.Timer{Fire: func() { fired = true }}
			l.Set(&timer, l.Now().Add(tt.timer))
			if err := l.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if fired != tt.rests || p.got != 1 {
				t.Errorf("a timer fired before the file was done with: %v, want %v; read %d bytes", fired, tt.rests, p.got)
			}
		})
	}
}

// While a loop stands still, answers come and the timers that wait for them
// become due: none of those may fire.
func TestAnswersThatCameInAStandstillAreNotMissing(t *testing.T) {
	const answers = 1000 // more than one look brings
	l := mustRun(t)
	var missing, left int
	done := make(chan struct{})
	l.Post(func() {
		for range answers {
			fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			if err != nil {
				t.Error(err)
				break
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			limit := &loop.Timer{Fire: func() { missing++ }}
			if err := l.Add(fd, ready(func() {
				var count [8]byte
				if n, _ := unix.Read(fd, count[:]); n <= 0 {
					return
				}
				l.Stop(limit)
				if left--; left == 0 {
					close(done)
				}
			})); err != nil {
				t.Error(err)
			}
			left++
			l.Set(limit, l.Now().Add(time.Millisecond))
			_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		for began := loop.Now(); loop.Now().Sub(began) < 100*time.Millisecond; { // it stands still
		}
		l.Tick()
	})
	await(t, done)
	if missing > 0 {
		t.Errorf("%d of %d answers were taken for missing", missing, answers)
	}
}

// ready is called when a file is ready.
type ready func()

func (f ready) OnReady(loop.Events) bool {
	f()
	return false
}

func TestTimerThatSetsItselfLeavesFilesTheirTurn(t *testing.T) {
	l := mustRun(t)
	done := make(chan struct{})
	var spin loop.Timer
	l.Post(func() {
		spin.Fire = func() { l.Set(&spin, l.Now()) }
		spin.Fire()
	})
	l.Post(func() { l.Post(func() { close(done) }) })
	await(t, done)
}

// pipe counts what comes out of a pipe, a byte a turn.
type pipe struct {
	fd, got, calls int
	closed         bool
	done           chan struct{}
	onEnd          func()
}

func (p *pipe) OnReady(loop.Events) bool {
	p.calls++
	var b [1]byte
	n, err := unix.Read(p.fd, b[:])
	switch {
	case n > 0:
		p.got++
		return true
	case err == nil:
		p.closed = true
		close(p.done)
		if p.onEnd != nil {
			p.onEnd()
		}
	}
	return false
}

func TestSourceThatAsksForMoreIsCalledAgain(t *testing.T) {
	l := mustRun(t)
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	p := &pipe{fd: fds[0], done: make(chan struct{})}
	l.Post(func() {
		if err := l.Add(fds[0], p); err != nil {
			t.Error(err)
		}
	})
	if _, err := unix.Write(fds[1], make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fds[1])
	await(t, p.done)
	if p.got != 1000 {
		t.Errorf("read %d bytes of 1000", p.got)
	}
}

func TestEventsOfAClosedFileDoNotReachItsSuccessor(t *testing.T) {
	l := mustRun(t)
	done := make(chan struct{})
	l.Post(func() {
		defer close(done)
		var a, b [2]int
		if err := unix.Pipe2(a[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			t.Error(err)
			return
		}
		duplicate, err := unix.Dup(a[0]) // keeps the pipe, and so its watch, in the kernel
		if err != nil {
			t.Error(err)
			return
		}
		first := &pipe{fd: a[0], done: make(chan struct{})}
		_ = l.Add(a[0], first)
		l.Remove(a[0])
		_ = unix.Close(a[0])
		_ = unix.Pipe2(b[:], unix.O_NONBLOCK|unix.O_CLOEXEC) // gets the descriptor
		second := &pipe{fd: b[0], done: make(chan struct{})}
		_ = l.Add(b[0], second)
		_, _ = unix.Write(a[1], []byte{1})
		var check loop.Timer
		check.Fire = func() {
			if b[0] != a[0] || first.calls+second.calls > 0 {
				t.Errorf("descriptors %d and %d; calls %d and %d", a[0], b[0], first.calls, second.calls)
			}
			l.Remove(b[0])
			for _, fd := range []int{a[1], b[0], b[1], duplicate} {
				_ = unix.Close(fd)
			}
		}
		l.Set(&check, l.Now().Add(10*time.Millisecond))
	})
	await(t, done)
	again := make(chan struct{})
	var after loop.Timer
	l.Post(func() {
		after.Fire = func() { close(again) }
		l.Set(&after, l.Now().Add(20*time.Millisecond))
	})
	await(t, again)
}

func TestTurnsAllocateNothing(t *testing.T) {
	l := mustRun(t)
	result := make(chan float64)
	l.Post(func() {
		timers := make([]loop.Timer, 100)
		for i := range timers {
			timers[i].Fire = func() {}
			l.Set(&timers[i], l.Now().Add(time.Hour))
		}
		i := 0
		result <- testing.AllocsPerRun(1000, func() {
			i++
			l.Tick()
			l.Set(&timers[i%100], l.Now().Add(time.Hour+time.Duration(i%7)))
		})
	})
	if n := <-result; n != 0 {
		t.Errorf("setting a timer allocates %v times", n)
	}
}

func BenchmarkPost(b *testing.B) {
	l, err := loop.New()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	f := func() {}
	for b.Loop() {
		l.Post(f)
	}
	done := make(chan struct{})
	l.Post(func() { close(done) })
	<-done
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkTimerIsSet(b *testing.B) {
	l, err := loop.New()
	if err != nil {
		b.Fatal(err)
	}
	timers := make([]loop.Timer, 1000)
	for i := range timers {
		l.Set(&timers[i], loop.Instant(i))
	}
	i := 0
	for b.Loop() {
		i++
		l.Set(&timers[i*7%1000], loop.Instant(i%5000))
	}
}
