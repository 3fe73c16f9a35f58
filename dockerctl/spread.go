package dockerctl

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/images/order"
)

var _ broker.Spreader = (*Engine)(nil)

// seedImage is the name, before a part of its digest, of what ImportLayer makes.
const seedImage = "loads/seed"

// importLimit is how long an import may go without progress: there are other
// machines to import from.
const importLimit = time.Minute

// NodeRecipe says what the node image is made of; see broker.Spreader.
func (e *Engine) NodeRecipe(ctx context.Context) (order.Recipe, error) {
	img, err := e.ownImage(ctx)
	if err != nil {
		return order.Recipe{}, err
	}
	return img.recipe, nil
}

// HasImage returns the id of an image that need not be brought; see
// broker.Spreader.
func (e *Engine) HasImage(ctx context.Context, ref, url string) (string, error) {
	name, err := parseRef(ref, url)
	if err != nil {
		return "", err
	}
	if url != "" || !e.isNode(name) {
		return e.kept(ctx, name, url)
	}
	img, err := e.ownImage(ctx)
	if err != nil {
		return "", err
	}
	id, _, err := e.labelled(ctx, img.tags[len(img.tags)-1], img.label)
	if err == nil && id == "" {
		err = broker.Errorf(broker.ENotFound, "the node image has to be brought to the engine")
	}
	return id, err
}

// ImageName is the name with the tag that an image of an archive has to have;
// see broker.Spreader.
func (e *Engine) ImageName(ref, url string) (string, error) {
	name, err := parseRef(ref, url)
	if err != nil || name == nil {
		return "", err
	}
	return familiar(name), nil
}

// RegistryOrder says how a machine gets the image from its registry by itself;
// see broker.Spreader.
func (e *Engine) RegistryOrder(ctx context.Context, ref string) (order.Registry, error) {
	name, err := parseRef(ref, "")
	if err != nil {
		return order.Registry{}, err
	}
	if reference.FamiliarName(name) == e.node {
		return order.Registry{}, broker.Errorf(broker.ENotFound, "no registry has image %s", familiar(name))
	}
	arch, err := e.arch(ctx)
	if err != nil {
		return order.Registry{}, err
	}
	auth, err := e.loginOf(name)
	if err != nil {
		return order.Registry{}, err
	}
	return order.Registry{
		Image: name.String(), Architecture: arch, User: auth.Username, Password: auth.Password,
		RefreshToken: auth.IdentityToken, AccessToken: auth.RegistryToken,
	}, nil
}

// PutArchive puts the archive at url, as it is, into a container; see
// broker.Spreader.
func (e *Engine) PutArchive(ctx context.Context, id, file, url string) error {
	archive, size, err := e.spool(ctx, url)
	if err != nil {
		return err
	}
	defer archive.Close()
	ctx, moved, cancel := watched(ctx, stallLimit)
	defer cancel()
	packed, pack := io.Pipe()
	ended := make(chan error, 1)
	src := &source{r: archive, moved: moved, sent: &e.sent}
	go func() { // ends with the call below, which closes the pipe
		err := packFile(pack, path.Base(file), src, size)
		ended <- pack.CloseWithError(err)
	}()
	_, err = e.cli.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: path.Dir(file), Content: packed})
	_ = packed.Close() // a pipe's never fails
	if packing := <-ended; err == nil {
		err = packing
	}
	if broken := src.failure(); broken != nil && ctx.Err() == nil {
		return broken
	}
	return e.fail(ctx, err, "put the image of %s into container %s", redact(url), short(id))
}

func packFile(w io.Writer, name string, r io.Reader, size int64) error {
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(out, r); err != nil {
		return err
	}
	return out.Close()
}

// spool returns the archive at url as a file, whose size is known.
func (e *Engine) spool(ctx context.Context, url string) (_ *os.File, size int64, err error) {
	raw, err := e.openURL(ctx, url)
	if err != nil {
		return nil, 0, err
	}
	f, ok := raw.(*os.File)
	if !ok {
		defer raw.Close()
		if f, err = e.keepDownload(raw, url); err != nil {
			return nil, 0, err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("look at the image tarball %s: %w", redact(url), err), f.Close())
	}
	return f, info.Size(), nil
}

