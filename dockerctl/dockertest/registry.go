package dockertest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/loads/loads/dockerctl/scratch"
)

// Registry is an image registry on the loopback interface, where engines take
// plain HTTP. It serves reading, and asks for a login when it has one.
type Registry struct {
	Host           string // host:port
	User, Password string // empty asks for no login

	server *httptest.Server
	mu     sync.Mutex
	blobs  map[string][]byte // by digest
	tags   map[string]string // name:tag to the manifest's digest
	pulls  int
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

// NewRegistry starts a registry that ends with the test.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{blobs: map[string][]byte{}, tags: map[string]string{}}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	r.Host = strings.TrimPrefix(r.server.URL, "http://")
	return r
}

// Close ends the registry before the test does.
func (r *Registry) Close() { r.server.Close() }

// Pulls returns how often a manifest was asked for by its tag.
func (r *Registry) Pulls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls
}

// Push puts the image under name:tag.
func (r *Registry) Push(t testing.TB, name, tag string, a *scratch.Archive) {
	t.Helper()
	type blob struct {
		MediaType string `json:"mediaType"`
		Size      int    `json:"size"`
		Digest    string `json:"digest"`
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob{"application/vnd.docker.container.image.v1+json", len(a.Config), scratch.Digest(a.Config)},
		"layers": []blob{{"application/vnd.docker.image.rootfs.diff.tar", len(a.Layer), scratch.Digest(a.Layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range [][]byte{a.Config, a.Layer, manifest} {
		r.blobs[scratch.Digest(b)] = b
	}
	r.tags[name+":"+tag] = scratch.Digest(manifest)
}

// ServeHTTP answers an engine that pulls.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	name, ref, isManifest := strings.Cut(path, "/manifests/")
	_, digest, isBlob := strings.Cut(path, "/blobs/")
	switch {
	case path == "":
		w.WriteHeader(http.StatusOK)
	case isManifest:
		r.serveManifest(w, name, ref)
	case isBlob:
		r.serveBlob(w, digest, "application/octet-stream")
	default:
		http.NotFound(w, req)
	}
}

func (r *Registry) serveManifest(w http.ResponseWriter, name, ref string) {
	if !strings.HasPrefix(ref, "sha256:") {
		r.pulls++
		ref = r.tags[name+":"+ref]
	}
	r.serveBlob(w, ref, manifestType)
}

func (r *Registry) serveBlob(w http.ResponseWriter, digest, typ string) {
	data, ok := r.blobs[digest]
	if !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}`)
		return
	}
	w.Header().Set("Content-Type", typ)
	w.Header().Set("Docker-Content-Digest", digest)
	_, _ = w.Write(data) // an engine that has gone is no matter
}
