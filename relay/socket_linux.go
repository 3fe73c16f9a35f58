package relay

import (
	"fmt"
	"net"
	"syscall"
)

// readBufferSize is asked for the socket: at 100,000 packets a second the
// kernel then holds about a third of a second.
const readBufferSize = 32 << 20

// raiseReadBuffer makes the socket's buffer as large as it may be, and returns
// the size it has then. Beyond the system's limit only an administrator can.
func raiseReadBuffer(conn *net.UDPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("raise socket buffer: %w", err)
	}
	var size int
	var setErr, getErr error
	err = raw.Control(func(fd uintptr) {
		s := int(fd)
		if syscall.SetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, readBufferSize) != nil {
			setErr = syscall.SetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_RCVBUF, readBufferSize)
		}
		size, getErr = syscall.GetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	})
	for _, err := range []error{err, setErr, getErr} {
		if err != nil {
			return size, fmt.Errorf("raise socket buffer: %w", err)
		}
	}
	return size, nil
}
