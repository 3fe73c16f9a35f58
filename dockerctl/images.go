package dockerctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// EnsureImage sees to it that the engine has the image and returns its id: see
// broker.Engine. The tarball at url may be plain, gzip, bzip2 or zstd. With an
// empty ref it must hold one image only.
func (e *Engine) EnsureImage(ctx context.Context, ref, url string) (string, error) {
	name, err := parseRef(ref, url)
	if err != nil {
		return "", err
	}
	if url == "" && e.isNode(name) {
		return e.EnsureNodeImage(ctx)
	}
	done, err := e.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	if id, err := e.kept(ctx, name, url); broker.CodeOf(err) != broker.ENotFound {
		return id, err
	}
	if url != "" {
		return e.loadURL(ctx, url, name)
	}
	return e.pullOrKeep(ctx, name)
}

// kept returns the id of an image that the engine has, if that is good enough;
// else ENotFound.
func (e *Engine) kept(ctx context.Context, name reference.Named, url string) (string, error) {
	if name != nil && (url != "" || !refreshed(name)) && !latest(name) {
		return e.imageID(ctx, familiar(name))
	}
	return "", broker.Errorf(broker.ENotFound, "the image has to be brought to the engine")
}

// parseRef returns the name with its tag, or nil for an empty ref with a url.
func parseRef(ref, url string) (reference.Named, error) {
	if ref == "" && url != "" {
		return nil, nil
	}
	name, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "%q is not the name of an image; it should be like name:tag", ref)
	}
	return reference.TagNameOnly(name), nil
}

func (e *Engine) isNode(name reference.Named) bool {
	return reference.FamiliarName(name) == e.node && latest(name)
}

// latest reports whether the name's tag is latest, written or not.
func latest(name reference.Named) bool {
	t, ok := name.(reference.Tagged)
	return ok && t.Tag() == "latest"
}

// refreshed reports whether the name is pulled even if the engine has it.
func refreshed(name reference.Named) bool {
	_, digested := name.(reference.Digested)
	return latest(name) && !digested
}

func familiar(name reference.Named) string { return reference.FamiliarString(name) }

// imageID returns the id of an image that the engine has.
func (e *Engine) imageID(ctx context.Context, ref string) (string, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.ImageInspect(ctx, ref)
	if err != nil {
		return "", e.fail(ctx, err, "look for image %s", ref)
	}
	return res.ID, nil
}

// pullOrKeep pulls the image; when that fails, the one that the engine has is
// good enough.
func (e *Engine) pullOrKeep(ctx context.Context, name reference.Named) (string, error) {
	pullErr := e.pull(ctx, name)
	id, err := e.imageID(ctx, familiar(name))
	switch {
	case err == nil && pullErr != nil && ctx.Err() == nil:
		e.log.Warn("image can't be refreshed, the engine's own is used", "image", familiar(name), "error", pullErr)
	case pullErr != nil:
		return "", pullErr
	}
	return id, err
}

func (e *Engine) pull(ctx context.Context, name reference.Named) error {
	if reference.FamiliarName(name) == e.node {
		return broker.Errorf(broker.ENotFound, "image %s is not on the machine at %s, and no registry has it", familiar(name), e.ep.Host)
	}
	ctx, moved, cancel := watched(ctx, stallLimit)
	defer cancel()
	auth, err := e.login(name)
	if err != nil {
		return err
	}
	progress, err := e.cli.ImagePull(ctx, name.String(), client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return e.cantPull(ctx, name, err)
	}
	for m, err := range progress.JSONMessages(ctx) {
		moved()
		if err == nil && m.Error != nil {
			err = m.Error
		}
		if err != nil {
			return e.cantPull(ctx, name, err)
		}
	}
	return nil
}

// cantPull says that the image can't be pulled, in the engine's words.
func (e *Engine) cantPull(ctx context.Context, name reference.Named, err error) error {
	if cause := unreachable(ctx, err); cause != nil {
		return e.fail(ctx, err, "pull image %s", familiar(name))
	}
	return broker.Errorf(pullCode(err), "image %s is not on the machine at %s and can't be pulled: %s", familiar(name), e.ep.Host, words(err))
}

