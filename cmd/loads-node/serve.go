package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/loads/loads/loadgen"
)

// shutdownTimeout is how long requests under way may take at the end.
const shutdownTimeout = 5 * time.Second

// service is the HTTP service of the examples.
type service struct {
	delay, jitter time.Duration // an answer takes delay, and up to jitter more
	errorRate     float64       // part of the requests that are answered with 500
	statsd        *loadgen.Statsd
}

// runServe answers requests until it is told to end.
func runServe(ctx context.Context, p program, args []string) error {
	var s service
	fs := p.flags("serve")
	listen := fs.String("listen", ":8000", "TCP `address`")
	fs.DurationVar(&s.delay, "delay", 2*time.Millisecond, "least time for an answer")
	fs.DurationVar(&s.jitter, "jitter", 3*time.Millisecond, "most time added to it at random")
	fs.Float64Var(&s.errorRate, "error-rate", 0, "part of the requests to answer with status 500, from 0 to 1")
	if _, err := p.parse(fs, args, 0); err != nil {
		return err
	}
	if s.delay < 0 || s.jitter < 0 || !(s.errorRate >= 0 && s.errorRate <= 1) {
		return fmt.Errorf("delay is %v, jitter %v, error rate %v, want none below 0 and the last at most 1", s.delay, s.jitter, s.errorRate)
	}
	statsd, err := p.statsd()
	if err != nil {
		return err
	}
	s.statsd = statsd
	return errors.Join(s.serve(ctx, *listen, p.stdout), statsd.Close())
}

func (s *service) serve(ctx context.Context, address string, out io.Writer) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }() // ended is received from below, on both ways
	fmt.Fprintf(out, "listening on %s\n", listener.Addr())
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = server.Shutdown(stopping)
	<-ended
	return err
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.answer)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// answer takes its time, and fails as often as asked for.
func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	wait := s.delay
	if s.jitter > 0 {
		wait += rand.N(s.jitter)
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return
	}
	status := http.StatusOK
	if rand.Float64() < s.errorRate {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, "Hello from a service under load.")
	tag := "status:" + strconv.Itoa(status)
	s.statsd.Count("web.requests", 1, tag)
	s.statsd.Time("web.time", time.Since(start), tag)
}
