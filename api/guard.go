package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// maxBody bounds the body of a call, in bytes.
const maxBody = 4 << 20

// writeJSON writes an answer from outside of the operations.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a caller that went away needs no answer
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	writeJSON(w, status, newFailure(status, format, args...))
}

// A boundedWriter gives each write its own time limit, so that a caller who
// does not read can't hold the answer for ever, however long that is.
type boundedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	wrote   bool // the status is out
}

// Unwrap lets http.ResponseController reach the connection.
func (w *boundedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader writes the status.
func (w *boundedWriter) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

// Write writes within the time limit. A connection that knows no deadlines is
// written without.
func (w *boundedWriter) Write(data []byte) (int, error) {
	w.wrote = true
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	return w.ResponseWriter.Write(data)
}

// recovered answers panics of handlers with 500 and logs them once. When the
// answer has begun already it cuts the connection, so that the caller can't take
// it for whole.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bounded := &boundedWriter{ResponseWriter: w, control: http.NewResponseController(w)}
		_ = bounded.control.SetWriteDeadline(time.Time{}) // the last call's on this connection
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff") // logs may hold anything
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause != http.ErrAbortHandler {
				s.log.Error("panic", "method", r.Method, "path", r.URL.Path, "cause", cause, "stack", string(debug.Stack()))
			}
			if bounded.wrote || cause == http.ErrAbortHandler {
				panic(http.ErrAbortHandler)
			}
			refuse(bounded, http.StatusInternalServerError, messageInternal)
		}()
		next.ServeHTTP(bounded, r)
	})
}

// guard lets through who may call: with tokens, who has one; without, programs
// of this machine, and no page of the web that a browser here has open.
func (s *Server) guard(next http.Handler) http.Handler {
	if s.tokens != nil {
		return s.demandToken(next)
	}
	return refuseStrangers(next)
}

// demandToken lets through who gives a token with the call, or did so when
// signing in. A browser sends its session's cookie along whoever makes it call,
// so that those calls must not come from pages of other sites.
func (s *Server) demandToken(next http.Handler) http.Handler {
	crossing := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		name, ok := s.tokens.Check(strings.TrimSpace(token))
		if ok = ok && strings.EqualFold(scheme, "Bearer"); !ok {
			if crossing.Check(r) != nil {
				refuse(w, http.StatusForbidden, "A page of another site may not call the broker.")
				return
			}
			name, ok = s.sessions.check(r)
		}
		if !ok && !s.isOpen(r) {
			s.demandSignIn(w, r)
			return
		}
		s.log.Debug("call", "token", name, "method", r.Method, "path", r.URL.Path)
		next.ServeHTTP(w, r)
	})
}

// demandSignIn sends a browser that wants a page to where it can sign in, and
// refuses other calls.
func (s *Server) demandSignIn(w http.ResponseWriter, r *http.Request) {
	if s.pages != nil && isPage(r.URL.Path) {
		next := ""
		if r.Method == http.MethodGet && r.URL.Path != "/" {
			next = "?" + url.Values{"next": {pagePath(r.URL.RequestURI())}}.Encode()
		}
		http.Redirect(w, r, signInPath+next, http.StatusSeeOther)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="loads"`)
	refuse(w, http.StatusUnauthorized, "This broker wants a token; give yours as Authorization: Bearer TOKEN.")
}

// refuseStrangers keeps web pages out of a broker that has no tokens. A page
// may have made its own name point to this machine: its calls bear that name
// as Host. Others may post across sites: browsers mark such calls.
func refuseStrangers(next http.Handler) http.Handler {
	crossing := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(hostOf(r.Host)) {
			refuse(w, http.StatusForbidden,
				"Without tokens the broker answers only as localhost or 127.0.0.1, not as %q.", r.Host)
			return
		}
		if err := crossing.Check(r); err != nil {
			refuse(w, http.StatusForbidden, "A page of another site may not call the broker.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf returns a Host header without its port.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// limitBody reads the whole body, within its limits of size and time, before
// the handlers see the call.
func (s *Server) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			refuseBody(w, err)
			return
		}
		_ = control.SetReadDeadline(time.Time{}) // it would end long calls
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func refuseBody(w http.ResponseWriter, err error) {
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		w.Header().Set("Connection", "close") // the rest of it is not read
		refuse(w, http.StatusRequestEntityTooLarge, "The body is larger than %d MiB, which is the limit.", maxBody>>20)
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, "The body did not come within %s.", bodyTimeout)
	default:
		refuse(w, http.StatusBadRequest, "The body can't be read; it broke off.")
	}
}

// route serves the operations and the pages, and answers unknown paths and
// wrong methods of the API in JSON, where the mux would do it in plain text.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	if s.pages != nil && isPage(r.URL.Path) {
		s.page(w, r)
		return
	}
	handler, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	probe := &statusProbe{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		refuse(w, http.StatusNotFound, "There is nothing at %s; /api/openapi.json lists what there is.", r.URL.Path)
		return
	}
	w.Header().Set("Allow", probe.header.Get("Allow"))
	refuse(w, http.StatusMethodNotAllowed, "Invalid HTTP method.")
}

// page serves the pages, and what their sign-in form does.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if s.tokens != nil && r.Method == http.MethodPost {
		switch r.URL.Path {
		case signInPath:
			s.signIn(w, r)
			return
		case "/logout":
			s.signOut(w, r)
			return
		}
	}
	s.pages.ServeHTTP(w, r)
}

// A statusProbe takes an answer of the mux for its status and headers.
type statusProbe struct {
	header http.Header
	status int
}

// Header returns the answer's headers.
func (p *statusProbe) Header() http.Header { return p.header }

// WriteHeader keeps the status.
func (p *statusProbe) WriteHeader(status int) { p.status = status }

// Write drops the text.
func (p *statusProbe) Write(data []byte) (int, error) { return len(data), nil }