// pullCode is codeOf, for errors out of the middle of a pull, which are only
// words.
func pullCode(err error) broker.Code {
	for _, w := range []string{"manifest unknown", "not found", "does not exist"} {
		if strings.Contains(err.Error(), w) {
			return broker.ENotFound
		}
	}
	if code := codeOf(err); code != broker.EUnavailable {
		return code
	}
	return broker.EInternal // its registry, not the engine, is unavailable
}

// load loads an archive in the docker save format, not compressed, and returns
// what it held: names with tags, and ids of those without a name.
func (e *Engine) load(ctx context.Context, archive io.Reader, what string) ([]string, error) {
	ctx, moved, cancel := watched(ctx, stallLimit)
	defer cancel()
	src := &source{r: archive, moved: moved, sent: &e.sent}
	res, err := e.cli.ImageLoad(ctx, src, client.ImageLoadWithQuiet(true))
	if err != nil {
		return nil, e.cantLoad(ctx, src, err, what)
	}
	defer res.Close()
	var loaded []string
	for dec := json.NewDecoder(res); ; {
		var m jsonstream.Message
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && m.Error != nil {
			err = m.Error
		}
		if err != nil {
			return nil, e.cantLoad(ctx, src, err, what)
		}
		moved()
		loaded = append(loaded, loadedImages(m.Stream)...)
	}
	return loaded, src.failure() // the engine may make do with half an archive
}

// cantLoad prefers the error of the archive, which the engine's follows from.
func (e *Engine) cantLoad(ctx context.Context, src *source, err error, what string) error {
	if broken := src.failure(); broken != nil && ctx.Err() == nil {
		return broken
	}
	return e.fail(ctx, err, "load image %s", what)
}

// loadedImages reads the engine's report of a load.
func loadedImages(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		for _, prefix := range []string{"Loaded image: ", "Loaded image ID: "} {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
				out = append(out, name)
			}
		}
	}
	return out
}

// loadURL loads the tarball at url and returns the id of the image name, or of
// its only one, which then gets that name.
func (e *Engine) loadURL(ctx context.Context, url string, name reference.Named) (string, error) {
	archive, err := e.openTarball(ctx, url)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	loaded, err := e.load(ctx, archive, "of "+redact(url))
	if err != nil {
		return "", err
	}
	if name != nil && slices.Contains(loaded, familiar(name)) {
		return e.imageID(ctx, familiar(name))
	}
	ids, err := e.distinct(ctx, loaded)
	if err != nil {
		return "", err
	}
	if len(ids) != 1 {
		return "", broker.Errorf(broker.EInvalid, "the tarball %s has %s; it must have the step's image, or one image only",
			redact(url), contents(loaded))
	}
	if name == nil {
		return ids[0], nil
	}
	return ids[0], e.tag(ctx, ids[0], familiar(name))
}

// distinct returns the ids of the images, each once.
func (e *Engine) distinct(ctx context.Context, refs []string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		id, err := e.imageID(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func contents(loaded []string) string {
	if len(loaded) == 0 {
		return "no image"
	}
	return fmt.Sprintf("%d images (%s)", len(loaded), strings.Join(loaded, ", "))
}

// errStalled is why a pull or a load was given up.
var errStalled = errors.New("nothing moved for too long")

// watched returns a context that ends when moved is not called for d.
func watched(ctx context.Context, d time.Duration) (_ context.Context, moved, cancel func()) {
	ctx, stop := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { stop(errStalled) })
	return ctx, func() { timer.Reset(d) }, func() { timer.Stop(); stop(nil) }
}

// source tells of progress in reading, and remembers why reading failed. The
// transport reads it, maybe longer than its request lasts.
type source struct {
	r     io.Reader
	moved func()
	sent  *atomic.Int64 // counts what was read

	mu  sync.Mutex
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.moved()
	s.sent.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
	return n, err
}

// failure returns the error that reading came to, if any.
func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
