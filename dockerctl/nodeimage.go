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

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/scratch"
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
	return e.ensureScratch(ctx, img)
}

// EnsureEmptyImage makes an image of some hundred bytes, whose program does not
// exist, unless the engine has it.
func (e *Engine) EnsureEmptyImage(ctx context.Context) error {
	done, err := e.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if id, err := e.labelled(ctx, broker.EmptyImage, nodeFormat); err != nil || id != "" {
		return err
	}
	arch, err := e.arch(ctx)
	if err != nil {
		return err
	}
	_, err = e.ensureScratch(ctx, scratch.Image{
		Architecture: arch, Tags: []string{broker.EmptyImage + ":latest"}, Command: []string{"/none"},
		Labels: map[string]string{nodeLabel: nodeFormat},
		Files:  []scratch.File{{Path: "run", Mode: 0o755, Folder: true}},
	})
	return err
}

// ownImage is the node image for the engine's architecture, with its tags.
func (e *Engine) ownImage(ctx context.Context) (scratch.Image, error) {
	arch, err := e.arch(ctx)
	if err != nil {
		return scratch.Image{}, err
	}
	program, err := e.nodeProgram(arch)
	if err != nil {
		return scratch.Image{}, err
	}
	img, err := nodeImage(arch, program, e.caBundle())
	if err != nil {
		return scratch.Image{}, err
	}
	sum := sha256.Sum256(program)
	img.Tags = []string{e.node + ":latest", e.node + ":" + hex.EncodeToString(sum[:])[:12]}
	e.own.Store(&nodeNames{img.Tags, img.Labels[nodeLabel]})
	return img, nil
}

// nodeNames are by what the node image is known: its tags, the last of which is
// its own, and the value of its label.
type nodeNames struct {
	tags  []string
	label string
}

// ownNames are those of the node image, as it was made last for this Engine.
func (e *Engine) ownNames(ctx context.Context) (*nodeNames, error) {
	if names := e.own.Load(); names != nil {
		return names, nil
	}
	_, err := e.ownImage(ctx)
	return e.own.Load(), err
}

func (e *Engine) nodeProgram(arch string) ([]byte, error) {
	path := filepath.Join(e.opts.NodeDir, "loads-node-linux-"+arch)
	program, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, broker.Errorf(broker.EInternal,
			"the engine at %s needs the node program for %s, and %s does not exist: run `make build`", e.ep.Host, arch, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read node program: %w", err)
	}
	return program, nil
}

// caBundle returns the CA certificates for the node image, or nil when this
// machine has none.
func (e *Engine) caBundle() []byte {
	paths := []string{e.opts.CAFile}
	if e.opts.CAFile == "" {
		paths = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}
	}
	for _, p := range paths {
		if pem, err := os.ReadFile(p); err == nil {
			return pem
		}
	}
	return nil
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

// ensureScratch loads the image unless the engine has it, puts all its tags on
// it, and returns its id. It is known by its last tag and nodeLabel.
func (e *Engine) ensureScratch(ctx context.Context, img scratch.Image) (string, error) {
	known := img.Tags[len(img.Tags)-1]
	id, err := e.labelled(ctx, known, img.Labels[nodeLabel])
	if err != nil {
		return "", err
	}
	if id == "" {
		if id, err = e.loadScratch(ctx, img, known); err != nil {
			return "", err
		}
	}
	return id, e.tagAll(ctx, id, img.Tags)
}

func (e *Engine) tagAll(ctx context.Context, id string, tags []string) error {
	for _, tag := range tags {
		if have, err := e.imageID(ctx, tag); err == nil && have == id {
			continue
		}
		if err := e.tag(ctx, id, tag); err != nil {
			return err
		}
	}
	return nil
}

// labelled returns the id of the image ref if its node label has the value, or
// nothing.
func (e *Engine) labelled(ctx context.Context, ref, value string) (string, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", e.fail(ctx, err, "look for image %s", ref)
	}
	if res.Config == nil || res.Config.Labels[nodeLabel] != value {
		return "", nil
	}
	return res.ID, nil
}

func (e *Engine) loadScratch(ctx context.Context, img scratch.Image, known string) (string, error) {
	archive, err := img.Build()
	if err != nil {
		return "", fmt.Errorf("make image %s: %w", known, err)
	}
	var buf bytes.Buffer
	if _, err := archive.WriteTo(&buf); err != nil {
		return "", fmt.Errorf("make image %s: %w", known, err)
	}
	if _, err := e.load(ctx, &buf, known); err != nil {
		return "", err
	}
	return e.imageID(ctx, known)
}

func (e *Engine) tag(ctx context.Context, id, ref string) error {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	_, err := e.cli.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: ref})
	return e.fail(ctx, err, "tag image %s as %s", short(id), ref)
}
