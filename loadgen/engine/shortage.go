package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/h1"
)

// A shortage is how many connections could not be made for want of something
// that this machine has to have.
type shortage struct{ ports, sockets int64 }

// note counts a connection that could not be made.
func (s *shortage) note(err error) {
	if isWithoutPort(err) {
		s.ports++
		return
	}
	s.sockets++
}

// isWithoutPort reports whether an error of the kernel is the lack of a port to
// connect from.
func isWithoutPort(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EADDRINUSE)
}

// What to do about a shortage.
const (
	morePorts   = "keep connections open, have the service at more addresses, widen net.ipv4.ip_local_port_range, or use more machines"
	moreSockets = "raise the limit of open files (ulimits nofile of a step), keep fewer connections, or use more machines"
)

// Exhausted says, when Run could not begin for want of ports or sockets on this
// machine, so; that is no fault of the servers. It is empty for all other errors.
func Exhausted(err error) string {
	switch {
	case h1.KindOf(err) != h1.Exhausted:
		return ""
	case isWithoutPort(err):
		return fmt.Sprintf("the first connections could not be made since this machine had no port left: %v; %s", err, morePorts)
	}
	return fmt.Sprintf("the first connections could not be made since this machine had no socket left: %v; %s", err, moreSockets)
}
