package loadgen_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/loadgen"
)

// statsdSink receives what a client sends.
type statsdSink struct{ conn net.PacketConn }

func listenStatsd(t *testing.T) statsdSink {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return statsdSink{conn}
}

func (s statsdSink) client(t *testing.T) *loadgen.Statsd {
	t.Helper()
	c, err := loadgen.DialStatsd(s.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// packets receives until there are so many lines.
func (s statsdSink) packets(t *testing.T, lines int) []string {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	var packets []string
	buf := make([]byte, 64<<10)
	for n := 0; n < lines; {
		size, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			t.Fatalf("after %d of %d lines: %v", n, lines, err)
		}
		packets = append(packets, string(buf[:size]))
		n += strings.Count(packets[len(packets)-1], "\n") + 1
	}
	return packets
}

func (s statsdSink) lines(t *testing.T, n int) []string {
	t.Helper()
	return strings.Split(strings.Join(s.packets(t, n), "\n"), "\n")
}

func TestStatsdSendsManyLinesInAPacket(t *testing.T) {
	sink := listenStatsd(t)
	c := sink.client(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for range 30 {
				c.Count(fmt.Sprint("hits", i), 2)
				c.Time("lat", 1500*time.Microsecond, "status:200", "path:/a")
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	packets := sink.packets(t, 600)
	for _, p := range packets {
		if len(p) > 1400 || strings.HasSuffix(p, "\n") {
			t.Errorf("got a packet of %d bytes that ends in %q, want at most 1400 and no line break", len(p), p[len(p)-1:])
		}
	}
	lines := strings.Split(strings.Join(packets, "\n"), "\n")
	if len(packets) > 60 || count(lines, "hits3:2|c") != 30 || count(lines, "lat:1.5|ms|#status:200,path:/a") != 300 {
		t.Errorf("got %d packets, %d and %d lines, want less than 60, 30 and 300", len(packets),
			count(lines, "hits3:2|c"), count(lines, "lat:1.5|ms|#status:200,path:/a"))
	}
}

func TestStatsdDoesNotKeepLinesForLong(t *testing.T) {
	sink := listenStatsd(t)
	c := sink.client(t)
	c.Count("hits", 1)
	if got := sink.lines(t, 1); got[0] != "hits:1|c" { // before Close
		t.Errorf("got %q, want hits:1|c", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStatsdSaysWhenNobodyListens(t *testing.T) {
	sink := listenStatsd(t)
	c := sink.client(t)
	if err := sink.conn.Close(); err != nil {
		t.Fatal(err)
	}
	// The first packet comes back as refused; a later one reports it.
	long := strings.Repeat("x", 1300)
	for range 20 {
		c.Count(long, 1)
	}
	if err := c.Close(); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want an error about refused packets", err)
	}
}

func TestStatsdNilSendsNothing(t *testing.T) {
	var c *loadgen.Statsd
	c.Count("hits", 1)
	c.Time("lat", time.Second)
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func count(lines []string, want string) int {
	n := 0
	for _, l := range lines {
		if l == want {
			n++
		}
	}
	return n
}
