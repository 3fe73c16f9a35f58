package dockerctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/loads/loads/broker"
	unpackers "github.com/loads/loads/internal/unpack"
)

// newDownloader returns a client that may take as long as it must for a body,
// but not for anything before it.
func newDownloader() *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       30 * time.Second,
	}
	return &http.Client{Transport: t}
}

// openTarball opens the image tarball at the address and unpacks it on the
// way, whatever it is called: what the first bytes say counts.
func (e *Engine) openTarball(ctx context.Context, address string) (io.ReadCloser, error) {
	raw, err := e.openURL(ctx, address)
	if err != nil {
		return nil, err
	}
	t, err := unpack(raw, redact(address), e.opts.MaxTarball)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return t, nil
}

func (e *Engine) openURL(ctx context.Context, address string) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "%q, the address of the image tarball, is no URL", address)
	}
	switch u.Scheme {
	case "file":
		return openFile(u)
	case "http", "https":
		return e.download(ctx, u)
	}
	return nil, broker.Errorf(broker.EInvalid, "the image tarball %s must be at an http:, https: or file: address", redact(address))
}

// openFile opens a file: URL; file:name, without slashes, is relative to the
// working directory.
func openFile(u *url.URL) (io.ReadCloser, error) {
	path := u.Path
	if u.Opaque != "" {
		path = u.Opaque
	}
	if u.Host != "" && u.Host != "localhost" {
		return nil, broker.Errorf(broker.EInvalid, "the image tarball %s names another host; write file:///path", u)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "the image tarball %s can't be opened: %v", u, errors.Unwrap(err))
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(broker.Errorf(broker.EInvalid, "the image tarball %s is no regular file", u), f.Close())
	}
	return f, nil
}

func (e *Engine) download(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "%q, the address of the image tarball, is no URL", u.Redacted())
	}
	// Asked for nothing, the transport would ask for gzip and undo it; a
	// tarball comes as it is.
	req.Header.Set("Accept-Encoding", "identity")
	res, err := e.opts.HTTP.Do(req)
	if err != nil {
		code := broker.EInvalid
		if ctx.Err() != nil {
			code = broker.EUnavailable
		}
		return nil, &broker.Error{Code: code, Message: fmt.Sprintf("the image tarball %s can't be fetched", u.Redacted()), Err: errors.Unwrap(err)}
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(
			broker.Errorf(broker.EInvalid, "the image tarball %s can't be fetched: the server answers %s", u.Redacted(), res.Status),
			res.Body.Close())
	}
	return res.Body, nil
}

// redact hides the password in a URL, and all of what is no URL.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

// tarball is an image tarball being unpacked. It may be closed under a reader:
// the transport of a request that was answered early reads on for a while.
type tarball struct {
	raw  io.Closer
	free func()

	mu     sync.Mutex // one reads; the decompressors are for one at a time
	in     io.Reader
	closed bool
}

func (t *tarball) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, fs.ErrClosed
	}
	return t.in.Read(p)
}

// Close closes the source first, which ends a read that waits for it.
func (t *tarball) Close() error {
	err := t.raw.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.free()
	}
	return err
}

// unpack returns the tar in raw, no matter how it is compressed, as long as it
// has no more than limit bytes. Closing it closes raw.
func unpack(raw io.ReadCloser, name string, limit int64) (*tarball, error) {
	in := bufio.NewReaderSize(raw, 1<<16)
	plain, free, err := unpackers.Reader(in)
	if err != nil {
		return nil, broken(name, err)
	}
	out := bufio.NewReaderSize(&bounded{r: plain, left: limit, limit: limit, name: name}, 1<<16)
	start, err := out.Peek(tarBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		free()
		return nil, err
	}
	if len(start) < tarBlock || !bytes.Equal(start[257:262], []byte("ustar")) {
		free()
		return nil, broker.Errorf(broker.EInvalid,
			"%s is not an image tarball; make one with: docker save IMAGE | gzip > FILE", name)
	}
	return &tarball{raw: raw, free: free, in: out}, nil
}

const tarBlock = 512

func broken(name string, err error) error {
	return &broker.Error{Code: broker.EInvalid, Message: fmt.Sprintf("the image tarball %s can't be read", name), Err: err}
}

// bounded fails, rather than ends, when there is more than its limit.
type bounded struct {
	r           io.Reader
	left, limit int64
	name        string
}

func (l *bounded) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, broker.Errorf(broker.EInvalid, "the image tarball %s has more than %s unpacked",
			l.name, units.BytesSize(float64(l.limit)))
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = broken(l.name, err)
	}
	return n, err
}
