package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/images/order"
	"github.com/loads/loads/internal/unpack"
)

// Unpack stores the image that is meant of an archive, and returns the digest
// of its manifest.
func (s *Store) Unpack(ctx context.Context, a order.Archive) (string, error) {
	f, err := os.Open(a.Path)
	if err != nil {
		return "", fmt.Errorf("open an image's archive: %w", err)
	}
	defer f.Close()
	plain, free, err := unpack.Reader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return "", fmt.Errorf("read an image's archive: %w", err)
	}
	defer free()
	content, err := s.readArchive(ctx, plain, a.Limit)
	if err != nil {
		return "", fmt.Errorf("read an image's archive: %w", err)
	}
	return content.image(s, a.Image)
}

// An archive is what was in one: its files, which are stored as blobs.
type archive struct {
	files map[string]descriptor // by path
	links map[string]string     // paths that stand for others
	raw   []byte                // manifest.json
}

// readArchive stores all files of the archive but its list of images.
func (s *Store) readArchive(ctx context.Context, r io.Reader, limit int64) (*archive, error) {
	a := &archive{files: map[string]descriptor{}, links: map[string]string{}}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag == tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case h.Typeflag == tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		case h.Typeflag != tar.TypeReg:
		case name == "manifest.json":
			if a.raw, err = io.ReadAll(io.LimitReader(in, maxManifest)); err != nil {
				return nil, err
			}
		default:
			if limit -= h.Size; limit < 0 {
				return nil, errors.New("it is larger than it may be")
			}
			if a.files[name], err = s.putFile(ctx, in); err != nil {
				return nil, err
			}
		}
	}
}

// putFile stores a file, and tells of it as of a layer.
func (s *Store) putFile(ctx context.Context, r io.Reader) (d descriptor, err error) {
	w, err := s.create()
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, err
	}
	d.MediaType = layerType
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		d.MediaType += "+gzip"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d.MediaType += "+zstd"
	}
	if d.Size, err = copyOn(ctx, w, in); err != nil {
		return d, err
	}
	d.Digest, err = w.keep("")
	return d, err
}

// find returns the file at a path, which may be a link.
func (a *archive) find(name string) (descriptor, error) {
	name = path.Clean(name)
	for range 10 {
		if d, ok := a.files[name]; ok {
			return d, nil
		}
		name = a.links[name]
	}
	return descriptor{}, errors.New("an image's archive does not have all that its manifest.json names")
}

// image stores the manifest of the named image, or of the only one.
func (a *archive) image(s *Store, name string) (string, error) {
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(a.raw, &list); err != nil {
		return "", fmt.Errorf("read manifest.json in an image's archive: %w", err)
	}
	at := slices.IndexFunc(list, func(entry struct {
		Config           string
		RepoTags, Layers []string
	},
	) bool {
		return slices.ContainsFunc(entry.RepoTags, func(tag string) bool { return familiar(tag) == name })
	})
	if at < 0 && len(list) != 1 {
		return "", fmt.Errorf("an image's archive has %d images, and none is called %q", len(list), name)
	}
	config, err := a.find(list[max(at, 0)].Config)
	if err != nil {
		return "", err
	}
	config.MediaType = configType
	var layers []descriptor
	for _, name := range list[max(at, 0)].Layers {
		layer, err := a.find(name)
		if err != nil {
			return "", err
		}
		layers = append(layers, layer)
	}
	return s.putManifest(config, layers)
}

// familiar is a name as Docker shows it.
func familiar(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
}

// Cook stores the node image, of whose files this program runs, and returns
// the digest of its manifest. root is where the files are.
func (s *Store) Cook(r order.Recipe, root string) (string, error) {
	var files []scratch.File
	for _, f := range r.Files {
		file := scratch.File{Path: f.Path, Mode: f.Mode, Folder: f.Folder}
		if !f.Folder {
			var err error
			if file.Data, err = os.ReadFile(path.Join(root, f.Path)); err != nil {
				return "", fmt.Errorf("read the node program: %w", err)
			}
		}
		files = append(files, file)
	}
	built, err := scratch.Image{Files: files}.Build()
	if err != nil {
		return "", fmt.Errorf("make the node image: %w", err)
	}
	if _, _, err := s.Put(r.Layer, bytes.NewReader(built.Layer)); err != nil {
		return "", fmt.Errorf("make the node image: %w", err)
	}
	config, size, err := s.Put("", bytes.NewReader(r.Config))
	if err != nil {
		return "", fmt.Errorf("make the node image: %w", err)
	}
	return s.putManifest(descriptor{configType, config, size},
		[]descriptor{{layerType, r.Layer, int64(len(built.Layer))}})
}
