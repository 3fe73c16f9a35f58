// Package engine answers as a Docker engine does, and runs nothing: an Engine
// is the API of one machine's Docker, with the part of its calls that Loads
// makes. Containers have the states, times, outputs and errors that they would
// have, but no process.
//
// What a container does is known beforehand: see program. So its state and its
// output are computed when somebody asks, from when it was started and what
// became of it, and a container that nobody looks at costs nothing but its
// description. Thousands of engines fit into one process.
package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The engine that this one answers like.
const (
	serverVersion = "20.10.25"
	apiVersion    = "1.41"
	minAPIVersion = "1.12"
	rootDir       = "/var/lib/docker"
)

// A Config says what machine the engine is on.
type Config struct {
	Name   string // of the host
	Arch   string // x86_64 or arm64
	VCPUs  int
	Memory int64 // bytes
	// Now is the machine's clock; nil is this computer's. It may be ahead or
	// behind, but goes as fast.
	Now func() time.Time
	// Metrics is how many metrics a relay tells of in each second.
	Metrics int
	// DiskFull refuses all that takes room on the disk.
	DiskFull bool
	// Spread is how images come from other machines; nil is a machine alone.
	Spread *Spread
	// OnFile is called when a file of the machine itself has been written
	// through a container that mounts it: by its path there. It must not call
	// the engine.
	OnFile func(path string, data []byte)
}

// An Engine is one machine's Docker. It may be used concurrently.
type Engine struct {
	cfg Config

	mu         sync.Mutex
	changed    chan struct{} // closed when something has changed; nil if nobody waits
	containers []*container  // the oldest first
	images     []*image
	networks   []*network
	volumes    []*volume
	stored     map[string]*image // for other machines, by the digest of the manifest
	keys       map[string]string // of such digests, by what orders call images
	files      map[string]file   // of the machine and its volumes, by path on the machine
	size       int64             // of all files
	made       uint64            // how many ids were given
}

// New returns an engine with nothing on it.
func New(cfg Config) *Engine {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Spread == nil {
		cfg.Spread = new(Spread)
	}
	e := &Engine{cfg: cfg, files: map[string]file{}}
	e.networks = e.builtinNetworks()
	return e
}

// Off ends all containers, as when the machine is turned off: asked to end when
// it is orderly, else at once.
func (e *Engine) Off(orderly bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	for _, c := range e.containers {
		if c.running() {
			c.end(e.cfg.Now(), orderly)
		}
	}
	e.change()
}

// ServeHTTP answers a call of Docker's API, whatever version it names.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Api-Version", apiVersion)
	h.Set("Docker-Experimental", "false")
	h.Set("Ostype", "linux")
	h.Set("Server", "Docker/"+serverVersion+" (linux)")
	do, name := find(r.Method, withoutVersion(r.URL.Path))
	if do == nil {
		writeError(w, faultf(http.StatusNotFound, "page not found"))
		return
	}
	if err := do(e, w, r, name); err != nil {
		writeError(w, err)
	}
}

// A handler does one call. The name is what the path has in place of *.
type handler func(e *Engine, w http.ResponseWriter, r *http.Request, name string) error

