// Package scratch makes container images from nothing but files: one layer on
// no base image, in the form that "docker load" reads. The same input always
// gives the same bytes, and so the same image id.
package scratch

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// An Image says what goes into an image.
type Image struct {
	Architecture string // amd64 or arm64
	// Tags are the names it gets, name:tag.
	Tags       []string
	Entrypoint []string
	Command    []string
	Env        []string // NAME=VALUE
	User       string   // that the program runs as; empty is root
	Labels     map[string]string
	Files      []File
}

// A File is a file of the image, or a folder if Folder is true. A folder comes
// before what is in it.
type File struct {
	Path   string // without the leading slash
	Mode   int64  // permission bits
	Data   []byte
	Folder bool
}

// An Archive is an image ready to be loaded or served.
type Archive struct {
	Config []byte // the image's configuration, JSON
	Layer  []byte // the one layer, a tar
	tags   []string
}

// Build makes the image.
func (i Image) Build() (*Archive, error) {
	layer, err := i.layer()
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	cfg, err := json.Marshal(i.config(layer))
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	return &Archive{Config: cfg, Layer: layer, tags: slices.Clone(i.Tags)}, nil
}

// ID returns the image's id as engines compute it: sha256:….
func (a *Archive) ID() string { return Digest(a.Config) }

// WriteTo writes the archive, as "docker save" would.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	count := &counter{w: w}
	err := a.write(tar.NewWriter(count))
	return count.n, err
}

func (a *Archive) write(w *tar.Writer) error {
	config := hexDigest(a.Config) + ".json"
	layer := hexDigest(a.Layer) + "/layer.tar"
	manifest, err := json.Marshal([]manifestEntry{{Config: config, RepoTags: a.tags, Layers: []string{layer}}})
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	files := []File{
		{Path: config, Mode: 0o644, Data: a.Config},
		{Path: hexDigest(a.Layer), Mode: 0o755, Folder: true},
		{Path: layer, Mode: 0o644, Data: a.Layer},
		{Path: "manifest.json", Mode: 0o644, Data: manifest},
	}
	if err := writeFiles(w, files); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return w.Close()
}

// Digest returns sha256:… of the bytes.
func Digest(b []byte) string { return "sha256:" + hexDigest(b) }

func hexDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (i Image) layer() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := writeFiles(w, i.Files); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (i Image) config(layer []byte) imageConfig {
	return imageConfig{
		Architecture: i.Architecture,
		OS:           "linux",
		Created:      epoch(),
		Config: runConfig{
			Entrypoint: i.Entrypoint, Cmd: i.Command, Env: i.Env, User: i.User, Labels: i.Labels, WorkingDir: "/",
		},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{Digest(layer)}},
		History: []history{{Created: epoch(), CreatedBy: "loads"}},
	}
}

// epoch is the one time in every archive, so that equal input gives equal bytes.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

func writeFiles(w *tar.Writer, files []File) error {
	for _, f := range files {
		if err := writeFile(w, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

func writeFile(w *tar.Writer, f File) error {
	h := &tar.Header{
		Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)),
		Typeflag: tar.TypeReg, ModTime: epoch(), Format: tar.FormatUSTAR,
	}
	if f.Folder {
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(f.Data)
	return err
}

// counter counts what passes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// What follows are the documents of the docker save format.

type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type imageConfig struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       runConfig `json:"config"`
	RootFS       rootFS    `json:"rootfs"`
	History      []history `json:"history"`
}

type runConfig struct {
	Entrypoint []string          `json:",omitempty"`
	Cmd        []string          `json:",omitempty"`
	Env        []string          `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
	User       string            `json:",omitempty"`
	WorkingDir string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}
