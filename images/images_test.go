package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/images"
	"github.com/loads/loads/images/order"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustStore(t *testing.T) (*images.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := images.NewStore(dir)
	ok(t, err)
	return s, dir
}

// mustImage makes an image with a layer of some size, which nothing compresses.
func mustImage(t *testing.T, size int, tags ...string) *scratch.Archive {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	a, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: tags, Command: []string{"/data"},
		Files: []scratch.File{{Path: "data", Mode: 0o755, Data: data}},
	}.Build()
	ok(t, err)
	return a
}

// mustUnpack stores an archive, as gzip leaves it.
func mustUnpack(t *testing.T, s *images.Store, a *scratch.Archive) (manifest string) {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := a.WriteTo(z)
	ok(t, err)
	ok(t, z.Close())
	path := filepath.Join(t.TempDir(), "archive")
	ok(t, os.WriteFile(path, packed.Bytes(), 0o600))
	result, err := (&images.Fetcher{Store: s}).Get(t.Context(), order.Order{Key: "k", Archive: &order.Archive{Path: path, Limit: 1 << 30}})
	ok(t, err)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the archive is still there (%v)", err)
	}
	return result.Manifest
}

// An authority signs certificates for peers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func mustAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ok(t, err)
	cert, err := x509.ParseCertificate(der)
	ok(t, err)
	return &authority{cert, key}
}

// files are those of a machine that trusts the authority, and is trusted by it.
func (a *authority) files(t *testing.T, name string) images.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	ok(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		ok(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return images.Files{
		CA: write("ca", "CERTIFICATE", a.cert.Raw), Cert: write("cert", "CERTIFICATE", der), Key: write("key", "PRIVATE KEY", secret),
	}
}

// serve lets a machine of that name answer others.
func (a *authority) serve(t *testing.T, name string, h http.Handler) order.Peer {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = images.PeerTLS(a.files(t, name))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of strangers
	server.StartTLS()
	t.Cleanup(server.Close)
	return order.Peer{Address: server.Listener.Addr().String(), Name: name}
}

// large is the size of a layer in whose midst things happen.
const large = 4 << 20

// spoilt answers as h does, but for large blobs, which pass through spoil.
func spoilt(h http.Handler, spoil func(w http.ResponseWriter, r *http.Request, n int, p []byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&spoiler{ResponseWriter: w, r: r, spoil: spoil}, r)
	})
}

type spoiler struct {
	http.ResponseWriter
	r     *http.Request
	n     int
	spoil func(w http.ResponseWriter, r *http.Request, n int, p []byte) []byte
}

func (s *spoiler) Write(p []byte) (int, error) {
	out := p
	if s.n > large/4 {
		out = s.spoil(s.ResponseWriter, s.r, s.n, bytes.Clone(p))
	}
	s.n += len(p)
	_, err := s.ResponseWriter.Write(out)
	return len(p), err
}

// withoutLength leaves open how much is to come.
type withoutLength struct{ http.ResponseWriter }

