package dockerctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/images/order"
)

// nodeLabel carries, on the node image, the hash of all that went into it. It
// is compared in place of image ids, which engines compute in two ways.
const nodeLabel = "loads.node.content"

// nodeFormat changes whenever nodeImage makes something else of the same input.
const nodeFormat = "1"

// EnsureNodeImage makes the image of the node program for the engine's
// architecture, loads it unless the engine has it, and returns its id. It is
// tagged latest, and with the beginning of its program's hash, which stays
// when a broker of another version moves latest.
func (e *Engine) EnsureNodeImage(ctx context.Context) (string, error) {
	done, err := e.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	img, err := e.ownImage(ctx)
	if err != nil {
		return "", err
	}
	return e.ensureNode(ctx, img)
}

// ownImage is the node image for the engine's architecture.
func (e *Engine) ownImage(ctx context.Context) (*madeImage, error) {
	arch, err := e.arch(ctx)
	if err != nil {
		return nil, err
	}
	return e.nodes.get(e.node, arch, e.opts)
}

// EnsureEmptyImage makes an image of some hundred bytes, whose program does not
// exist, unless the engine has it.
func (e *Engine) EnsureEmptyImage(ctx context.Context) error {
	done, err := e.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	arch, err := e.arch(ctx)
	if err != nil {
		return err
	}
	img, err := makeImage(scratch.Image{
		Architecture: arch, Tags: []string{broker.EmptyImage + ":latest"}, Command: []string{"/none"},
		Labels: map[string]string{nodeLabel: nodeFormat},
		Files:  []scratch.File{{Path: "run", Mode: 0o755, Folder: true}},
	})
	if err != nil {
		return err
	}
	_, err = e.ensureNode(ctx, img)
	return err
}

// nodeImages are the node images that were made so far. One is made again when
// the files that it was made of have changed. Thousands of engines may want it
// at once, so its bytes are kept.
type nodeImages struct {
	mu   sync.Mutex
	made map[string]*madeImage // by name and architecture
}

// A madeImage is a node image, which does not change.
type madeImage struct {
	from    string   // what the files that it is made of look like
	tags    []string // the last of them is its own
	label   string   // of its content
	archive []byte   // for an engine to load
	recipe  order.Recipe
}

// get returns the image of the name for the architecture.
func (n *nodeImages) get(name, arch string, opts Options) (*madeImage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	program, cas := filepath.Join(opts.NodeDir, "loads-node-linux-"+arch), caFile(opts)
	from, err := looks(program, cas)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, broker.Errorf(broker.EInternal,
			"a machine needs the node program for %s, and %s does not exist: run `make build`", arch, program)
	}
	if err != nil {
		return nil, fmt.Errorf("read node program: %w", err)
	}
	if have := n.made[name+" "+arch]; have != nil && have.from == from {
		return have, nil
	}
	img, err := makeNode(name, arch, program, cas)
	if err != nil {
		return nil, err
	}
	img.from = from
	if n.made == nil {
		n.made = map[string]*madeImage{}
	}
	n.made[name+" "+arch] = img
	return img, nil
}

// looks tells what files look like from outside: another look is another
// content. A file without a name is passed over.
func looks(files ...string) (string, error) {
	var all strings.Builder
	for _, file := range files {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%s %d %d\n", file, info.Size(), info.ModTime().UnixNano())
	}
	return all.String(), nil
}

// makeNode makes the image of the program and the CA certificates.
func makeNode(name, arch, programFile, caFile string) (*madeImage, error) {
	program, err := os.ReadFile(programFile)
	if err != nil {
		return nil, fmt.Errorf("read node program: %w", err)
	}
	var cas []byte
	if caFile != "" {
		if cas, err = os.ReadFile(caFile); err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
	}
	img, err := nodeImage(arch, program, cas)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(program)
	img.Tags = []string{name + ":latest", name + ":" + hex.EncodeToString(sum[:])[:12]}
	return makeImage(img)
}

// makeImage makes an image that is known by its last tag and its label.
func makeImage(img scratch.Image) (*madeImage, error) {
	archive, err := img.Build()
	if err != nil {
		return nil, fmt.Errorf("make image %s: %w", img.Tags[0], err)
	}
	var buf bytes.Buffer
	if _, err := archive.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("make image %s: %w", img.Tags[0], err)
	}
	made := &madeImage{
		tags: img.Tags, label: img.Labels[nodeLabel], archive: bytes.Clone(buf.Bytes()),
		recipe: order.Recipe{Config: archive.Config, Layer: scratch.Digest(archive.Layer)},
	}
	for _, f := range img.Files {
		made.recipe.Files = append(made.recipe.Files, order.File{Path: f.Path, Mode: f.Mode, Folder: f.Folder})
	}
	return made, nil
}

// caFile is the file of CA certificates for the node image, or nothing when
// this machine has none.
func caFile(opts Options) string {
	paths := []string{opts.CAFile}
	if opts.CAFile == "" {
		paths = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p
		}
	}
	return ""
}

// nodeImage returns the image without its tags.
func nodeImage(arch string, program, cas []byte) (scratch.Image, error) {
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(nodeFormat), []byte(arch), program, cas} {
		if _, err := fmt.Fprintf(hash, "%d\n%s\n", len(part), part); err != nil {
			return scratch.Image{}, fmt.Errorf("hash node image: %w", err)
		}
	}
	files := []scratch.File{
		{Path: "loads-node", Mode: 0o755, Data: program},
		{Path: "tmp", Mode: 0o1777, Folder: true},
		{Path: "etc", Mode: 0o755, Folder: true},
		{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n")},
		{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
	}
	if cas != nil {
		files = append(files,
			scratch.File{Path: "etc/ssl", Mode: 0o755, Folder: true},
			scratch.File{Path: "etc/ssl/certs", Mode: 0o755, Folder: true},
			scratch.File{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Data: cas})
	}
	return scratch.Image{
		Architecture: arch,
		Entrypoint:   []string{"/loads-node"},
		Labels:       map[string]string{nodeLabel: hex.EncodeToString(hash.Sum(nil))},
		Files:        files,
	}, nil
}

// ensureNode loads the image unless the engine has it, puts all its tags on
// it, and returns its id. It is known by its own tag and nodeLabel.
func (e *Engine) ensureNode(ctx context.Context, img *madeImage) (string, error) {
	own := img.tags[len(img.tags)-1]
	id, has, err := e.labelled(ctx, own, img.label)
	if err == nil && id == "" {
		if _, err = e.load(ctx, bytes.NewReader(img.archive), own); err == nil {
			id, has, err = e.labelled(ctx, own, img.label)
		}
	}
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", broker.Errorf(broker.EInternal, "the engine at %s has loaded the image %s and does not have it", e.ep.Host, own)
	}
	for _, tag := range img.tags {
		if slices.Contains(has, tag) {
			continue
		}
		if err := e.tag(ctx, id, tag); err != nil {
			return "", err
		}
	}
	return id, nil
}

// labelled returns the id and the tags of the image ref if its node label has
// the value, or nothing.
func (e *Engine) labelled(ctx context.Context, ref, value string) (id string, tags []string, err error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, e.fail(ctx, err, "look for image %s", ref)
	}
	if res.Config == nil || res.Config.Labels[nodeLabel] != value {
		return "", nil, nil
	}
	return res.ID, res.RepoTags, nil
}

func (e *Engine) tag(ctx context.Context, id, ref string) error {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	_, err := e.cli.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: ref})
	return e.fail(ctx, err, "tag image %s as %s", short(id), ref)
}
