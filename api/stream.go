package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// A stream is an answer that its handler writes itself. One goroutine uses it.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
	// ctx ends when the caller has gone away or the server stops.
	ctx    context.Context
	accept string
	deaf   bool // a write failed: the caller does not read, or is gone
}

// serveStream runs the writer of an answer. When it fails after it has begun,
// or the server stops before its end, the connection is cut, so that the caller
// can't take the answer for whole.
func (s *Server) serveStream(c huma.Context, write func(*stream) error) {
	r, w := humago.Unwrap(c)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	out := &stream{
		ResponseWriter: w, control: http.NewResponseController(w),
		ctx: ctx, accept: r.Header.Get("Accept"),
	}
	if r.Method == http.MethodHead {
		return // there is nothing to wait for
	}
	err := write(out)
	if err == nil || r.Context().Err() != nil {
		return
	}
	if ctx.Err() != nil { // the server stops
		panic(http.ErrAbortHandler)
	}
	level := slog.LevelError
	if out.deaf {
		level = slog.LevelDebug
	}
	s.log.Log(ctx, level, "stream broke off", "operation", c.Operation().OperationID, "path", r.URL.Path, "error", err)
	panic(http.ErrAbortHandler)
}

// Write writes to the caller.
func (w *stream) Write(data []byte) (int, error) {
	n, err := w.ResponseWriter.Write(data)
	w.deaf = w.deaf || err != nil
	return n, err
}

// begin sends the head of the answer at once, so that the caller knows that it
// is on.
func (w *stream) begin(contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
}

// flush sends what is written.
func (w *stream) flush() error {
	err := w.control.Flush()
	w.deaf = w.deaf || err != nil
	return err
}