func (w withoutLength) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func TestGet_FromPeers(t *testing.T) {
	t.Parallel()
	ours, theirs := mustAuthority(t), mustAuthority(t)
	from, _ := mustStore(t)
	image := mustImage(t, large)
	manifest := mustUnpack(t, from, image)
	good := from.Peers()
	corrupt := spoilt(good, func(_ http.ResponseWriter, _ *http.Request, _ int, p []byte) []byte { p[0] ^= 1; return p })
	dying := spoilt(good, func(http.ResponseWriter, *http.Request, int, []byte) []byte { panic(http.ErrAbortHandler) })
	silent := spoilt(good, func(w http.ResponseWriter, r *http.Request, _ int, _ []byte) []byte {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	slow := spoilt(good, func(w http.ResponseWriter, r *http.Request, _ int, p []byte) []byte {
		for part := range slices.Chunk(p, 1000) { // 10 kB a second
			_, _ = w.Write(part)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		return nil
	})
	lying := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // of what the image has
		good.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, manifest) {
			_, _ = io.WriteString(w, " ")
		}
	})
	lengthless := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(withoutLength{w}, r) })
	}
	many := slices.Repeat([]order.Peer{ours.serve(t, "b", good)}, 5) // a computer that stands still makes one of them too slow
	for _, row := range []struct {
		name  string
		peers []order.Peer
		most  int64  // bytes that come; 0 if the image does not
		fault string // among what is said of sources, or in the error
	}{
		{"one that has it", []order.Peer{ours.serve(t, "a", good)}, large + 4096, ""},
		{"corrupt bytes, then good ones", []order.Peer{ours.serve(t, "a", corrupt), ours.serve(t, "b", good)}, 2*large + 4096, "what came has the digest"},
		{"one that dies; another goes on from there", []order.Peer{ours.serve(t, "a", dying), ours.serve(t, "b", good)}, large + 4096, "EOF"},
		{"one that falls silent", append([]order.Peer{ours.serve(t, "a", silent)}, many...), large + 4096, "too slow"},
		{"one that is slow", append([]order.Peer{ours.serve(t, "a", slow)}, many...), large + 4096, "too slow"},
		{"one that is gone", []order.Peer{{Address: "127.0.0.1:1", Name: "a"}, ours.serve(t, "b", good)}, large + 4096, "refused"},
		{"one that has nothing", []order.Peer{ours.serve(t, "a", http.NotFoundHandler()), ours.serve(t, "b", good)}, large + 4096, "404"},
		{"corrupt bytes only", []order.Peer{ours.serve(t, "a", corrupt)}, 0, "what came has the digest"},
		{"a wrong manifest, then the right one", []order.Peer{ours.serve(t, "a", lengthless(lying)), ours.serve(t, "b", good)}, large + 4096, "what came has the digest"},
		{"a wrong manifest only", []order.Peer{ours.serve(t, "a", lengthless(lying))}, 0, "what came has the digest"},
		{"a stranger", []order.Peer{theirs.serve(t, "a", good)}, 0, "certificate"},
		{"a machine in the place of another", []order.Peer{func() order.Peer {
			p := ours.serve(t, "a", good)
			p.Name = "b"
			return p
		}()}, 0, "not b"},
		{"nobody", nil, 0, "no machine has it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			to, _ := mustStore(t)
			f := images.Fetcher{Store: to, Files: ours.files(t, "me"), Silence: 5 * time.Minute, Slowest: 30_000}
			if row.fault == "too slow" {
				f.Silence = 5 * time.Second
			}
			result, err := f.Get(t.Context(), order.Order{Key: "k", Manifest: manifest, Peers: row.peers})
			said := strings.Join(result.Faults, "; ")
			if row.most == 0 {
				if err == nil || !strings.Contains(said+err.Error(), row.fault) || images.IsLocal(err) {
					t.Errorf("got %v (%s), want an error of %q", err, said, row.fault)
				}
				if _, err := to.Open(scratch.Digest(image.Layer)); err == nil {
					t.Error("what was wrong is kept")
				}
				return
			}
			ok(t, err)
			if result.Bytes < large || result.Bytes > row.most || !strings.Contains(said, row.fault) || row.fault == "" && said != "" {
				t.Errorf("got %+v, want up to %d bytes, and a fault of %q", result, row.most, row.fault)
			}
			for _, blob := range [][]byte{image.Layer, image.Config} {
				b, err := to.Open(scratch.Digest(blob))
				ok(t, err)
				defer b.Close()
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, blob) {
					t.Errorf("got %d bytes (%v), not those of the image", len(got), err)
				}
			}
			again, err := f.Get(t.Context(), order.Order{Key: "k"})
			if err != nil || again.Manifest != manifest {
				t.Errorf("asked whether it has the image: %+v, %v", again, err)
			}
			if again, err = f.Get(t.Context(), order.Order{Manifest: manifest}); err != nil || again.Bytes != 0 {
				t.Errorf("again: %+v, %v, want nothing fetched", again, err)
			}
		})
	}
	t.Run("a machine without its folder is itself at fault", func(t *testing.T) {
		to, dir := mustStore(t)
		ok(t, os.RemoveAll(dir))
		f := images.Fetcher{Store: to, Files: ours.files(t, "me")}
		_, err := f.Get(t.Context(), order.Order{Manifest: manifest, Peers: []order.Peer{ours.serve(t, "a", good)}})
		if !images.IsLocal(err) {
			t.Errorf("got %v, want a fault of the machine", err)
		}
	})
}

func TestPeers_AnswerNoStranger(t *testing.T) {
	t.Parallel()
	ours, theirs := mustAuthority(t), mustAuthority(t)
	from, _ := mustStore(t)
	manifest := mustUnpack(t, from, mustImage(t, 10))
	peer := ours.serve(t, "a", from.Peers())
	stranger := theirs.files(t, "me")
	stranger.CA = ours.files(t, "me").CA
	to, _ := mustStore(t)
	f := images.Fetcher{Store: to, Files: stranger}
	if _, err := f.Get(t.Context(), order.Order{Manifest: manifest, Peers: []order.Peer{peer}}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	a, b := mustImage(t, 1000, "one:1"), mustImage(t, 1000, "two:2")
	for _, row := range []struct {
		name    string
		archive []byte
		image   string
		limit   int64
		fault   string
	}{
		{"the only one, under another name", dockertest.Tar(t, a), "three:3", 1 << 20, ""},
		{"the only one, without a name", dockertest.Tar(t, b), "", 1 << 20, ""},
		{"one that is too large", dockertest.Tar(t, a), "one:1", 1000, "larger than it may be"},
		{"no archive", []byte("not an archive"), "one:1", 1 << 20, "read an image's archive"},
		{"half of one", dockertest.Tar(t, a)[:2000], "one:1", 1 << 20, "unexpected EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, _ := mustStore(t)
			path := filepath.Join(t.TempDir(), "archive")
			ok(t, os.WriteFile(path, row.archive, 0o600))
			digest, err := s.Unpack(t.Context(), order.Archive{Path: path, Image: row.image, Limit: row.limit})
			if row.fault != "" {
				if err == nil || !strings.Contains(err.Error(), row.fault) {
					t.Errorf("got %v, want %q", err, row.fault)
				}
				return
			}
			ok(t, err)
			if !strings.HasPrefix(digest, "sha256:") {
				t.Errorf("got digest %q", digest)
			}
		})
	}
}

