// Package dockerctl runs containers on one machine, through the machine's
// Docker engine: Engine is the broker.Engine of Docker.
//
// Every call has a time limit of its own. Streams (waiting for a container's
// end, following its output) have none, since a run may last for hours: there
// a dead peer is noticed by TCP keep-alive. Pulls and loads are given up when
// nothing moves for some minutes, however long they take in all.
package dockerctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/singleflight"

	"github.com/loads/loads/broker"
)

// Time limits of calls that are not streams.
const (
	quickLimit  = 30 * time.Second // questions, and small changes
	createLimit = 2 * time.Minute  // creating, starting and removing, on a busy machine
	finishLimit = 20 * time.Second // for a call that makes something, once nobody wants it any more
	stallLimit  = 5 * time.Minute  // without progress, of a pull or a load
)

// maxTarball is the size limit of an image tarball, unpacked.
const maxTarball = 10 << 30

// Options are what engines have in common.
type Options struct {
	// NodeDir holds the node programs: loads-node-linux-amd64 and -arm64.
	NodeDir string
	// CAFile is a PEM bundle of CA certificates for the node image. When it is
	// empty, the first bundle found at the usual places is taken, or none.
	CAFile string
	// HTTP fetches tarballs; nil is a client with sensible limits.
	HTTP *http.Client
	// MaxTarball limits tarballs, in bytes unpacked; 0 is 10 GiB.
	MaxTarball int64
	// RegistryConfig is the file with the logins for registries; empty is
	// config.json in $DOCKER_CONFIG or ~/.docker.
	RegistryConfig string
	// Log gets what is worth knowing but fails nothing; nil discards it.
	Log *slog.Logger
}

// Engine is a Docker engine. It may be used by many goroutines at once.
type Engine struct {
	cli  *client.Client
	ep   broker.Endpoint
	opts Options
	log  *slog.Logger
	node string // name of the node image
	// loading has room for one: images come to an engine one after the other,
	// so that whoever wants the same image next finds it there.
	loading chan struct{}
	nodes   *nodeImages
	kind    atomic.Pointer[string] // its architecture, once it was asked

	creating singleflight.Group // networks, by name

	sent atomic.Int64 // bytes of images
}

var _ broker.Engine = (*Engine)(nil)

// Open returns the engine at the endpoint. It checks the endpoint and reads
// its certificates, but does not connect. EInvalid says what is wrong with the
// endpoint.
func Open(ep broker.Endpoint, opts Options) (*Engine, error) {
	return open(ep, opts, make(chan struct{}, 1), &nodeImages{})
}

// NewDialer returns a broker.Dialer. The engines that it opens at one endpoint
// take turns in loading images, and all of them share the node images.
func NewDialer(opts Options) broker.Dialer {
	var mu sync.Mutex
	turns := map[string]chan struct{}{}
	nodes := &nodeImages{}
	if opts.HTTP == nil {
		opts.HTTP = newDownloader()
	}
	return func(ep broker.Endpoint) (broker.Engine, error) {
		mu.Lock()
		defer mu.Unlock()
		if turns[ep.Host] == nil {
			turns[ep.Host] = make(chan struct{}, 1)
		}
		e, err := open(ep, opts, turns[ep.Host], nodes)
		if err != nil {
			return nil, err // not e: a nil *Engine would be a non-nil interface
		}
		return e, nil
	}
}

func open(ep broker.Endpoint, opts Options, loading chan struct{}, nodes *nodeImages) (*Engine, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MaxTarball <= 0 {
		opts.MaxTarball = maxTarball
	}
	if opts.HTTP == nil {
		opts.HTTP = newDownloader()
	}
	cli, err := connect(ep)
	if err != nil {
		return nil, err
	}
	return &Engine{
		cli: cli, ep: ep, opts: opts, node: broker.NodeImage, loading: loading, nodes: nodes,
		log: opts.Log.With("component", "dockerctl", "engine", ep.Host),
	}, nil
}

// Close frees the idle connections.
func (e *Engine) Close() error { return e.cli.Close() }

// errSlow is why a call was given up when its own time limit passed.
var errSlow = errors.New("the engine took too long to answer")

// limited returns a context for one call that may take no longer than d.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errSlow)
}

// seen returns a context for a call that makes something. The engine makes it
// whether or not somebody waits for the answer, and it would be there only after
// what came of it was cleaned up; so the end of ctx ends the call later by finishLimit.
func seen(ctx context.Context) (context.Context, context.CancelFunc) {
	call, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(finishLimit, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(call, func() { timer.Stop() })
	})
	return call, func() { stop(); cancel(nil) }
}

// turn waits until no other image is being loaded; done ends the turn.
func (e *Engine) turn(ctx context.Context) (done func(), err error) {
	select {
	case e.loading <- struct{}{}:
		return func() { <-e.loading }, nil
	case <-ctx.Done():
		return nil, &broker.Error{
			Code:    broker.EUnavailable,
			Message: fmt.Sprintf("the container engine at %s is still busy with other images", e.ep.Host),
			Err:     context.Cause(ctx),
		}
	}
}
