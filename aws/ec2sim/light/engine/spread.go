package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/images/order"
	"github.com/loads/loads/internal/unpack"
)

// A Spread is how images go between the machines of one host, which have no
// network: who has what for others, and how many bytes would have gone.
type Spread struct {
	mu      sync.Mutex
	engines map[string]*Engine // by address
	bytes   int64
}

// Bytes is how much has gone from machine to machine.
func (s *Spread) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Join has a machine be found at its address, until Leave.
func (s *Spread) Join(address string, e *Engine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engines == nil {
		s.engines = map[string]*Engine{}
	}
	s.engines[address] = e
}

// Leave ends a machine's being found.
func (s *Spread) Leave(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.engines, address)
}

// from returns what the machine at host:port serves under the digest, as a new
// image. The caller holds no engine's lock.
func (s *Spread) from(hostPort, digest string) (image, bool) {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return image{}, false
	}
	s.mu.Lock()
	e := s.engines[host]
	s.mu.Unlock()
	if e == nil {
		return image{}, false
	}
	img, ok := e.offered(digest)
	if ok {
		s.mu.Lock()
		s.bytes += img.size
		s.mu.Unlock()
	}
	return img, ok
}

// offered is an image that is in the store, and served.
func (e *Engine) offered(digest string) (image, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	serves := slices.ContainsFunc(e.containers, func(c *container) bool {
		_, images := c.program.(serving)
		return images && c.running()
	})
	img := e.stored[digest]
	if !serves || img == nil {
		return image{}, false
	}
	bare := *img
	bare.tags = nil
	return bare, true
}

// serving is the node program that gives images to others.
type serving struct{ waiting }

// getting is the node program that gets an image. What comes of it is known
// when it is started.
type getting struct {
	out  []byte
	code int
}

func (*getting) length() time.Duration { return 0 }
func (g *getting) status() int         { return g.code }
func (g *getting) asked() int          { return g.code }

func (g *getting) count(run, time.Time) int  { return min(len(g.out), 1) }
func (g *getting) at(r run, _ int) time.Time { return r.began }
func (g *getting) text(_ run, _ int) []byte  { return g.out }
func imaging(args []string) program {
	switch {
	case slices.Contains(args, "serve"):
		return serving{waiting{lasts: forever}}
	case slices.Contains(args, "get"):
		return &getting{code: 1}
	}
	return failing{}
}

// get carries an order for an image out, if the container is there for that. It
// is called without the lock, as other machines take part.
func (e *Engine) get(name string) {
	e.mu.Lock()
	c, err := e.find(name)
	if err != nil {
		e.mu.Unlock()
		return
	}
	g, gets := c.program.(*getting)
	var o order.Order
	gets = gets && json.Unmarshal(c.files[order.Path].data, &o) == nil
	e.mu.Unlock()
	if !gets {
		return
	}
	digest, img, err := e.carryOut(c, o)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		return
	}
	if e.stored == nil {
		e.stored, e.keys = map[string]*image{}, map[string]string{}
	}
	result := order.Result{Manifest: digest}
	if img != nil {
		if len(o.Peers) > 0 {
			result.Bytes = img.size
		}
		e.stored[digest] = img
	}
	e.keys[o.Key] = digest
	g.code = 0
	if g.out, err = json.Marshal(result); err == nil {
		g.out = append(g.out, '\n')
	}
}

// carryOut returns the image that an order is about; nil if it is stored.
func (e *Engine) carryOut(c *container, o order.Order) (string, *image, error) {
	switch {
	case o.Archive != nil:
		img, err := e.unpackArchive(c, *o.Archive)
		if err != nil {
			return "", nil, err
		}
		return manifestOf(img), img, nil
	case o.Node != nil:
		img, err := imageOf(o.Node.Config, e.sizeOf(c.image))
		if err != nil {
			return "", nil, err
		}
		return manifestOf(img), img, nil
	case o.Registry != nil:
		img, err := e.madeUp(o.Registry.Image)
		if err != nil {
			return "", nil, err
		}
		return manifestOf(img), img, nil
	}
	e.mu.Lock()
	if o.Manifest == "" {
		o.Manifest = e.keys[o.Key]
	}
	_, has := e.stored[o.Manifest]
	e.mu.Unlock()
	if has {
		return o.Manifest, nil, nil
	}
	for _, peer := range o.Peers {
		if img, ok := e.cfg.Spread.from(peer.Address, o.Manifest); ok {
			return o.Manifest, &img, nil
		}
	}
	return "", nil, fmt.Errorf("no machine has %s", o.Manifest)
}