// TestUnpack_OfSeveralImages has an archive as old engines write it: two images
// with a layer in common, which is there once.
func TestUnpack_OfSeveralImages(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	out := tar.NewWriter(&packed)
	for name, data := range map[string]string{
		"a.json": "{}", "b.json": `{"b": 1}`, "a/layer.tar": "the layer",
		"manifest.json": `[{"Config": "a.json", "RepoTags": ["one:1"], "Layers": ["a/layer.tar"]},
			{"Config": "b.json", "RepoTags": ["docker.io/library/two:2"], "Layers": ["b/layer.tar", "a/layer.tar"]}]`,
	} {
		ok(t, out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}))
		_, err := io.WriteString(out, data)
		ok(t, err)
	}
	ok(t, out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "b/layer.tar", Linkname: "../a/layer.tar"}))
	ok(t, out.Close())
	path := filepath.Join(t.TempDir(), "archive")
	ok(t, os.WriteFile(path, packed.Bytes(), 0o600))
	s, _ := mustStore(t)
	manifest, err := s.Unpack(t.Context(), order.Archive{Path: path, Image: "two:2", Limit: 1 << 20})
	ok(t, err)
	blob, err := s.Open(manifest)
	ok(t, err)
	defer blob.Close()
	raw, err := io.ReadAll(blob)
	ok(t, err)
	layer := scratch.Digest([]byte("the layer"))
	if strings.Count(string(raw), layer) != 2 || !strings.Contains(string(raw), scratch.Digest([]byte(`{"b": 1}`))) {
		t.Errorf("got %s, want the second image, with %s twice", raw, layer)
	}
	if _, err := s.Unpack(t.Context(), order.Archive{Path: path, Image: "three:3", Limit: 1 << 20}); err == nil || !strings.Contains(err.Error(), "three:3") {
		t.Errorf("got %v, want that there is no such image", err)
	}
}

func mustEngine(t *testing.T, opts dockerctl.Options) *dockerctl.Engine {
	t.Helper()
	e, err := dockerctl.Open(dockertest.Endpoint(), opts)
	ok(t, err)
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// TestRegistry_AnEnginePullsFromIt goes the way of an image's tarball on the
// machine that gets it first.
func TestRegistry_AnEnginePullsFromIt(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{name + ":1"}, Command: []string{"/data"},
		Labels: map[string]string{dockertest.LabelTest: name}, Files: []scratch.File{{Path: "data", Mode: 0o755, Data: []byte(name)}},
	}.Build()
	ok(t, err)
	s, dir := mustStore(t)
	manifest := mustUnpack(t, s, image)
	server := httptest.NewServer(s.Registry())
	t.Cleanup(server.Close)
	e := mustEngine(t, dockerctl.Options{})
	id, err := e.PullLocal(t.Context(), server.Listener.Addr().String(), manifest, name+":1", "file:///somewhere")
	if err != nil || id != image.ID() {
		t.Fatalf("got %q, %v; want %s", id, err, image.ID())
	}
	if has, err := e.HasImage(t.Context(), name+":1", ""); err != nil || has != id {
		t.Errorf("the engine has %q (%v) under its name, want %s", has, err, id)
	}
	// What is not what its digest says is refused by the engine too.
	other := mustUnpack(t, s, mustImage(t, 1000))
	entries, err := os.ReadDir(filepath.Join(dir, "blobs"))
	ok(t, err)
	for _, entry := range entries {
		if "sha256:"+entry.Name() == other || "sha256:"+entry.Name() == manifest {
			continue
		}
		path := filepath.Join(dir, "blobs", entry.Name())
		data, err := os.ReadFile(path)
		ok(t, err)
		ok(t, os.WriteFile(path, append(data[:len(data)-1], data[len(data)-1]^1), 0o600))
	}
	if _, err := e.PullLocal(t.Context(), server.Listener.Addr().String(), other, name+":2", "file:///somewhere"); err == nil {
		t.Error("an image with other bytes was pulled")
	}
}

