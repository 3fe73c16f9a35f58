package relay

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/metrics"
)

// What has come when a relay is told to end is read, though its time to read on
// is over at once, as on a computer that stands still.
func TestWhatHasComeIsReadHoweverLongThatTakes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			Listen: "127.0.0.1:0", TCP: true, Out: &out, Interval: 24 * time.Hour, drain: time.Nanosecond,
			Ready: func(a net.Addr) { ready <- a.String() },
		})
	}()
	var address string
	select {
	case address = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	send := func(network string, texts ...string) net.Conn {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		for _, text := range texts {
			if _, err := fmt.Fprint(conn, text); err != nil {
				t.Fatal(err)
			}
		}
		return conn
	}
	const connections, lines, packets = 100, 2000, 1000
	for range connections {
		send("tcp", strings.Repeat("lines:1|c\n", lines))
	}
	for range packets {
		send("udp", "packets:1|c")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for line := range bytes.Lines(out.Bytes()) {
		f, err := metrics.Decode(bytes.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Points {
			sums[p.Name] += p.Value
		}
	}
	if sums["lines"] != connections*lines || sums["packets"] != packets {
		t.Errorf("got %v, want %d lines and %d packets", sums, connections*lines, packets)
	}
}
