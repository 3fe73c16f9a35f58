package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/loads/loads/broker"
)

// heartbeat is how often the server says something on a stream of events.
const heartbeat = 15 * time.Second

// silence is how long a stream of events may say nothing before the client
// takes it for broken.
const silence = 3 * heartbeat

// maxLine bounds one line of a stream, in bytes.
const maxLine = 16 << 20

// Events calls f with the run's events after the given number (0 is from the
// start), with its live metrics each second, and at last with the end event;
// then it returns nil. A stream that breaks is asked for again, from the last
// event seen, with growing pauses, until ctx is done: metrics may be missed
// that way, entries of the history may not. An error of f ends it and is
// returned as it is.
func (c *Client) Events(ctx context.Context, run string, after int64, f func(Event) error) error {
	pause := newPause()
	s := &eventStream{client: c, run: run, after: after, yield: f, pause: pause}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, s.follow(ctx)
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(c.retrying))
	return err
}

// newPause is how long to wait before a stream that broke is asked for again.
func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 200 * time.Millisecond
	pause.MaxInterval = 10 * time.Second
	return pause
}

func (c *Client) retrying(err error, wait time.Duration) {
	if c.Retrying != nil {
		c.Retrying(err, wait)
	}
}

// eventStream is one call of Events over all its connections. One goroutine
// uses it.
type eventStream struct {
	client *Client
	run    string
	after  int64 // the last event seen
	yield  func(Event) error
	pause  *backoff.ExponentialBackOff
}

// follow reads events from one connection. It returns nil after the end event,
// a permanent error when no other try can mend it, and any other error when
// one may.
func (s *eventStream) follow(ctx context.Context) error {
	conn, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	resp, err := s.client.open(conn, s.request())
	if err != nil {
		return s.judge(ctx, err)
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		e, err := readEvent(r, func() { watchdog.Reset(silence) })
		if err != nil {
			return s.judge(ctx, s.client.unreadable(ctx, err))
		}
		s.pause.Reset()
		s.after = max(s.after, e.Seq)
		if err := s.yield(e); err != nil {
			return backoff.Permanent(err)
		}
		if e.Kind == EventEnd {
			return nil
		}
	}
}

func (s *eventStream) request() request {
	r := get(runPath(s.run)+"/events", nil)
	r.header = http.Header{"Accept": {"text/event-stream"}}
	if s.after > 0 {
		r.header.Set("Last-Event-ID", strconv.FormatInt(s.after, 10))
	}
	return r
}

// judge marks an error permanent when no other try can mend it: the caller's
// context is done, or the broker refused the call.
func (s *eventStream) judge(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return backoff.Permanent(ctx.Err())
	}
	if broker.CodeOf(err) == broker.EUnavailable {
		return err
	}
	return backoff.Permanent(err)
}

// readEvent reads one message of an event stream and decodes its data. alive
// is called for each line, comments included.
func readEvent(r *bufio.Reader, alive func()) (Event, error) {
	var data []byte
	for {
		line, err := readLine(r)
		if err != nil {
			return Event{}, fmt.Errorf("read event: %w", err)
		}
		alive()
		if len(line) == 0 && len(data) > 0 {
			break
		}
		if rest, ok := cutField(line, "data"); ok {
			data = append(data, rest...)
			data = append(data, '\n')
		}
	}
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// cutField returns the value of a line of an event stream if it is of the
// field.
func cutField(line []byte, field string) ([]byte, bool) {
	if len(line) <= len(field) || string(line[:len(field)]) != field || line[len(field)] != ':' {
		return nil, false
	}
	value := line[len(field)+1:]
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return value, true
}

var errLongLine = errors.New("line too long")

// readLine returns the next line without its end. Its bytes are the caller's.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			line = line[:len(line)-1]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) && len(line) > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		case len(line) > maxLine:
			return nil, errLongLine
		}
	}
}
