package dockerctl_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

// compress returns the data compressed in the way named.
func compress(t *testing.T, how string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "plain":
		return data
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default: // a program of that name
		cmd := exec.Command(how, "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(data), &buf
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		return buf.Bytes()
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// serveBytes returns the URLs of the data, by file and by HTTP. The name says
// nothing of its form.
func serveBytes(t *testing.T, data []byte) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.bin")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	return map[string]string{"file": "file://" + file, "http": server.URL + "/image.bin"}
}

func TestEnsureImage_LoadsTarballs(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	for _, how := range []string{"plain", "gzip", "bzip2", "zstd"} {
		image := dockertest.Image(t, probe, name, name+"/"+how+":1")
		for from, url := range serveBytes(t, compress(t, how, dockertest.Tar(t, image))) {
			t.Run(how+" by "+from, func(t *testing.T) {
				ref := name + "/" + how + "-" + from + ":1" // loaded under its own name, tagged with this one
				for range 2 {
					id, err := e.EnsureImage(t.Context(), ref, url)
					if err != nil {
						t.Fatal(err)
					}
					if id != image.ID() {
						t.Errorf("got id %s, want %s", id, image.ID())
					}
				}
				if id, err := e.EnsureImage(t.Context(), ref, ""); err != nil || id != image.ID() {
					t.Errorf("by its name: got %s, %v; want %s", id, err, image.ID())
				}
			})
		}
	}
}

func TestEnsureImage_LoadsLatestAnew(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	ref := dockertest.Name(t)
	for range 2 {
		image := dockertest.Image(t, probe, ref, ref+":latest")
		id, err := e.EnsureImage(t.Context(), ref, serveBytes(t, dockertest.Tar(t, image))["http"])
		if err != nil {
			t.Fatal(err)
		}
		if id != image.ID() {
			t.Errorf("got %s, want the tarball's image %s", id, image.ID())
		}
	}
}

func TestEnsureImage_TakesTheOnlyImageOfATarball(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	image := dockertest.Image(t, probe, name) // without a tag
	url := serveBytes(t, dockertest.Tar(t, image))["file"]
	for _, ref := range []string{name + ":1", ""} {
		id, err := e.EnsureImage(t.Context(), ref, url)
		if err != nil || id != image.ID() {
			t.Errorf("as %q: got %s, %v; want %s", ref, id, err, image.ID())
		}
	}
}

// twoImages joins two archives to one.
func twoImages(t *testing.T, a, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var manifest []json.RawMessage
	for _, archive := range [][]byte{a, b} {
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if h.Name == "manifest.json" {
				var entries []json.RawMessage
				if err := json.Unmarshal(data, &entries); err != nil {
					t.Fatal(err)
				}
				manifest = append(manifest, entries...)
				continue
			}
			writeEntry(t, w, h, data)
		}
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	writeEntry(t, w, &tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(data))}, data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func writeEntry(t *testing.T, w *tar.Writer, h *tar.Header, data []byte) {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureImage_ChoosesByNameAmongMany(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	a, b := dockertest.Image(t, probe, name, name+"/a:1"), dockertest.Image(t, probe, name, name+"/b:1")
	url := serveBytes(t, twoImages(t, dockertest.Tar(t, a), dockertest.Tar(t, b)))["file"]
	_, err := e.EnsureImage(t.Context(), name+"/c:1", url)
	wantCode(t, err, broker.EInvalid)
	if err != nil && !strings.Contains(err.Error(), "2 images") {
		t.Errorf("got %q, want it to say that there are 2 images", err)
	}
	if _, err := e.EnsureImage(t.Context(), name+"/c:1", ""); broker.CodeOf(err) == "" {
		t.Error("an image was tagged with a name that the tarball does not have")
	}
	if id, err := e.EnsureImage(t.Context(), name+"/b:1", url); err != nil || id != b.ID() {
		t.Errorf("got %s, %v; want %s", id, err, b.ID())
	}
}

func TestEnsureImage_RefusesBadTarballs(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{MaxTarball: 1 << 20})
	name := dockertest.Name(t)
	whole := dockertest.Tar(t, dockertest.Image(t, probe, name, name+":whole"))
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	file := func(data []byte) string { return serveBytes(t, data)["file"] }
	for _, row := range []struct {
		name, url string
		code      broker.Code
		says      string
	}{
		{"a web page", file([]byte(strings.Repeat("<html>", 200))), broker.EInvalid, "is not an image tarball"},
		{"an empty file", file(nil), broker.EInvalid, "is not an image tarball"},
		{"more than the limit", file(whole), broker.EInvalid, "has more than 1MiB unpacked"},
		{"more than the limit, packed", file(compress(t, "gzip", whole)), broker.EInvalid, "has more than 1MiB unpacked"},
		{"half a gzip", file(compress(t, "gzip", whole[:1<<19])[:1<<17]), broker.EInvalid, "can't be read"},
		{"half a tar", file(whole[:1<<19]), broker.EInternal, "can't load image"},
		{"xz", file(append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, whole[:1024]...)), broker.EInvalid, "xz is not supported"},
		{"a page that is not there", server.URL, broker.EInvalid, "404 Not Found"},
		{"a server that is not there", "http://127.0.0.1:1/x.tar", broker.EInvalid, "can't be fetched"},
		{"a file that is not there", "file:///nowhere/x.tar", broker.EInvalid, "no such file"},
		{"a folder", "file:///tmp", broker.EInvalid, "no regular file"},
		{"a file on another host", "file://elsewhere/x.tar", broker.EInvalid, "names another host"},
		{"another scheme", "ftp://127.0.0.1/x.tar", broker.EInvalid, "http:, https: or file:"},
		{"no URL", "http://%zz", broker.EInvalid, "is no URL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := e.EnsureImage(t.Context(), name+":bad", row.url)
			wantCode(t, err, row.code)
			if err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %q, want %q in it", err, row.says)
			}
		})
	}
}

func TestEnsureImage_HidesPasswordsInErrors(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	_, err := e.EnsureImage(t.Context(), dockertest.Name(t)+":1", "http://user:sesame@127.0.0.1:1/x.tar")
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func TestEnsureImage_GivesUpADownloadWithItsContext(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	whole := dockertest.Tar(t, dockertest.Image(t, probe, name))
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(whole[:len(whole)/2])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	_, err := e.EnsureImage(ctx, name+":1", server.URL)
	wantCode(t, err, broker.EUnavailable)
}
