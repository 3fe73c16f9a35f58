package dockerctl

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// roundTrip is the shortest time that the connection's packets have taken to the
// other end and back lately, as the kernel has measured it; 0 when it has not.
func roundTrip(c net.Conn) time.Duration {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0 // it is closed, which whoever uses it finds out
	}
	var shortest time.Duration
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Min_rtt != noRoundTrip {
			shortest = time.Duration(info.Min_rtt) * time.Microsecond
		}
	})
	if err != nil {
		return 0
	}
	return shortest
}

// noRoundTrip is what the kernel says before it has measured any.
const noRoundTrip = 1<<32 - 1
