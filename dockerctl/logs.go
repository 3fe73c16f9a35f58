package dockerctl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// Logs copies the container's output to the writers, either of which may be
// nil, until its end, or the container's when following. The output of one that
// was never started is empty and ends at once, however it is followed. An error
// of a writer ends it and is returned as it is.
func (e *Engine) Logs(ctx context.Context, id string, opts broker.LogOptions, stdout, stderr io.Writer) error {
	ctx, cancel := logContext(ctx, opts.Follow)
	defer cancel()
	r, err := e.cli.ContainerLogs(ctx, id, logOptions(opts, stdout, stderr))
	if err != nil {
		return e.fail(ctx, err, "read the output of container %s", short(id))
	}
	defer r.Close()
	out, errs := &sink{w: stdout}, &sink{w: stderr}
	err = split(out, errs, r)
	switch {
	case out.err != nil:
		return out.err
	case errs.err != nil:
		return errs.err
	case err != nil:
		return e.fail(ctx, err, "read the output of container %s", short(id))
	case ctx.Err() != nil: // the body was closed under the reader, which may look like its end
		return e.fail(ctx, ctx.Err(), "read the output of container %s", short(id))
	case opts.Follow:
		return e.ended(ctx, id)
	}
	return nil
}

// Numbers of the streams in a container's output; see split.
const (
	streamIn  = 0
	streamOut = 1
	streamErr = 2
	streamBad = 3 // what the engine itself has to say
)

// split takes a container's output apart: pieces of it, each after eight bytes,
// of which the first is the stream and the last four are the length. The end
// may come in the midst of a piece, as when the connection was closed. The
// SDK's function for this holds 32 KiB for as long as it reads, which for a
// thousand machines that are followed is a good part of the broker.
func split(out, errs io.Writer, from io.Reader) error {
	var head [8]byte
	buf := make([]byte, 2<<10)
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return unlessEnd(err)
		}
		to, left := out, int(binary.BigEndian.Uint32(head[4:]))
		switch head[0] {
		case streamIn, streamOut:
		case streamErr:
			to = errs
		case streamBad:
			text, err := io.ReadAll(io.LimitReader(from, int64(min(left, 4<<10))))
			return errors.Join(fmt.Errorf("the engine says: %s", text), err)
		default:
			return fmt.Errorf("there is no stream %d", head[0])
		}
		for left > 0 {
			n, err := from.Read(buf[:min(left, len(buf))])
			left -= n
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
			if err != nil {
				return unlessEnd(err)
			}
		}
	}
}

// unlessEnd returns errors other than the end of what is read.
func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// logContext bounds reading what is there already; following has no limit.
func logContext(ctx context.Context, follow bool) (context.Context, context.CancelFunc) {
	if follow {
		return context.WithCancel(ctx)
	}
	return limited(ctx, stallLimit)
}

func logOptions(opts broker.LogOptions, stdout, stderr io.Writer) client.ContainerLogsOptions {
	o := client.ContainerLogsOptions{
		ShowStdout: stdout != nil, ShowStderr: stderr != nil,
		Follow: opts.Follow, Timestamps: opts.Timestamps,
	}
	if stdout == nil && stderr == nil {
		o.ShowStdout = true // the engine refuses to show nothing
	}
	if !opts.Since.IsZero() {
		o.Since = fmt.Sprintf("%d.%09d", opts.Since.Unix(), opts.Since.Nanosecond())
	}
	if opts.Tail > 0 {
		o.Tail = strconv.Itoa(opts.Tail)
	}
	return o
}

// ended makes sure that a followed stream ended because the container did: an
// engine that shuts down ends it just so.
func (e *Engine) ended(ctx context.Context, id string) error {
	look := func() (struct{}, error) {
		c, err := e.Inspect(ctx, id)
		if err != nil {
			return struct{}{}, settled(err)
		}
		if c.Running() {
			return struct{}{}, broker.Errorf(broker.EUnavailable,
				"the engine at %s stopped sending the output of container %s, which still runs", e.ep.Host, short(id))
		}
		return struct{}{}, nil
	}
	_, err := backoff.Retry(ctx, look, backoff.WithBackOff(quickBackOff()), backoff.WithMaxElapsedTime(5*time.Second))
	if err = permanent(err); broker.CodeOf(err) == broker.ENotFound {
		return nil // removed: it has ended
	}
	return e.fail(ctx, err, "look at container %s", short(id))
}

// sink passes output on to a writer that may be nil, and remembers whether it
// was the writer that failed.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.w == nil {
		return len(p), nil
	}
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
