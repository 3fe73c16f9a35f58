//go:build linux

package h1_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/h1"
)

// secureServer serves HTTP over TLS, and returns what a pool needs for it.
func secureServer(t *testing.T, f http.HandlerFunc) h1.Config {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return h1.Config{
		Addresses: []netip.AddrPort{netip.MustParseAddrPort(server.Listener.Addr().String())}, Max: 4,
		TLS: &tls.Config{InsecureSkipVerify: true, ServerName: "server.test"}, ConnectTimeout: patience, HandshakeTimeout: patience,
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%s %s %d", r.Proto, r.Host, n)
}

func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg := secureServer(t, echo)
			cfg.TLS.MinVersion, cfg.TLS.MaxVersion = version, version
			cfg.Min, cfg.Max = 1, 1
			b := mustPool(t, cfg)
			ready := make(chan error, 1)
			b.on(func() { b.pool.Open(func(err error) { ready <- err }) })
			if err := <-ready; err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{0, 10, 5 << 20} {
				r := b.exchange(func(r *record) { r.Request = mustRequest(t, "POST", make([]byte, size)) }).begin().wait()
				if want := fmt.Sprintf("HTTP/1.1 server.test %d", size); r.end.Err != nil || r.body.String() != want || r.sent != 1 {
					t.Errorf("got %q, error %v, want %q", r.body.String(), r.end.Err, want)
				}
				if r.end.BytesOut < int64(size) || r.end.BytesIn < int64(r.body.Len()) {
					t.Errorf("got %d bytes in, %d out", r.end.BytesIn, r.end.BytesOut)
				}
			}
			b.on(func() {
				if s := b.pool.Stats(); s.Opened != 1 || s.Connections != 1 {
					t.Errorf("got %+v, want one connection", s)
				}
			})
		})
	}
}

func TestTLSOfServersThatFail(t *testing.T) {
	silent := mustServe(t, func(_ int, c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	plainly := mustServe(t, func(_ int, c *net.TCPConn) {
		_, _ = io.WriteString(c, hello)
		_, _ = io.Copy(io.Discard, c)
	})
	closing := mustServe(t, func(int, *net.TCPConn) {})
	trusting := secureServer(t, echo)
	trusting.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "server.test"}
	cases := []struct {
		name string
		cfg  h1.Config
		want h1.Kind
		text string
	}{
		{"never answers", h1.Config{Addresses: []netip.AddrPort{silent}, HandshakeTimeout: 50 * time.Millisecond}, h1.Handshake, "in time"},
		{"speaks no TLS", h1.Config{Addresses: []netip.AddrPort{plainly}}, h1.Handshake, "does not look like a TLS handshake"},
		{"closes", h1.Config{Addresses: []netip.AddrPort{closing}}, h1.Handshake, "set up TLS with"},
		{"is not trusted", trusting, h1.Handshake, "certificate"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg.TLS == nil {
				c.cfg.TLS = &tls.Config{InsecureSkipVerify: true}
			}
			b := mustPool(t, c.cfg)
			r := b.exchange().begin().wait()
			if r.kind() != c.want || !strings.Contains(r.end.Err.Error(), c.text) || r.sent != 0 {
				t.Errorf("got %v: %v, want %v with %q", r.kind(), r.end.Err, c.want, c.text)
			}
		})
	}
}

func TestTLSIsGivenUpWhenThePoolCloses(t *testing.T) {
	b := mustPool(t, h1.Config{
		Addresses: []netip.AddrPort{mustServe(t, func(_ int, c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })},
		TLS:       &tls.Config{InsecureSkipVerify: true},
	})
	r := b.exchange().begin()
	b.on(b.pool.Close)
	if r.wait(); r.kind() != h1.Cancelled {
		t.Errorf("got %v, want that it was cancelled", r.end.Err)
	}
}

func TestTLSThatBreaks(t *testing.T) {
	cfg := secureServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "only this")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	b := mustPool(t, cfg)
	if r := b.exchange().begin().wait(); r.kind() != h1.Reset || r.status != 200 {
		t.Errorf("got status %d, error %v, want that it was reset", r.status, r.end.Err)
	}
}

func TestLongBodiesOverTLSTakeNoMemory(t *testing.T) {
	const size = 1 << 30
	cfg := secureServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		piece := make([]byte, 64<<10)
		for range size / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	b := mustPool(t, cfg)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := b.exchange(func(r *record) { r.discard = true }).begin().wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if r.end.Err != nil || r.bytes != size {
		t.Fatalf("got %d bytes, %v", r.bytes, r.end.Err)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
}

func TestHoldsAndLimitsOverTLS(t *testing.T) {
	cfg := secureServer(t, echo)
	cfg.Max = 2
	b := mustPool(t, cfg)
	var all []*record
	for range 20 {
		all = append(all, b.exchange().begin())
	}
	for _, r := range all {
		if r.wait(); r.end.Err != nil {
			t.Fatal(r.end.Err)
		}
	}
	var hold h1.Hold
	r := b.exchange(func(r *record) { r.Hold = &hold }).begin().wait()
	b.on(func() { b.pool.Release(&hold, true) })
	b.on(func() {
		if s := b.pool.Stats(); r.end.Err != nil || s.Opened > 3 || s.Closed < 1 {
			t.Errorf("got %+v, %v", s, r.end.Err)
		}
	})
}