func (e *Engine) sizeOf(img *image) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return img.size
}

// manifestOf stands for the digest of an image's manifest.
func manifestOf(img *image) string { return digestOf([]byte("manifest of " + img.id)) }

// unpackArchive reads an archive that was put, and removes it.
func (e *Engine) unpackArchive(c *container, a order.Archive) (*image, error) {
	e.mu.Lock()
	files, at, _ := c.place(a.Path)
	f := files[at]
	e.size -= int64(len(f.data))
	delete(files, at)
	e.mu.Unlock()
	plain, free, err := unpack.Reader(bufio.NewReader(bytes.NewReader(f.data)))
	if err != nil {
		return nil, err
	}
	defer free()
	content, err := readArchive(plain)
	if err != nil {
		return nil, err
	}
	for _, entry := range content.manifest {
		named := slices.ContainsFunc(entry.RepoTags, func(tag string) bool { return familiar(tag) == a.Image })
		if named || len(content.manifest) == 1 {
			return imageOf(content.small[entry.Config], int64(len(f.data)))
		}
	}
	return nil, fmt.Errorf("no image %s in the archive", a.Image)
}

// madeUp is an image that is known by its name only, and so an unknown program.
func (e *Engine) madeUp(ref string) (*image, error) {
	raw, err := json.Marshal(map[string]any{"architecture": e.goArch(), "os": "linux", "comment": "pulled as " + familiar(ref)})
	if err != nil {
		return nil, err
	}
	return imageOf(raw, 1<<20)
}

// pullStored pulls from what the machine itself serves on loopback.
func (e *Engine) pullStored(w http.ResponseWriter, ref, digest string) error {
	img, ok := e.offered(digest)
	if !ok {
		return faultf(http.StatusNotFound, "manifest for %s@%s not found: manifest unknown: manifest unknown", ref, digest)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tag(e.keep(&img), ref+"@"+digest)
	return writeJSON(w, http.StatusOK, map[string]string{"status": "Status: Downloaded newer image for " + ref + "@" + digest})
}

func isStored(ref string) bool {
	return strings.HasPrefix(ref, net.JoinHostPort("127.0.0.1", strconv.Itoa(order.LocalPort))+"/")
}

// importImage makes an image of the layer of the node program that another
// machine serves.
func (e *Engine) importImage(w http.ResponseWriter, r *http.Request, source string) error {
	u, err := url.Parse(source)
	if err != nil || u.Port() != strconv.Itoa(order.SeedPort) {
		return faultf(http.StatusNotImplemented, "a light machine imports the node program only, from another one")
	}
	layer := strings.TrimPrefix(u.Path, "/")
	e.cfg.Spread.mu.Lock()
	other := e.cfg.Spread.engines[u.Hostname()]
	e.cfg.Spread.mu.Unlock()
	size := int64(-1)
	if other != nil {
		size = other.seed(layer)
	}
	if size < 0 {
		return faultf(http.StatusInternalServerError, "Get %q: dial tcp %s: connect: connection refused", source, u.Host)
	}
	e.cfg.Spread.mu.Lock()
	e.cfg.Spread.bytes += size
	e.cfg.Spread.mu.Unlock()
	raw, err := json.Marshal(map[string]any{
		"architecture": e.goArch(), "os": "linux", "comment": "Imported from " + source,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer}},
	})
	if err != nil {
		return err
	}
	img, err := imageOf(raw, size)
	if err != nil {
		return err
	}
	name := r.URL.Query().Get("repo")
	if tag := r.URL.Query().Get("tag"); tag != "" {
		name += ":" + tag
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tag(e.keep(img), familiar(name))
	return writeJSON(w, http.StatusOK, map[string]string{"status": img.id})
}

// seed is the size of the layer, if it is served; else -1.
func (e *Engine) seed(layer string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	for _, c := range e.containers {
		if _, images := c.program.(serving); images && c.running() && slices.Contains(c.command, layer) {
			return c.image.size
		}
	}
	return -1
}
