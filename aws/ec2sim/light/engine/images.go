package engine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// An image is what is known of an image: what its files hold isn't kept.
type image struct {
	id         string
	tags       []string
	arch       string
	size       int64
	entrypoint []string
	command    []string
	labels     map[string]string
	layers     []string // digests of their contents
}

// withLabels are the image's labels and a container's own.
func (i *image) withLabels(own map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, i.labels)
	maps.Copy(all, own)
	return all
}

// shown is a name of the image, or its id.
func (i *image) shown() string {
	if len(i.tags) > 0 {
		return i.tags[0]
	}
	return i.id
}

// familiar is the name of an image with its tag, and without the parts of
// Docker's own registry.
func familiar(ref string) string {
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
	if name := ref[strings.LastIndexByte(ref, '/')+1:]; !strings.ContainsAny(name, ":@") {
		ref += ":latest"
	}
	return ref
}

// image finds an image by its name or its id; nil if there is none.
func (e *Engine) image(ref string) *image {
	id := strings.TrimPrefix(ref, "sha256:")
	for _, img := range e.images {
		if ref != "" && slices.Contains(img.tags, familiar(ref)) || len(id) >= 12 && strings.HasPrefix(img.id, "sha256:"+id) {
			return img
		}
	}
	return nil
}

// tag gives an image a name, which another one may have had.
func (e *Engine) tag(img *image, name string) {
	for _, other := range e.images {
		other.tags = slices.DeleteFunc(other.tags, func(t string) bool { return t == name })
	}
	img.tags = append(img.tags, name)
}

// keep notes an image, unless it is there; what is returned is.
func (e *Engine) keep(img *image) *image {
	for _, have := range e.images {
		if have.id == img.id {
			return have
		}
	}
	e.images = append(e.images, img)
	return img
}

