//go:build linux

package h1

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/loop"
)

// arrivals reads sockets and learns from the kernel when what is read has come,
// for a loop that looks only now and then. The kernel tells by the clock on the
// wall, which may be set meanwhile, so what it tells is believed only as far as
// it can be true.
type arrivals struct {
	loop    *loop.Loop
	at      loop.Instant // of what was read last, 0 for now
	message unix.Msghdr
	vector  unix.Iovec
	control [controlSize]byte
}

// controlSize has room for the one thing that is asked for.
const controlSize = 64

// stamp has the kernel take down when something comes. Where it can't, answers
// count as read.
func stamp(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }

// receive does what the function of this name does.
func (a *arrivals) receive(fd int, b []byte) (int, unix.Errno) {
	since, ok := a.loop.Rested()
	if !ok {
		return receive(fd, b)
	}
	a.vector.Base = &b[0]
	a.vector.SetLen(len(b))
	a.message.Iov, a.message.Iovlen = &a.vector, 1
	a.message.Control = &a.control[0]
	a.message.SetControllen(len(a.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&a.message)), 0)
	a.vector.Base = nil
	if errno == 0 && n > 0 {
		a.at = a.told(since)
	}
	return int(n), errno
}

// told returns when what was just read has come, which was since the loop
// looked last.
func (a *arrivals) told(since loop.Instant) loop.Instant {
	header := (*unix.Cmsghdr)(unsafe.Pointer(&a.control[0]))
	if a.message.Controllen < unix.SizeofCmsghdr+16 || header.Level != unix.SOL_SOCKET || header.Type != unix.SO_TIMESTAMPNS {
		return 0
	}
	at := (*unix.Timespec)(unsafe.Pointer(&a.control[unix.SizeofCmsghdr]))
	now := time.Now() // by both clocks
	return min(loop.At(now), max(since, loop.At(now)-loop.Instant(now.UnixNano()-at.Nano())))
}

// end returns when an answer ended that was just read, to a request of that
// time.
func (a *arrivals) end(sent loop.Instant) loop.Instant {
	if a.at != 0 {
		return max(a.at, sent)
	}
	return a.loop.Now()
}
