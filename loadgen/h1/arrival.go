//go:build linux

package h1

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/loop"
)

// arrivals reads sockets and learns from the kernel when what is read has come,
// for answers that lie until the loop looks, or until it comes to them.
type arrivals struct {
	at      loop.Instant // of what was read last, 0 if it isn't known
	known   bool         // the kernel has told of what was read last
	message unix.Msghdr
	vector  unix.Iovec
	control [64]byte // room for the one thing that is asked for
}

// stamp has the kernel take down when something comes. It begins some time
// later, if no program on the machine has asked for that before: until then, and where
// it can't, answers are read at once.
func stamp(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }

// receive does what the function of this name does, and takes down when the
// last of what was read has come.
func (a *arrivals) receive(fd int, b []byte) (int, unix.Errno) {
	a.vector.Base = &b[0]
	a.vector.SetLen(len(b))
	a.message.Iov, a.message.Iovlen = &a.vector, 1
	a.message.Control = &a.control[0]
	a.message.SetControllen(len(a.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&a.message)), 0)
	a.vector.Base = nil
	if errno == 0 && n > 0 {
		a.at = a.told()
		a.known = a.at != 0
	}
	return int(n), errno
}

// told returns when the kernel says that what was just read has come, 0 if it
// says nothing.
func (a *arrivals) told() loop.Instant {
	header := (*unix.Cmsghdr)(unsafe.Pointer(&a.control[0]))
	if a.message.Controllen < unix.SizeofCmsghdr+16 || header.Level != unix.SOL_SOCKET || header.Type != unix.SO_TIMESTAMPNS {
		return 0
	}
	at := (*unix.Timespec)(unsafe.Pointer(&a.control[unix.SizeofCmsghdr]))
	now, wall := loop.Clocks() // the kernel tells the time on the wall
	return now.Add(time.Duration(at.Nano() - wall.UnixNano()))
}

// end returns when an answer ended that was just read: as far as that can be
// true, when the kernel says, as the clock on the wall may have been set meanwhile.
func (a *arrivals) end(sent, now loop.Instant) loop.Instant {
	if a.at == 0 {
		return now
	}
	return min(now, max(sent, a.at))
}
