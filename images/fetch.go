package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/loads/loads/images/order"
)

// A Fetcher gets what an order wants into a store.
type Fetcher struct {
	Store *Store
	Files Files // for peers
	// Root is where the files of the node image are.
	Root string
	// Silence is how long a source may send nothing; 0 is 20 seconds.
	Silence time.Duration
	// Slowest is what a source must send, in bytes a second and over Silence,
	// if there is another one; 0 is 64 KiB.
	Slowest int64

	result order.Result
}

// Get does what the order says. What is in the store already is not fetched.
func (f *Fetcher) Get(ctx context.Context, o order.Order) (order.Result, error) {
	if f.Silence == 0 {
		f.Silence = 20 * time.Second
	}
	if f.Slowest == 0 {
		f.Slowest = 64 << 10
	}
	f.result = order.Result{}
	var err error
	switch {
	case o.Archive != nil:
		f.result.Manifest, err = f.Store.Unpack(ctx, *o.Archive)
		err = errors.Join(err, removeIfThere(o.Archive.Path))
	case o.Node != nil:
		f.result.Manifest, err = f.Store.Cook(*o.Node, f.Root)
	case o.Registry != nil:
		f.result.Manifest, err = f.fromRegistry(ctx, *o.Registry)
	case o.Manifest != "":
		f.result.Manifest, err = o.Manifest, f.fromPeers(ctx, o.Manifest, o.Peers)
	default:
		f.result.Manifest, err = f.Store.known(o.Key)
		return f.result, err
	}
	if err != nil {
		return f.result, err
	}
	return f.result, f.Store.know(o.Key, f.result.Manifest)
}

// A source gives blobs. what is wrong with it is in its errors.
type source interface {
	// open returns the blob from an offset on.
	open(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error)
	String() string
}

// fromPeers gets the image with the manifest, which is stored last.
func (f *Fetcher) fromPeers(ctx context.Context, digest string, peers []order.Peer) error {
	if m, _, err := f.Store.manifest(digest); err == nil && f.hasAll(m) {
		return nil
	}
	var sources []source
	if len(peers) > 0 {
		pair, pool, err := f.Files.load()
		if err != nil {
			return err
		}
		for _, p := range peers {
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{
					MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: p.Name,
				},
				DialContext:         (&net.Dialer{Timeout: f.Silence / 2}).DialContext,
				TLSHandshakeTimeout: f.Silence, ResponseHeaderTimeout: f.Silence,
			}
			defer transport.CloseIdleConnections()
			sources = append(sources, &peer{address: p.Address, client: &http.Client{Transport: transport}})
		}
	}
	raw, err := f.manifest(ctx, digest, sources)
	if err != nil {
		return err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return err
	}
	if err := f.parts(ctx, m, sources); err != nil {
		return err
	}
	_, _, err = f.Store.Put(digest, bytes.NewReader(raw))
	return err
}

// manifest gets the bytes of one, from whichever source has them right.
func (f *Fetcher) manifest(ctx context.Context, digest string, sources []source) (raw []byte, err error) {
	err = f.right(sources, func(sources []source) error {
		var buf bytes.Buffer
		n, err := f.blob(ctx, &buf, descriptor{Digest: digest, Size: -1}, sources)
		f.result.Bytes += n
		if err != nil {
			return err
		}
		raw = buf.Bytes()
		sum := sha256.Sum256(raw)
		return checkDigest(digest, sum[:])
	})
	return raw, err
}

// right calls get, and again without the first source as long as the bytes that
// came were wrong, which is known at the end.
func (f *Fetcher) right(sources []source, get func([]source) error) error {
	for {
		err := get(sources)
		var wrong *digestError
		if !errors.As(err, &wrong) {
			return err
		}
		f.fault(sources[0], err)
		if sources = sources[1:]; len(sources) == 0 {
			return err
		}
	}
}

func (f *Fetcher) hasAll(m manifest) bool {
	return !slices.ContainsFunc(m.parts(), func(d descriptor) bool { return !f.Store.has(d.Digest) })
}

