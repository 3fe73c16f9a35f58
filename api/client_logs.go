package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cenkalti/backoff/v5"

	"github.com/loads/loads/broker"
)

// Logs calls f with each line of the run's logs that q selects. With q.Follow
// it goes on until the run's containers have ended; a stream that breaks is then
// asked for again, with growing pauses, until ctx is done, and goes on where it
// broke. Only with q.Tail it can't, and ends with EUnavailable. An error of f
// ends it and is returned as it is.
func (c *Client) Logs(ctx context.Context, run string, q broker.LogQuery, f func(LogLine) error) error {
	if !q.Follow || q.Tail > 0 {
		return c.readLogs(ctx, run, q, f)
	}
	pause := newPause()
	s := &logStream{seen: map[logSource]int{}, yield: f, pause: pause}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		s.again = map[logSource]int{}
		err := c.readLogs(ctx, run, q, s.line)
		if err == nil || ctx.Err() == nil && isBroken(err) {
			return struct{}{}, err
		}
		return struct{}{}, backoff.Permanent(err)
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(c.retrying))
	return err
}

// A brokenError is of a stream that broke, as opposed to one that the broker
// ended with a failure.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

func isBroken(err error) bool { return errors.As(err, new(brokenError)) }

// A logSource is a container whose lines come in their order.
type logSource struct {
	step    string
	machine int
}

// logStream is one call of Logs over all its connections. Each connection
// brings all lines from the first, so those that were seen are left out by
// their number. One goroutine uses it.
type logStream struct {
	seen  map[logSource]int // lines, over all connections
	again map[logSource]int // lines of this connection
	yield func(LogLine) error
	pause *backoff.ExponentialBackOff
}

func (s *logStream) line(l LogLine) error {
	from := logSource{l.Step, l.Machine}
	if s.again[from]++; s.again[from] <= s.seen[from] {
		return nil
	}
	s.seen[from]++
	s.pause.Reset()
	return s.yield(l)
}

// readLogs reads the log from one connection.
func (c *Client) readLogs(ctx context.Context, run string, q broker.LogQuery, f func(LogLine) error) error {
	r := get(runPath(run)+"/logs", logValues(q))
	r.header = http.Header{"Accept": {contentNDJSON}}
	resp, err := c.open(ctx, r)
	if broker.CodeOf(err) == broker.EUnavailable {
		return brokenError{err}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return brokenError{c.unreadable(ctx, fmt.Errorf("read log: %w", err))}
		}
		if err := c.yieldLine(ctx, line, f); err != nil {
			return err
		}
	}
}

// yieldLine decodes one line of a log stream: a LogLine, or the failure that
// ended it.
func (c *Client) yieldLine(ctx context.Context, line []byte, f func(LogLine) error) error {
	var l struct {
		LogLine
		Failure
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return c.unreadable(ctx, fmt.Errorf("decode log line: %w", err))
	}
	if l.Failure.Status != 0 {
		return failureError(l.Failure.Status, l.Failure)
	}
	return f(l.LogLine)
}

// contentNDJSON is JSON with one value a line.
const contentNDJSON = "application/x-ndjson"

func logValues(q broker.LogQuery) url.Values {
	v := url.Values{}
	if q.Step != "" {
		v.Set("step", q.Step)
	}
	if q.Machine != nil {
		v.Set("machine", strconv.Itoa(*q.Machine))
	}
	if q.Tail != 0 {
		v.Set("tail", strconv.Itoa(q.Tail))
	}
	if q.Relay {
		v.Set("relay", "1")
	}
	if q.Follow {
		v.Set("follow", "1")
	}
	return v
}
