package relay

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetwork calls f in a network of its own, whose kernel gives the ports 40000
// and 40001.
func inNetwork(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root can make a network; run the tests as root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("make a network: %v", err)
			return
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Errorf("bring it up: %v: %s", err, out)
			return
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40001"), 0); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestListenBoth(t *testing.T) {
	inNetwork(t, func() {
		taken, err := net.Listen("tcp", "127.0.0.1:40000")
		if err != nil {
			t.Error(err)
			return
		}
		defer taken.Close()
		for range 10 { // in half of which the kernel gives the other port first
			udp, tcp, err := listenBoth(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Errorf("got %v, want the port that is free for both", err)
				return
			}
			if a, b := udp.LocalAddr().String(), tcp.Addr().String(); a != "127.0.0.1:40001" || b != a {
				t.Errorf("got %s and %s, want 127.0.0.1:40001 for both", a, b)
			}
			_ = udp.Close()
			_ = tcp.Close()
		}
		if _, _, err := listenBoth(t.Context(), "127.0.0.1:40000"); err == nil {
			t.Error("listened on a port that is taken for TCP")
		}
	})
}