// imageConfig is the part of an image's configuration that means something here.
type imageConfig struct {
	Architecture string `json:"architecture"`
	Config       struct {
		Entrypoint, Cmd []string
		Labels          map[string]string
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// imageOf makes an image of the bytes of its configuration, whose digest is
// its id.
func imageOf(raw []byte, size int64) (*image, error) {
	var c imageConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read an image's configuration: %w", err)
	}
	return &image{
		id: digestOf(raw), arch: c.Architecture, size: size, layers: c.RootFS.DiffIDs,
		entrypoint: c.Config.Entrypoint, command: c.Config.Cmd, labels: c.Config.Labels,
	}, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// An archive is what is in a file of "docker save", but for the layers.
type archive struct {
	manifest []struct {
		Config   string
		RepoTags []string
	}
	small map[string][]byte
	size  int64
}

// readArchive reads all of an archive. What is large is not kept.
func readArchive(r io.Reader) (*archive, error) {
	a := &archive{small: map[string][]byte{}}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		a.size += h.Size
		if h.Size > maxBody || path.Ext(h.Name) != ".json" && !strings.HasPrefix(h.Name, "blobs/") {
			continue // Next reads over it
		}
		if a.small[h.Name], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.small["manifest.json"], &a.manifest); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	return a, nil
}

func (e *Engine) loadImages(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := e.full("image"); err != nil {
		return err
	}
	a, err := readArchive(r.Body)
	if err != nil {
		return faultf(http.StatusInternalServerError, "Error processing tar file: %v", err)
	}
	var report bytes.Buffer
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, entry := range a.manifest {
		img, err := imageOf(a.small[entry.Config], a.size)
		if err != nil {
			return err
		}
		img = e.keep(img)
		for _, name := range entry.RepoTags {
			e.tag(img, familiar(name))
			fmt.Fprintf(&report, "Loaded image: %s\n", familiar(name))
		}
		if len(entry.RepoTags) == 0 {
			fmt.Fprintf(&report, "Loaded image ID: %s\n", img.id)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	for line := range strings.Lines(report.String()) {
		_ = json.NewEncoder(w).Encode(map[string]string{"stream": line})
	}
	return nil
}

// pullImage finds every image in its registry: one that is made up of its name
// only, and so of an unknown program.
func (e *Engine) pullImage(w http.ResponseWriter, r *http.Request, _ string) error {
	q := r.URL.Query()
	ref, tag := q.Get("fromImage"), q.Get("tag")
	if ref == "" {
		return e.importImage(w, r, q.Get("fromSrc"))
	}
	if isStored(ref) {
		return e.pullStored(w, ref, tag)
	}
	switch {
	case strings.Contains(tag, ":"): // a digest
		ref += "@" + tag
	case tag != "":
		ref += ":" + tag
	}
	if err := e.full("image"); err != nil {
		return err
	}
	img, err := e.madeUp(ref)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tag(e.keep(img), familiar(ref))
	return writeJSON(w, http.StatusOK, map[string]string{"status": "Status: Downloaded newer image for " + familiar(ref)})
}

func errNoImage(ref string) error {
	return faultf(http.StatusNotFound, "No such image: %s", familiar(ref))
}

func (e *Engine) inspectImage(w http.ResponseWriter, _ *http.Request, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	img := e.image(ref)
	if img == nil {
		return faultf(http.StatusNotFound, "no such image: %s: No such image: %s", ref, familiar(ref))
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"Id": img.id, "RepoTags": noNil(img.tags), "RepoDigests": []string{}, "Architecture": img.arch, "Os": "linux", "Size": img.size,
		"RootFS": map[string]any{"Type": "layers", "Layers": noNil(img.layers)},
		"Config": map[string]any{"Entrypoint": img.entrypoint, "Cmd": img.command, "Labels": img.labels},
	})
}

func noNil(list []string) []string { return append([]string{}, list...) }

func (e *Engine) listImages(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := readFilters(r)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []map[string]any{}
	for _, img := range e.images {
		named := len(want["reference"]) == 0
		for ref := range want["reference"] {
			named = named || slices.Contains(img.tags, familiar(ref))
		}
		if named && want.fit(img.labels, img.id, "") {
			out = append(out, map[string]any{
				"Id": img.id, "RepoTags": noNil(img.tags), "RepoDigests": []string{}, "Labels": img.labels, "Size": img.size,
			})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (e *Engine) tagImage(w http.ResponseWriter, r *http.Request, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	img := e.image(ref)
	if img == nil {
		return errNoImage(ref)
	}
	name := r.URL.Query().Get("repo")
	if tag := r.URL.Query().Get("tag"); tag != "" {
		name += ":" + tag
	}
	e.tag(img, familiar(name))
	w.WriteHeader(http.StatusCreated)
	return nil
}

// removeImage takes a name off an image, and removes it with its last one, or
// by its id with all.
func (e *Engine) removeImage(w http.ResponseWriter, r *http.Request, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	img := e.image(ref)
	if img == nil {
		return errNoImage(ref)
	}
	name, force := familiar(ref), isTrue(r.URL.Query().Get("force"))
	if slices.Contains(img.tags, name) && len(img.tags) > 1 {
		img.tags = slices.DeleteFunc(img.tags, func(t string) bool { return t == name })
		return writeJSON(w, http.StatusOK, []map[string]string{{"Untagged": name}})
	}
	e.settle()
	for _, c := range e.containers {
		if c.image == img && (c.running() || !force) {
			return faultf(http.StatusConflict, "conflict: unable to remove repository reference %q (must force) - "+
				"container %s is using its referenced image %s", ref, c.id[:12], strings.TrimPrefix(img.id, "sha256:")[:12])
		}
	}
	e.images = slices.DeleteFunc(e.images, func(i *image) bool { return i == img })
	done := []map[string]string{}
	for _, tag := range img.tags {
		done = append(done, map[string]string{"Untagged": tag})
	}
	return writeJSON(w, http.StatusOK, append(done, map[string]string{"Deleted": img.id}))
}