// parts gets what a manifest names, one after the other.
func (f *Fetcher) parts(ctx context.Context, m manifest, sources []source) error {
	for _, d := range m.parts() {
		if f.Store.has(d.Digest) {
			continue
		}
		if d.Size < 0 {
			return fmt.Errorf("a manifest says that %s has %d bytes", d.Digest, d.Size)
		}
		if err := f.part(ctx, d, sources); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fetcher) part(ctx context.Context, d descriptor, sources []source) error {
	return f.right(sources, func(sources []source) (err error) {
		w, err := f.Store.create()
		if err != nil {
			return &localError{err}
		}
		defer func() { err = errors.Join(err, w.close()) }()
		n, err := f.blob(ctx, w, d, sources)
		f.result.Bytes += n
		if err != nil {
			return err
		}
		_, err = w.keep(d.Digest)
		var wrong *digestError
		if err != nil && !errors.As(err, &wrong) {
			return &localError{err}
		}
		return err
	})
}

// blob copies a blob from the first source that has it, and goes on with the
// next where one stops. A size that is not known is -1: such a blob is small.
func (f *Fetcher) blob(ctx context.Context, w io.Writer, d descriptor, sources []source) (n int64, err error) {
	err = errors.New("no machine has it")
	for i, s := range sources {
		var got int64
		got, err = f.copy(ctx, w, d, n, s, i < len(sources)-1)
		n += got
		if err == nil || ctx.Err() != nil {
			return n, err
		}
		if IsLocal(err) {
			return n, err
		}
		f.fault(s, err)
	}
	return n, fmt.Errorf("get %s: %w", d.Digest, err)
}

// A localError is none of the source's.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

// IsLocal reports whether an error is that of the machine itself, not of a
// source of what it was to get.
func IsLocal(err error) bool {
	var local *localError
	return errors.As(err, &local)
}

func (f *Fetcher) fault(s source, err error) {
	f.result.Faults = append(f.result.Faults, fmt.Sprintf("%s: %v", s, err))
}

var errSlow = errors.New("it is too slow")

// copy copies a blob from an offset on. A source that sends nothing for long,
// or too little if there is another, is given up.
func (f *Fetcher) copy(ctx context.Context, w io.Writer, d descriptor, offset int64, s source, other bool) (n int64, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	least := int64(1)
	if other {
		least = f.Slowest * int64(f.Silence/time.Millisecond) / 1000
	}
	flow := newFlow(f.Silence, least, func() { stop(errSlow) })
	defer flow.end()
	body, err := s.open(ctx, d, offset)
	if err != nil {
		return 0, cause(ctx, err)
	}
	defer body.Close()
	limit := d.Size - offset
	if d.Size < 0 {
		limit = maxManifest
	}
	in := io.LimitReader(body, limit+1)
	buf := make([]byte, 256<<10)
	for {
		got, readErr := in.Read(buf)
		if n += int64(got); n > limit {
			return n - int64(got), errors.New("it sends more than the image has")
		}
		if _, err := w.Write(buf[:got]); err != nil {
			return n, &localError{err}
		}
		flow.add(got)
		switch {
		case errors.Is(readErr, io.EOF) && (d.Size < 0 || n == limit):
			return n, nil
		case errors.Is(readErr, io.EOF):
			return n, io.ErrUnexpectedEOF
		case readErr != nil:
			return n, cause(ctx, readErr)
		}
	}
}

// cause prefers why ctx was ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// A peer is another machine.
type peer struct {
	address string
	client  *http.Client
}

func (p *peer) String() string { return p.address }

func (p *peer) open(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.address+"/blobs/"+d.Digest, nil)
	if err != nil {
		return nil, err
	}
	want := http.StatusOK
	if offset > 0 {
		want = http.StatusPartialContent
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != want {
		return nil, errors.Join(fmt.Errorf("it answers %s", res.Status), res.Body.Close())
	}
	return res.Body, nil
}