func TestGet_FromARegistryWithALogin(t *testing.T) {
	t.Parallel()
	r := dockertest.NewRegistry(t)
	r.User, r.Password = "alice", "secret"
	image := mustImage(t, 1<<20)
	r.Push(t, "team/app", "1", image)
	for _, row := range []struct{ name, image, password, fault string }{
		{"by its tag", r.Host + "/team/app:1", "secret", ""},
		{"with a wrong password", r.Host + "/team/app:1", "guess", "401"},
		{"that does not exist", r.Host + "/team/app:2", "secret", "not found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, _ := mustStore(t)
			f := images.Fetcher{Store: s}
			result, err := f.Get(t.Context(), order.Order{Key: "k", Registry: &order.Registry{
				Image: row.image, Architecture: runtime.GOARCH, User: "alice", Password: row.password,
			}})
			if row.fault != "" {
				if err == nil || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), row.password) {
					t.Errorf("got %v, want %q and no password", err, row.fault)
				}
				return
			}
			ok(t, err)
			for _, digest := range []string{result.Manifest, scratch.Digest(image.Config), scratch.Digest(image.Layer)} {
				b, err := s.Open(digest)
				ok(t, err)
				ok(t, b.Close())
			}
		})
	}
	t.Run("as the broker orders it, with its login", func(t *testing.T) {
		config := filepath.Join(t.TempDir(), "config.json")
		ok(t, os.WriteFile(config, []byte(`{"auths": {"`+r.Host+`": {"auth": "YWxpY2U6c2VjcmV0"}}}`), 0o600))
		from, err := mustEngine(t, dockerctl.Options{RegistryConfig: config}).RegistryOrder(t.Context(), r.Host+"/team/app:1")
		ok(t, err)
		s, _ := mustStore(t)
		if _, err := (&images.Fetcher{Store: s}).Get(t.Context(), order.Order{Registry: &from}); err != nil {
			t.Error(err)
		}
	})
}

// TestNode_GoesFromEngineToEngine makes the node image of the files around the
// program, and has an engine fetch its layer.
func TestNode_GoesFromEngineToEngine(t *testing.T) {
	t.Parallel()
	programs, root := t.TempDir(), t.TempDir()
	program := []byte("#!/bin/sh\n" + dockertest.Name(t))
	ok(t, os.WriteFile(filepath.Join(programs, "loads-node-linux-"+runtime.GOARCH), program, 0o600))
	ok(t, os.WriteFile(filepath.Join(root, "loads-node"), program, 0o600))
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	ok(t, os.WriteFile(authorities, []byte("certificates"), 0o600))
	e := mustEngine(t, dockerctl.Options{NodeDir: programs, CAFile: authorities})
	recipe, err := e.NodeRecipe(t.Context())
	ok(t, err)
	for _, f := range recipe.Files {
		if f.Folder {
			ok(t, os.MkdirAll(filepath.Join(root, f.Path), 0o700))
		}
	}
	ok(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n"), 0o600))
	ok(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nnogroup:x:65534:\n"), 0o600))
	ok(t, os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), []byte("certificates"), 0o600))
	s, _ := mustStore(t)
	result, err := (&images.Fetcher{Store: s, Root: root}).Get(t.Context(), order.Order{Key: "node", Node: &recipe})
	if err != nil || result.Manifest == "" {
		t.Fatalf("got %+v, %v", result, err)
	}

	server := httptest.NewServer(s.Seed(recipe.Layer))
	t.Cleanup(server.Close)
	t.Cleanup(func() { removeImage(t, "loads/seed:"+strings.TrimPrefix(recipe.Layer, "sha256:")[:12]) })
	for range 2 {
		if id, err := e.ImportLayer(t.Context(), server.URL+"/"+recipe.Layer, recipe.Layer); err != nil || !strings.HasPrefix(id, "sha256:") {
			t.Errorf("import: %q, %v", id, err)
		}
	}
	res, err := http.Get(server.URL + "/" + result.Manifest)
	ok(t, err)
	ok(t, res.Body.Close())
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("another blob than the seed: got %s", res.Status)
	}
	// The engine takes what it is given; we don't.
	wrong := scratch.Digest([]byte("another"))
	_, err = e.ImportLayer(t.Context(), server.URL+"/"+recipe.Layer, wrong)
	if broker.CodeOf(err) != broker.ENotFound {
		t.Errorf("a layer of another digest: got %v, want none", err)
	}
	if _, err := dockertest.Client(t, dockertest.Endpoint()).ImageInspect(t.Context(), "loads/seed:"+strings.TrimPrefix(wrong, "sha256:")[:12]); err == nil {
		t.Error("it is still there")
	}
}

func removeImage(t *testing.T, ref string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := dockertest.Client(t, dockertest.Endpoint()).ImageRemove(ctx, ref, client.ImageRemoveOptions{}); err != nil {
		t.Error(err)
	}
}
