package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/loads/loads/strategies"
)

// readyEvery is the pause between two looks at whether a machine is ready.
const readyEvery = 200 * time.Millisecond

// readyGrace is the least time for a step to show that it is ready, also when
// its limit has passed while no broker was looking.
const readyGrace = 5 * time.Second

// awaitReady waits until every machine of the step is ready, and stores it. It
// fails the step when that takes too long.
func (s *supervision) awaitReady(ctx context.Context) {
	ready := s.x.ref.Plan.Steps[s.i].Ready
	if ready == nil || s.x.step(s.i).State != StepStarted {
		return
	}
	limit := s.x.step(s.i).StartedAt.Add(time.Duration(ready.Timeout) * time.Second)
	if soonest := time.Now().Add(readyGrace); limit.Before(soonest) {
		limit = soonest
	}
	inTime, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	errs := make([]error, len(s.machines))
	var wg sync.WaitGroup
	for k, m := range s.machines {
		if m.StartedAt == nil {
			continue // lost at its start
		}
		wg.Go(func() { errs[k] = s.readyOrLost(inTime, m, ready) })
	}
	wg.Wait()
	if ctx.Err() != nil || s.allLost() {
		return // the end of the step says so
	}
	if err := errors.Join(errs...); err != nil {
		s.failStep(ctx, "it was not ready within %d s: %v", ready.Timeout, err)
		return
	}
	if err := s.storeReady(ctx); err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

func (s *supervision) storeReady(ctx context.Context) error {
	text := fmt.Sprintf("Step %s is ready.", s.x.ref.Plan.Steps[s.i].Name)
	return s.x.updateStep(ctx, s.i, text, func(rec *StepRecord) {
		rec.ReadyAt = utcNow()
		if rec.State == StepStarted {
			rec.State = StepReady
		}
	})
}

// readLate stores that the step was ready, if its containers have written so
// and ended before that was read: short ones may, on a busy computer or while
// no broker is there.
func (s *supervision) readLate(ctx context.Context) error {
	ready := s.x.ref.Plan.Steps[s.i].Ready
	if ready == nil || ready.Log == "" || s.x.step(s.i).ReadyAt != nil {
		return nil
	}
	re, err := regexp.Compile(ready.Log)
	if err != nil {
		return err
	}
	for _, m := range s.machines {
		if m.State == MachineLost {
			continue
		}
		wrote := false
		err := eachKeptLine(s.x.b.logFile(m.Machine, RolePlan), func(l LogLine) error {
			wrote = wrote || re.MatchString(l.Text)
			return nil
		})
		if err != nil {
			return diskError(fmt.Errorf("read what machine %d wrote: %w", m.Index, err))
		}
		if !wrote {
			return nil
		}
	}
	return s.storeReady(ctx)
}

// readyOrLost waits until the machine is ready, or lost: then it isn't waited
// for any more.
func (s *supervision) readyOrLost(ctx context.Context, m *machine, r *strategies.Ready) error {
	waiting, cancel := untilClosed(ctx, s.lost[m])
	defer cancel()
	err := machineReady(waiting, m, r)
	if isClosed(s.lost[m]) {
		return nil
	}
	return err
}

func (s *supervision) allLost() bool {
	for _, m := range s.machines {
		if !isClosed(s.lost[m]) {
			return false
		}
	}
	return true
}

// machineReady waits until the machine is ready, or ctx is done: the error
// then says what was not.
func machineReady(ctx context.Context, m *machine, r *strategies.Ready) error {
	switch {
	case r.Port != 0:
		return portAnswers(ctx, m, r.Port)
	case r.Log != "":
		return logMatches(ctx, m, r.Log)
	}
	return isHealthy(ctx, m)
}

// portAnswers waits until the port takes a connection and keeps it: a proxy of
// the engine in front of a program that does not listen yet takes it as well,
// but closes it at once. The machine's own address may be one that only its
// neighbours can reach; then the public one is tried.
func portAnswers(ctx context.Context, m *machine, port int) error {
	for {
		if answersAt(ctx, m.Address, port) || m.PublicIP != m.Address && answersAt(ctx, m.PublicIP, port) {
			return nil
		}
		if !sleep(ctx, readyEvery) {
			return fmt.Errorf("port %d of machine %d does not answer", port, m.Index)
		}
	}
}

// dialLimit bounds one attempt: an address that can't be reached from here may
// swallow packets.
const dialLimit = 2 * time.Second

func answersAt(ctx context.Context, host string, port int) bool {
	if host == "" {
		return false
	}
	dialer := net.Dialer{Timeout: dialLimit}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer c.Close() // which can tell nothing more than reading does
	return staysOpen(c)
}

func staysOpen(c net.Conn) bool {
	if err := c.SetReadDeadline(time.Now().Add(readyEvery)); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// errMatched ends the reading of a log in which the line was found.
var errMatched = errors.New("the line was found")

func logMatches(ctx context.Context, m *machine, pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	for {
		found := false
		find := func() io.Writer {
			return &lineWriter{line: func(line []byte) error {
				if re.Match(line) {
					found = true
					return errMatched
				}
				return nil
			}}
		}
		// The same goroutine writes to both, so found needs no lock. An error
		// is a broken link, and is tried again.
		_ = m.engine.Logs(ctx, m.ContainerID, LogOptions{Follow: true}, find(), find())
		if found {
			return nil
		}
		if !sleep(ctx, readyEvery) {
			return fmt.Errorf("no line of machine %d matched %q", m.Index, pattern)
		}
	}
}

func isHealthy(ctx context.Context, m *machine) error {
	last := "no answer"
	for {
		c, err := m.engine.Inspect(ctx, m.ContainerID)
		switch {
		case err == nil && c.Health == "healthy":
			return nil
		case err == nil && c.Health == "":
			return fmt.Errorf("the image on machine %d has no health check", m.Index)
		case err == nil:
			last = c.Health
		}
		if !sleep(ctx, readyEvery) {
			return fmt.Errorf("the health check on machine %d says %s", m.Index, last)
		}
	}
}
