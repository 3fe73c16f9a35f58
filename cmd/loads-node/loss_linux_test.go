package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"syscall"
	"testing"
)

// TestRelayCountsWhatTheKernelDrops stops the relay in its tracks, so that its
// socket's buffer of 4 KB is soon full.
func TestRelayCountsWhatTheKernelDrops(t *testing.T) {
	relay, statsd := startRelay(t, "--read-buffer", "4096")
	conn, err := net.Dial("udp", statsd)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const packets = 5000
	for i := range packets {
		switch i {
		case 1000:
			stopProcess(t, relay)
		case 3000:
			sendSignal(t, relay, syscall.SIGCONT)
		}
		if _, err := fmt.Fprint(conn, "hits:1|c\nlat:7|ms"); err != nil {
			t.Fatal(err)
		}
	}
	got, ledger := endRelay(t, relay, syscall.SIGTERM)
	if ledger.KernelDropped < 1900 || ledger.Datagrams+ledger.KernelDropped != packets {
		t.Errorf("got %d received and %d dropped, want %d together, and most of 2000 dropped", ledger.Datagrams, ledger.KernelDropped, packets)
	}
	if n := float64(ledger.Datagrams); got["hits"].Count != n || got["lat"].Count != n {
		t.Errorf("got %v hits, %v latencies, want %v", got["hits"].Count, got["lat"].Count, n)
	}
	await(t, relay.stderr, `(packets are lost)`)
}

// stopProcess stops the process and waits until it stands still.
func stopProcess(t *testing.T, p *process) {
	t.Helper()
	sendSignal(t, p, syscall.SIGSTOP)
	stopped := regexp.MustCompile(`(?m)^State:\s+T`)
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if stopped.Match(status) {
			return
		}
	}
}

func sendSignal(t *testing.T, p *process, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}
