package engine

import (
	"archive/tar"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// maxFiles is how many bytes of files a machine keeps.
const maxFiles = 4 << 20

// A file is one that was put, or a folder. What images have is not known.
type file struct {
	data   []byte
	mode   fs.FileMode
	folder bool
	at     time.Time
}

// folders are in every image.
var folders = []string{"/", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp"}

// place is where a path of the container is: in a folder of the machine that
// it mounts, or its own.
func (c *container) place(name string) (files map[string]file, at string, m *mounted) {
	name = path.Clean("/" + name)
	best := -1
	for i, m := range c.mounts {
		inside := name == m.to || strings.HasPrefix(name, strings.TrimSuffix(m.to, "/")+"/")
		if inside && (best < 0 || len(m.to) > len(c.mounts[best].to)) {
			best = i
		}
	}
	if best >= 0 {
		m := &c.mounts[best]
		return c.engine.files, path.Join(m.from, strings.TrimPrefix(name, m.to)), m
	}
	if c.files == nil {
		c.files = map[string]file{}
	}
	return c.files, name, nil
}

// look finds what is at a path of the container.
func (c *container) look(name string) (file, bool) {
	files, at, m := c.place(name)
	if f, ok := files[at]; ok {
		return f, true
	}
	if m != nil && at == m.from || m == nil && slices.Contains(folders, at) || c.mountsBelow(path.Clean("/"+name)) {
		return file{folder: true, mode: 0o755, at: c.made}, true
	}
	return file{}, false
}

// mountsBelow reports whether something is mounted below a path, which then is
// a folder.
func (c *container) mountsBelow(name string) bool {
	return slices.ContainsFunc(c.mounts, func(m mounted) bool {
		return strings.HasPrefix(m.to, strings.TrimSuffix(name, "/")+"/")
	})
}

// found answers with what is at the path that a call names, but for its content.
func (e *Engine) found(w http.ResponseWriter, r *http.Request, name string) (*container, string, file, error) {
	c, err := e.find(name)
	if err != nil {
		return nil, "", file{}, err
	}
	at := r.URL.Query().Get("path")
	if at == "" {
		return nil, "", file{}, faultf(http.StatusBadRequest, "bad parameter: 'path' cannot be empty")
	}
	f, ok := c.look(at)
	if !ok {
		return nil, "", file{}, faultf(http.StatusNotFound, "Could not find the file %s in container %s", at, name)
	}
	mode := f.mode
	if f.folder {
		mode |= fs.ModeDir
	}
	stat, err := json.Marshal(map[string]any{
		"name": path.Base(at), "size": len(f.data), "mode": mode, "mtime": stamp(f.at), "linkTarget": "",
	})
	if err != nil {
		return nil, "", file{}, err
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
	return c, at, f, nil
}

func (e *Engine) statFile(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _, _, err := e.found(w, r, name)
	return err
}

func (e *Engine) getFile(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, at, f, err := e.found(w, r, name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	out := tar.NewWriter(w)
	write := func(name string, f file) {
		h := &tar.Header{Name: name, Mode: int64(f.mode), ModTime: f.at, Typeflag: tar.TypeReg, Size: int64(len(f.data))}
		if f.folder {
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		}
		if out.WriteHeader(h) == nil {
			_, _ = out.Write(f.data)
		}
	}
	base := path.Base(path.Clean("/" + at))
	write(base, f)
	if f.folder {
		files, root, _ := c.place(at)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if below, ok := strings.CutPrefix(name, strings.TrimSuffix(root, "/")+"/"); ok {
				write(path.Join(base, below), files[name])
			}
		}
	}
	_ = out.Close() // a caller that is gone has no need of it
	return nil
}

// putFiles unpacks an archive into a folder of the container.
func (e *Engine) putFiles(w http.ResponseWriter, r *http.Request, name string) error {
	entries, err := readTar(http.MaxBytesReader(w, r.Body, 2*maxFiles))
	if err != nil {
		return faultf(http.StatusBadRequest, "unpack the archive: %v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, at, folder, err := e.found(w, r, name)
	switch {
	case err != nil:
		return err
	case !folder.folder:
		return faultf(http.StatusBadRequest, "extraction point is not a directory")
	}
	for _, entry := range entries {
		if err := c.put(path.Join(at, entry.name), entry.file); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// put writes a file of the container's, and the folders above it.
func (c *container) put(name string, f file) error {
	e := c.engine
	files, at, m := c.place(name)
	if m != nil && m.readOnly {
		return faultf(http.StatusForbidden, "mounted volume is marked read-only")
	}
	growth := int64(len(f.data) - len(files[at].data))
	// The folder of the machine's own state is in memory.
	if err := e.full(at); err != nil && !strings.HasPrefix(at, "/run/") {
		return err
	}
	if e.size+growth > maxFiles {
		return faultf(http.StatusInternalServerError, "write %s: no space left on device", at)
	}
	e.size += growth
	files[at] = f
	for dir := path.Dir(at); dir != "/" && !files[dir].folder; dir = path.Dir(dir) {
		files[dir] = file{folder: true, mode: 0o755, at: f.at}
	}
	if m != nil && m.volume == "" && !f.folder && e.cfg.OnFile != nil {
		e.cfg.OnFile(at, f.data)
	}
	return nil
}

// An entry is a file of an archive.
type entry struct {
	name string
	file
}

func readTar(r io.Reader) ([]entry, error) {
	var all []entry
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		f := entry{h.Name, file{mode: fs.FileMode(h.Mode) & fs.ModePerm, folder: h.Typeflag == tar.TypeDir, at: h.ModTime}}
		if h.Typeflag == tar.TypeReg {
			if f.data, err = io.ReadAll(in); err != nil {
				return nil, err
			}
		}
		all = append(all, f)
	}
}
