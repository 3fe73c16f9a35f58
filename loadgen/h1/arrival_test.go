//go:build linux

package h1_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// A loop that rests takes an answer long after it has come, and yet knows when
// that was.
func TestAnswersThatLieCountFromWhenTheyCame(t *testing.T) {
	answered := make(chan time.Time, 1)
	f := func(w http.ResponseWriter, _ *http.Request) {
		answered <- time.Now()
		_, _ = io.WriteString(w, "hello")
	}
	server := httptest.NewServer(http.HandlerFunc(f))
	t.Cleanup(server.Close)
	plain := h1.Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort(server.Listener.Addr().String())}}
	const rest = 50 * time.Millisecond
	for _, tt := range []struct {
		name    string
		cfg     h1.Config
		patient bool
	}{
		{name: "of a patient exchange", cfg: plain, patient: true},
		{name: "of a patient exchange over TLS", cfg: secureServer(t, f), patient: true},
		{name: "of one that isn't patient", cfg: plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := mustPool(t, tt.cfg)
			b.on(func() { b.loop.Rest = rest })
			end := time.Now().Add(patience)
			for {
				var told loop.Instant
				r := b.exchange(func(r *record) { r.Patient = tt.patient })
				r.onSent = func() { b.loop.Await(1) }
				r.onEnd = func() {
					told = loop.Now()
					b.loop.Await(-1)
				}
				r.begin().wait()
				if r.end.Err != nil {
					t.Fatal(r.end.Err)
				}
				// The clocks by which both are told may run a little apart.
				if at := loop.At(<-answered).Add(-time.Millisecond); r.end.At < at || r.end.At > told {
					t.Errorf("was answered after %v, ended at %v, and was told at %v", at, r.end.At, told)
				}
				// A server that is kept from its work answers when the rest is over.
				lay := told.Sub(r.end.At)
				if lay > rest/4 || !tt.patient {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("the last answer lay for %v, where the loop rests for %v", lay, rest)
				}
			}
		})
	}
}

// An answer that ends with its connection ends when that does, of which the
// kernel tells no time: not with the last byte before.
func TestAnswersThatEndWithTheirConnectionEndThen(t *testing.T) {
	closed := make(chan time.Time, 1)
	const rest = 100 * time.Millisecond
	b := mustPool(t, to(mustServe(t, func(_ int, c *net.TCPConn) {
		answering(hello)(0, c)
		answering("HTTP/1.1 200 OK\r\n\r\nuntil the end")(0, c)
		<-time.After(rest / 4)
		closed <- time.Now()
	}), 1))
	b.on(func() { b.loop.Rest = rest })
	for range 5 {
		var r *record
		for range 2 { // with the first the kernel may begin to tell
			r = b.exchange(func(r *record) { r.Patient = true })
			r.onSent = func() { b.loop.Await(1) }
			r.onEnd = func() { b.loop.Await(-1) }
			if r.begin().wait(); r.end.Err != nil {
				t.Fatal(r.end.Err)
			}
		}
		if at := loop.At(<-closed); r.end.At < at {
			t.Errorf("the answer ended %v before its connection was closed", at.Sub(r.end.At))
		}
	}
}
