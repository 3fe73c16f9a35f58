package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// patience is how long a broker that stopped answering is asked again.
const patience = 10 * time.Minute

// An ending is how following a run came to its end.
type ending int

const (
	endOver    ending = iota // the run is completed
	endLeft                  // the user left it running
	endGaveUp                // the user would not wait for the stopping
	endTimeout               // the time was up
)

const question = "Leave it running, or stop it? [l/s] (Enter: go on watching) "

// following shows a run until its end, and asks what an interrupt means.
type following struct {
	*program
	client  *api.Client
	run     api.Run
	signals <-chan os.Signal
	timeout time.Duration // 0 is none
	junit   string        // file for the verdict as JUnit XML; empty is none

	display  display
	terminal *terminal // nil: nobody to ask
	events   chan api.Event
	lost     chan error // the broker stopped answering
	keys     <-chan byte
	unask    context.CancelFunc // of keys; nil while nothing is asked
	aborted  chan error         // what came of asking for the abort
	stopping bool
}

// follow shows the run until it ends one way or another. It waits for all that
// it has started.
func (f *following) follow(ctx context.Context) (ending, error) {
	f.events, f.lost, f.aborted = make(chan api.Event), make(chan error), make(chan error, 1)
	f.terminal = f.program.terminal()
	if f.terminal != nil {
		restore, err := f.terminal.quiet()
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	f.display = f.newDisplay(f.run)
	defer f.display.close()

	ctx, cancel := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(nil)
	done := make(chan error, 1)
	work.Go(func() { done <- f.stream(ctx, cancel) })
	return f.loop(ctx, &work, done)
}

func (p *program) newDisplay(run api.Run) display {
	if p.json {
		return &jsonDisplay{w: p.Stdout}
	}
	state := newProgress(run)
	if out, ok := asTerminal(p.Stdout); ok && p.Getenv("TERM") != "dumb" {
		return newLiveDisplay(out, state)
	}
	return &lineDisplay{w: p.Stdout, state: state}
}

// stream sends the run's events until its end. It gives up on a broker that
// has not answered for too long.
func (f *following) stream(ctx context.Context, cancel context.CancelCauseFunc) error {
	var since time.Time // when the broker stopped answering
	client := *f.client
	client.Retrying = func(err error, _ time.Duration) {
		if !since.IsZero() && time.Since(since) > patience {
			cancel(err)
		}
		if since.IsZero() {
			since = time.Now()
			select {
			case f.lost <- err:
			case <-ctx.Done():
			}
		}
	}
	return client.Events(ctx, f.run.UUID, 0, func(e api.Event) error {
		since = time.Time{}
		select {
		case f.events <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func (f *following) loop(ctx context.Context, work *sync.WaitGroup, done <-chan error) (ending, error) {
	var timeout <-chan time.Time
	if f.timeout > 0 {
		timer := time.NewTimer(f.timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	defer f.answered()
	for {
		select {
		case e := <-f.events:
			f.display.event(e)
		case err := <-done:
			if err != nil && context.Cause(ctx) != nil {
				err = context.Cause(ctx)
			}
			return endOver, err
		case <-f.lost:
			f.display.note("The broker does not answer; asking it again.")
		case err := <-f.aborted:
			if err != nil {
				return 0, fmt.Errorf("stop run: %w", err)
			}
		case s := <-f.signals:
			if end, over := f.interrupt(ctx, work, s); over {
				return end, nil
			}
		case key, open := <-f.keys:
			if f.answer(ctx, work, key, open) {
				return endLeft, nil
			}
		case <-timeout:
			return endTimeout, nil
		}
	}
}

// interrupt is what a signal means: a question when there is somebody to ask,
// and to stop the run otherwise, or at the second. At the third the program
// ends, and the broker goes on with the stopping.
func (f *following) interrupt(ctx context.Context, work *sync.WaitGroup, s os.Signal) (ending, bool) {
	switch {
	case s == syscall.SIGHUP:
		return endLeft, true // the terminal is gone, the run need not be
	case f.stopping:
		return endGaveUp, true
	case f.terminal != nil && s == os.Interrupt && f.unask == nil:
		f.display.ask(question)
		var keysCtx context.Context
		keysCtx, f.unask = context.WithCancel(ctx)
		f.keys = f.terminal.keys(keysCtx)
	default:
		f.stop(ctx, work)
	}
	return 0, false
}

// answer takes a key, and reports whether the run is to be left running.
func (f *following) answer(ctx context.Context, work *sync.WaitGroup, key byte, open bool) bool {
	switch {
	case !open:
		f.keys = nil // nobody is there any more; the question stays
	case key == 'l' || key == 'L':
		return true
	case key == 's' || key == 'S':
		f.stop(ctx, work)
	case key == '\n' || key == '\r' || key == 0x1b:
		f.answered()
	}
	return false
}

// answered takes the question away and waits for the reader of its keys.
func (f *following) answered() {
	if f.unask == nil {
		return
	}
	f.display.ask("")
	f.unask()
	f.unask = nil
	for f.keys != nil {
		if _, open := <-f.keys; !open {
			f.keys = nil
		}
	}
}

// stop asks for the abort once, and goes on watching.
func (f *following) stop(ctx context.Context, work *sync.WaitGroup) {
	f.answered()
	f.stopping = true
	f.display.note("Stopping the run; interrupt again to not wait for it.")
	work.Go(func() {
		_, err := f.client.Abort(ctx, f.run.UUID)
		f.aborted <- err
	})
}

// finish prints the result of a run that is over, and makes the error that
// gives the exit code.
func (f *following) finish(ctx context.Context, end ending) error {
	switch end {
	case endTimeout:
		return broker.Errorf(broker.EUnavailable, "Run %s is not over after %v; it goes on.", f.run.UUID, f.timeout)
	case endGaveUp:
		f.say("The broker goes on stopping run %s; loads wait %s tells its end.", f.run.UUID, f.run.UUID)
		return exited(exitAborted)
	case endLeft:
		return nil
	}
	report, err := f.client.Report(ctx, f.run.UUID)
	if err != nil {
		return err
	}
	if f.json {
		err = writeJSON(f.Stdout, newResult(report))
	} else {
		fmt.Fprintln(f.Stdout)
		err = writeReport(f.Stdout, report)
	}
	if f.junit != "" {
		if junitErr := saveJUnit(ctx, f.client, f.run.UUID, f.junit); junitErr != nil {
			f.say("The file for CI is not there: %s", sentenceOf(junitErr))
			err = errors.Join(err, exited(max(exitCode(report.Run.Verdict), exitUsage)))
		}
	}
	return errors.Join(err, exitWith(exitCode(report.Run.Verdict)))
}

// say tells the user a sentence, where it is in nobody's way.
func (p *program) say(format string, args ...any) {
	if p.json {
		_ = writeJSON(p.Stdout, map[string]string{"kind": "message", "text": fmt.Sprintf(format, args...)})
		return
	}
	fmt.Fprintf(p.Stdout, format+"\n", args...)
}

// interrupts returns the signals that ask the program to end. A hang-up is
// among them unless it was ignored at the start, as under nohup.
func (p *program) interrupts() (signals <-chan os.Signal, stop func()) {
	if p.Signals != nil {
		return p.Signals, func() {}
	}
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		wanted = append(wanted, syscall.SIGHUP)
	}
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, wanted...)
	return ch, func() { signal.Stop(ch) }
}

// interruptible calls f with a context that a signal ends: for what comes
// before there is a run. A signal is an error also when f has succeeded
// nevertheless; what f has made is then returned beside it, to be closed.
func interruptible[T any](ctx context.Context, signals <-chan os.Signal, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f(ctx)
		done <- answer{value, err}
	}()
	interrupted := false
	for {
		select {
		case <-signals:
			interrupted = true
			cancel()
		case a := <-done:
			select {
			case <-signals: // in the same moment
				interrupted = true
			default:
			}
			if interrupted {
				a.err = broker.Errorf(broker.EUnavailable, "Interrupted before there was a run to watch.")
			}
			return a.value, a.err
		}
	}
}
