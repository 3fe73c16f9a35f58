package dockerctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// fail turns an error of the SDK into a broker.Error. ctx is that of the call;
// what is the rest of a sentence beginning with "can't", for example "start
// container x". A nil err gives nil, and a broker.Error is kept.
func (e *Engine) fail(ctx context.Context, err error, what string, args ...any) error {
	var known *broker.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	what = fmt.Sprintf(what, args...)
	if cause := unreachable(ctx, err); cause != nil {
		return &broker.Error{
			Code:    broker.EUnavailable,
			Message: fmt.Sprintf("can't %s: the container engine at %s does not answer", what, e.ep.Host),
			Err:     cause,
		}
	}
	return broker.Errorf(codeOf(err), "can't %s: the container engine at %s says: %s", what, e.ep.Host, words(err))
}

func codeOf(err error) broker.Code {
	switch {
	case errdefs.IsNotFound(err):
		return broker.ENotFound
	case errdefs.IsConflict(err):
		return broker.EConflict
	case errdefs.IsUnavailable(err):
		return broker.EUnavailable
	case isBroken(err):
		return broker.EBroken
	}
	return broker.EInternal
}

// isBroken reports whether the engine's machine is worn out or defective: engines
// pass on what the kernel says, in words.
func isBroken(err error) bool {
	for _, words := range []string{
		"no space left on device", "disk quota exceeded", "input/output error", "read-only file system",
		"structure needs cleaning", "cannot allocate memory",
	} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// unreachable returns the cause when err says that there was no answer, or
// none in time; else nil.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var netErr net.Error
	switch {
	case client.IsErrConnectionFailed(err), errors.As(err, &netErr),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case strings.Contains(err.Error(), "client version") && strings.Contains(err.Error(), "too new"):
		return err // the version could not be negotiated: the engine was unreachable a moment ago
	}
	return nil
}

// words returns what the engine said, without the SDK's preamble.
func words(err error) string {
	return strings.TrimSpace(strings.TrimPrefix(err.Error(), "Error response from daemon: "))
}

// short shortens the id of a container or image for people.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:12]
	}
	return id
}
