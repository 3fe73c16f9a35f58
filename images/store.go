// Package images brings an image from machine to machine. On each machine of a
// run a program of it keeps the parts of the image, by digest, in a folder; it
// gives them to other machines, which prove by mutual TLS that they are the
// run's, and to the machine's own engine, as a registry on loopback. What comes
// in is checked against its digest before anybody gets it.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// A Store keeps blobs in a folder, each in a file that is there when it is
// whole and what its digest says. It may be used concurrently, and by several
// processes at once.
type Store struct{ dir string }

// NewStore returns the store in the folder, which it makes.
func NewStore(dir string) (*Store, error) {
	s := &Store{dir}
	for _, d := range []string{s.blobs(), filepath.Join(dir, "keys")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make a folder for images: %w", err)
		}
	}
	return s, nil
}

// keyPath is where the digest of what is known by a key is kept.
func (s *Store) keyPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, "keys", hex.EncodeToString(sum[:]))
}

// know notes that a key means an image that is stored.
func (s *Store) know(key, manifest string) error {
	w, err := s.create()
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(manifest))
	if err == nil {
		err = os.Rename(w.file.Name(), s.keyPath(key))
	}
	return errors.Join(err, w.close())
}

// known returns the digest of the manifest that a key means.
func (s *Store) known(key string) (string, error) {
	digest, err := os.ReadFile(s.keyPath(key))
	if err != nil {
		return "", fmt.Errorf("the machine does not have the image: %w", err)
	}
	return string(digest), nil
}

func (s *Store) blobs() string { return filepath.Join(s.dir, "blobs") }

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (s *Store) path(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", fmt.Errorf("%q is no digest like sha256:…", digest)
	}
	return filepath.Join(s.blobs(), strings.TrimPrefix(digest, "sha256:")), nil
}

// Open opens a blob; fs.ErrNotExist says that it is not there.
func (s *Store) Open(digest string) (*os.File, error) {
	path, err := s.path(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// has reports whether the blob is there.
func (s *Store) has(digest string) bool {
	path, err := s.path(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

// A writer takes in one blob.
type writer struct {
	store *Store
	file  *os.File
	n     int64
}

// create begins a blob, which close ends.
func (s *Store) create() (*writer, error) {
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for an image: %w", err)
	}
	return &writer{store: s, file: f}, nil
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.n += int64(n)
	if errors.Is(err, syscall.ENOSPC) {
		err = errors.New("there is no room for it on the machine's disk")
	}
	return n, err
}

// close closes the file and removes it, unless it is kept.
func (w *writer) close() error {
	return errors.Join(w.file.Close(), removeIfThere(w.file.Name()))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keep gives the file its digest's name. With a wanted digest it must have
// that one.
func (w *writer) keep(wanted string) (digest string, err error) {
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, w.file); err != nil {
		return "", err
	}
	whole := sum.Sum(nil)
	if err := checkDigest(wanted, whole); wanted != "" && err != nil {
		return "", err
	}
	digest = digestOf(whole)
	path, err := w.store.path(digest)
	if err != nil {
		return "", err
	}
	if err := os.Rename(w.file.Name(), path); err != nil {
		return "", fmt.Errorf("keep a part of an image: %w", err)
	}
	return digest, nil
}

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// A digestError says that bytes are not those that were wanted.
type digestError struct{ got, wanted string }

// Error says which came.
func (e *digestError) Error() string {
	return fmt.Sprintf("what came has the digest %s, not %s", e.got, e.wanted)
}

// checkDigest returns a digestError unless the SHA-256 is that of the digest.
func checkDigest(wanted string, sum []byte) error {
	if got := digestOf(sum); got != wanted {
		return &digestError{got, wanted}
	}
	return nil
}

// Put stores what r has, which must have the digest unless that is empty, and
// returns digest and size.
func (s *Store) Put(digest string, r io.Reader) (_ string, size int64, err error) {
	w, err := s.create()
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if _, err := io.Copy(w, r); err != nil {
		return "", 0, err
	}
	digest, err = w.keep(digest)
	return digest, w.n, err
}

// Media types of what is stored.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// A descriptor names a blob.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// A manifest names the parts of an image.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// parts are the blobs of the image, but for the manifest.
func (m manifest) parts() []descriptor { return append([]descriptor{m.Config}, m.Layers...) }

// maxManifest is the largest manifest that is read, in bytes.
const maxManifest = 4 << 20

// manifest reads one that is stored, and its bytes.
func (s *Store) manifest(digest string) (m manifest, raw []byte, err error) {
	f, err := s.Open(digest)
	if err != nil {
		return m, nil, err
	}
	defer f.Close()
	if raw, err = io.ReadAll(io.LimitReader(f, maxManifest)); err != nil {
		return m, nil, fmt.Errorf("read a manifest: %w", err)
	}
	m, err = parseManifest(raw)
	return m, raw, err
}

func parseManifest(raw []byte) (m manifest, err error) {
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read a manifest: %w", err)
	}
	if m.Config.Digest == "" || len(m.Layers) == 0 {
		return m, errors.New("read a manifest: it names no configuration or no layers")
	}
	return m, nil
}

// putManifest stores the manifest of an image whose parts are stored, last, so
// that an image whose manifest is there is whole.
func (s *Store) putManifest(config descriptor, layers []descriptor) (string, error) {
	raw, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: manifestType, Config: config, Layers: layers})
	if err != nil {
		return "", fmt.Errorf("write a manifest: %w", err)
	}
	digest, _, err := s.Put("", strings.NewReader(string(raw)))
	return digest, err
}

// copyOn copies until ctx ends.
func copyOn(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	return io.Copy(w, readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	}))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
