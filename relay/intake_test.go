package relay_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/relay"
)

func mustDial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func mustWrite(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// ledger returns that of the latest frame.
func (r *running) ledger(t *testing.T) metrics.Received {
	frames := r.frames(t)
	if len(frames) == 0 {
		return metrics.Received{}
	}
	return frames[len(frames)-1].Ledger
}

func TestRelayTakesLinesOverTCP(t *testing.T) {
	r := mustRun(t, relay.Config{TCP: true, Interval: 10 * time.Millisecond})
	const senders, lines = 5, 2000
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			conn := mustDial(t, "tcp", r.address)
			defer conn.Close()
			text := strings.Repeat("hits:1|c\nlat:5|ms|#a:b\n", lines)
			for len(text) > 0 { // cut anywhere
				n := min(len(text), 777)
				mustWrite(t, conn, text[:n])
				text = text[n:]
			}
			mustWrite(t, conn, "last:1|c") // without an end
		})
	}
	wg.Wait()
	const want = senders * (2*lines + 1)
	until(t, "all values", func() bool { return r.ledger(t).Values == want })
	frames := r.end(t)
	got := summary(frames)
	if got["hits"].Count != senders*lines || got["lat"].Count != senders*lines || got["last"].Count != senders {
		t.Errorf("got %v hits, %v latencies, %v last", got["hits"].Count, got["lat"].Count, got["last"].Count)
	}
	if l := frames[len(frames)-1].Ledger; l.Malformed != 0 || l.Datagrams != 0 || l.Refused != 0 {
		t.Errorf("ledger: got %+v, want values only", l)
	}
}

func TestRelayReadsTCPToItsEndBeforeTheFinalFrame(t *testing.T) {
	r := mustRun(t, relay.Config{TCP: true, Interval: 10 * time.Millisecond})
	conn := mustDial(t, "tcp", r.address)
	mustWrite(t, conn, "hits:1|c\n")
	until(t, "the first value", func() bool { return r.ledger(t).Values == 1 })
	mustWrite(t, conn, "hits:1|c\nhits:1|c\nhi") // and no more
	frames := r.end(t)
	l := frames[len(frames)-1].Ledger
	if summary(frames)["hits"].Count != 3 || l.Malformed != 1 || l.Notes.Malformed[0] != "hi: connection ended within the line" {
		t.Errorf("got %v hits, ledger %+v, want 3 and a line cut off", summary(frames)["hits"].Count, l)
	}
}

// Who has connected, sent and gone has been heard, though the relay is told to
// end before it comes to that.
func TestRelayReadsConnectionsThatItHasNotAcceptedBeforeItsEnd(t *testing.T) {
	r := mustRun(t, relay.Config{TCP: true, Interval: never})
	const senders, lines = 100, 200
	for range senders {
		conn := mustDial(t, "tcp", r.address)
		mustWrite(t, conn, strings.Repeat("hits:1|c\n", lines)+"last:1|c")
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	frames := r.end(t)
	got := summary(frames)
	if l := frames[len(frames)-1].Ledger; got["hits"].Count != senders*lines || got["last"].Count != senders || l.Malformed+l.Refused != 0 {
		t.Errorf("got %v hits, %v last, ledger %+v, want %d and %d", got["hits"].Count, got["last"].Count, l, senders*lines, senders)
	}
}

func TestRelayPassesOverAnEndlessLineOfTCP(t *testing.T) {
	r := mustRun(t, relay.Config{TCP: true, Interval: 10 * time.Millisecond})
	conn := mustDial(t, "tcp", r.address)
	mustWrite(t, conn, "hits:1|c\n"+strings.Repeat("x", 1<<20)+"\nhits:2|c\n")
	until(t, "both values", func() bool { return r.ledger(t).Values == 2 })
	frames := r.end(t)
	if l := frames[len(frames)-1].Ledger; l.Malformed != 1 || summary(frames)["hits"].Count != 3 {
		t.Errorf("got %v hits, ledger %+v, want 3 and one malformed line", summary(frames)["hits"].Count, l)
	}
}

func TestRelayCountsConnectionsItRefuses(t *testing.T) {
	r := mustRun(t, relay.Config{TCP: true, Interval: 10 * time.Millisecond})
	for range 300 {
		mustDial(t, "tcp", r.address)
	}
	until(t, "44 refused connections", func() bool { return r.ledger(t).Refused == 300-256 })
}

func TestRelayTakesDatagramsOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "statsd.sock")
	for range 2 { // the second replaces what a killed one would have left
		left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
		r := mustRun(t, relay.Config{UnixSocket: path, Interval: never})
		conn := mustDial(t, "unixgram", path)
		for i := range 500 {
			mustWrite(t, conn, fmt.Sprintf("lat:%d|ms\nhits:1|c", i))
		}
		mustWrite(t, conn, "hits:1|c\nlong."+strings.Repeat("x", 70_000)+":7|c")
		send(t, r.address, "hits:1|c")
		frames := r.end(t)
		got, l := summary(frames), frames[len(frames)-1].Ledger
		if got["hits"].Count != 502 || got["lat"].Max != 499 || l.Datagrams != 502 || l.Malformed != 1 || l.KernelDropped != 0 {
			t.Errorf("got %v hits, ledger %+v, want 502, and the line that was cut", got["hits"].Count, l)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the socket is left behind")
		}
	}
}

func TestRelayLeavesAFileThatIsNoSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := relay.Run(t.Context(), relay.Config{Listen: "127.0.0.1:0", UnixSocket: path})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("got %q, %v, want the file as it was", text, err)
	}
}

func TestRelayCountsDistinctMembersOfSets(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: never})
	send(t, r.address, "users:alice|s\nusers:bob|s\nusers:alice|s|@0.1", "users:alice|s|#a:b")
	if got := summary(r.end(t))["users"].Count; got != 2 {
		t.Errorf("got %v users, want 2", got)
	}
}