// routes are the calls: method and path, in which * is a name that may have
// slashes in it.
var routes = []struct {
	method, before, after string
	do                    handler
}{
	{"GET", "/_ping", "", (*Engine).ping},
	{"HEAD", "/_ping", "", (*Engine).ping},
	{"GET", "/version", "", (*Engine).version},
	{"GET", "/info", "", (*Engine).info},

	{"GET", "/containers/json", "", (*Engine).listContainers},
	{"POST", "/containers/create", "", (*Engine).createContainer},
	{"GET", "/containers/*", "/json", (*Engine).inspectContainer},
	{"POST", "/containers/*", "/start", (*Engine).startContainer},
	{"POST", "/containers/*", "/stop", (*Engine).stopContainer},
	{"POST", "/containers/*", "/kill", (*Engine).killContainer},
	{"POST", "/containers/*", "/wait", (*Engine).waitForContainer},
	{"GET", "/containers/*", "/logs", (*Engine).containerLogs},
	{"HEAD", "/containers/*", "/archive", (*Engine).statFile},
	{"GET", "/containers/*", "/archive", (*Engine).getFile},
	{"PUT", "/containers/*", "/archive", (*Engine).putFiles},
	{"DELETE", "/containers/*", "", (*Engine).removeContainer},

	{"GET", "/images/json", "", (*Engine).listImages},
	{"POST", "/images/load", "", (*Engine).loadImages},
	{"POST", "/images/create", "", (*Engine).pullImage},
	{"GET", "/images/*", "/json", (*Engine).inspectImage},
	{"POST", "/images/*", "/tag", (*Engine).tagImage},
	{"DELETE", "/images/*", "", (*Engine).removeImage},

	{"GET", "/networks", "", (*Engine).listNetworks},
	{"POST", "/networks/create", "", (*Engine).createNetwork},
	{"GET", "/networks/*", "", (*Engine).inspectNetwork},
	{"DELETE", "/networks/*", "", (*Engine).removeNetwork},

	{"GET", "/volumes", "", (*Engine).listVolumes},
	{"POST", "/volumes/create", "", (*Engine).createVolume},
	{"GET", "/volumes/*", "", (*Engine).inspectVolume},
	{"DELETE", "/volumes/*", "", (*Engine).removeVolume},
}

// find returns who does a call, and the name in its path; nil for nobody.
func find(method, path string) (handler, string) {
	for _, route := range routes {
		before, named := strings.CutSuffix(route.before, "*")
		name, begins := strings.CutPrefix(path, before)
		name, ends := strings.CutSuffix(name, route.after)
		if route.method == method && begins && ends && named == (name != "") {
			return route.do, name
		}
	}
	return nil, ""
}

// withoutVersion takes /v1.41 off a path.
func withoutVersion(path string) string {
	if rest, ok := strings.CutPrefix(path, "/v"); ok {
		if version, call, ok := strings.Cut(rest, "/"); ok && strings.Trim(version, "0123456789.") == "" {
			return "/" + call
		}
	}
	return path
}

// A fault is an answer that tells of an error.
type fault struct {
	status  int
	message string
}

func (f *fault) Error() string { return f.message }

func faultf(status int, format string, args ...any) error {
	return &fault{status, fmt.Sprintf(format, args...)}
}

func writeError(w http.ResponseWriter, err error) {
	f := &fault{http.StatusInternalServerError, err.Error()}
	errors.As(err, &f)
	_ = writeJSON(w, f.status, map[string]string{"message": f.message})
}

// writeJSON answers. Its error is that of the connection, which ends with it.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
	return nil
}

// maxBody is the largest description that is read.
const maxBody = 1 << 20

func readJSON(r *http.Request, v any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(v); err != nil {
		return faultf(http.StatusBadRequest, "invalid JSON: %v", err)
	}
	return nil
}

// full is the error of a disk that is full; nil if it isn't.
func (e *Engine) full(what string) error {
	if e.cfg.DiskFull {
		return faultf(http.StatusInternalServerError, "write %s: no space left on device", what)
	}
	return nil
}

// newID makes an id like those of engines: never twice, and with the same
// calls the same.
func (e *Engine) newID(kind string) string {
	e.made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", e.cfg.Name, kind, e.made))
	return hex.EncodeToString(sum[:])
}

// change tells all who wait. It is called with the lock held.
func (e *Engine) change() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// pause lets the lock go until something changes, or until a time by the
// machine's clock unless it is zero. False says that the context has ended.
func (e *Engine) pause(ctx context.Context, until time.Time) bool {
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	changed := e.changed
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(until.Sub(e.cfg.Now()))
		defer timer.Stop()
		alarm = timer.C
	}
	e.mu.Unlock()
	defer e.mu.Lock()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-alarm:
	}
	return true
}

// settle notes of containers that have ended by themselves that they have. It
// is called first by whatever looks at containers, with the lock held.
func (e *Engine) settle() {
	now := e.cfg.Now()
	ended := false
	for _, c := range e.containers {
		ended = c.settle(now) || ended
	}
	if ended {
		e.change()
	}
}