// keepDownload copies what is downloaded to a file that has no name.
func (e *Engine) keepDownload(raw io.Reader, url string) (*os.File, error) {
	f, err := os.CreateTemp("", "loads-image-")
	if err != nil {
		return nil, fmt.Errorf("make a file for the image tarball %s: %w", redact(url), err)
	}
	_, err = io.Copy(f, &bounded{r: raw, left: e.opts.MaxTarball, limit: e.opts.MaxTarball, name: redact(url)})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if removing := os.Remove(f.Name()); err == nil {
		err = removing
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// MaxArchive is how large an image's archive may be, unpacked.
func (e *Engine) MaxArchive() int64 { return e.opts.MaxTarball }

// ImportLayer makes an image of a layer that the engine fetches; see
// broker.Spreader.
func (e *Engine) ImportLayer(ctx context.Context, url, digest string) (string, error) {
	done, err := e.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	ref := seedImage + ":" + strings.TrimPrefix(digest, "sha256:")[:12]
	if id, err := e.withLayer(ctx, ref, digest); broker.CodeOf(err) != broker.ENotFound {
		return id, err
	}
	ctx, moved, cancel := watched(ctx, importLimit)
	defer cancel()
	res, err := e.cli.ImageImport(ctx, client.ImageImportSource{SourceName: url}, ref, client.ImageImportOptions{})
	if err != nil {
		return "", e.fail(ctx, err, "import the node program from %s", url)
	}
	defer res.Close()
	for dec := json.NewDecoder(res); ; moved() {
		var m struct{ Error string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", e.fail(ctx, err, "import the node program from %s", url)
		}
		if m.Error != "" {
			return "", e.fail(ctx, errors.New(m.Error), "import the node program from %s", url)
		}
	}
	return e.withLayer(ctx, ref, digest)
}

// withLayer returns the id of an image whose one layer has the digest. One that
// has another is removed: nothing of it may ever run.
func (e *Engine) withLayer(ctx context.Context, ref, digest string) (string, error) {
	quick, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.ImageInspect(quick, ref)
	if err != nil {
		return "", e.fail(quick, err, "look for image %s", ref)
	}
	if slices.Equal(res.RootFS.Layers, []string{digest}) {
		return res.ID, nil
	}
	if _, err := e.cli.ImageRemove(quick, res.ID, client.ImageRemoveOptions{Force: true}); err != nil {
		return "", e.fail(quick, err, "remove image %s, which is not what it should be", ref)
	}
	return "", broker.Errorf(broker.ENotFound, "what the engine at %s imported is not %s", e.ep.Host, digest)
}

// PullLocal pulls an image by digest from the registry at an address on the
// engine's own machine; see broker.Spreader.
func (e *Engine) PullLocal(ctx context.Context, address, digest, ref, url string) (string, error) {
	tags, err := e.tagsOf(ctx, ref, url)
	if err != nil {
		return "", err
	}
	done, err := e.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	from, err := reference.ParseNormalizedNamed(address + "/loads/spread@" + digest)
	if err != nil {
		return "", broker.Errorf(broker.EInvalid, "%s with %s is no place to pull from", address, digest)
	}
	if err := e.pull(ctx, from); err != nil {
		return "", err
	}
	id, err := e.imageID(ctx, from.String())
	if err != nil {
		return "", err
	}
	return id, e.tagAll(ctx, id, tags)
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

// tagsOf are the names that an image gets when it is brought to the engine.
func (e *Engine) tagsOf(ctx context.Context, ref, url string) ([]string, error) {
	name, err := parseRef(ref, url)
	if err != nil || name == nil {
		return nil, err
	}
	if url == "" && e.isNode(name) {
		img, err := e.ownImage(ctx)
		if err != nil {
			return nil, err
		}
		return img.tags, nil
	}
	if _, digested := name.(reference.Digested); digested {
		return nil, nil // it can't be given a digest
	}
	return []string{familiar(name)}, nil
}

// Sent is how many bytes of images were sent to the engine by this Engine.
func (e *Engine) Sent() int64 { return e.sent.Load() }
