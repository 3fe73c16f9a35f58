package dockerctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/api/pkg/stdcopy"
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
	_, err = stdcopy.StdCopy(out, errs, r)
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
