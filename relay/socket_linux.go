package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets one system call may read.
	batchSize = 128
	// fillRate is taken for the fastest that a socket's buffer may fill, in
	// bytes a second of kernel memory, of which the smallest packet takes 768.
	fillRate = 1 << 30
	// leastPacket is less than that, for kernels to come.
	leastPacket = 256
	// longestPause bounds how late a packet is read.
	longestPause = time.Millisecond
)

// socket is a datagram socket. It is not in the runtime's poller, which would
// wake for each packet also while its reader pauses.
type socket struct {
	fd   int
	size int    // of its buffer, bytes
	path string // to remove in the end; empty for none
	wake int    // an event that ends the wait for packets
	// pause is how long packets may gather after some were read. One system call
	// then reads many, and the thread wakes once for them. It is so short that
	// they don't fill the buffer.
	pause time.Duration
	drain time.Duration // Config's

	last  uint32 // the kernel's counter of dropped packets, which wraps around
	drops uint64
}

// newSocket takes a connection over, which it closes.
func newSocket(conn interface {
	syscall.Conn
	io.Closer
}, cfg Config,
) (*socket, error) {
	s := &socket{fd: -1, wake: -1, drain: cfg.drain}
	raw, err := conn.SyscallConn()
	if err == nil {
		var dupErr error
		err = raw.Control(func(fd uintptr) {
			s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		})
		err = errors.Join(err, dupErr, conn.Close())
	}
	if err == nil {
		s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open socket: %w", err), s.close())
	}
	if s.size, err = raiseReadBuffer(s.fd, cfg.ReadBuffer); err != nil {
		cfg.Log.Warn("socket buffer stays as it is", "error", err)
	}
	s.pause = min(longestPause, time.Duration(s.size)*time.Second/fillRate)
	if _, err := s.kernelDrops(); err != nil {
		cfg.Log.Warn("packets that the kernel drops can't be counted", "error", err)
	}
	return s, nil
}

// raiseReadBuffer makes the socket's buffer as large as is asked or else as it
// may be, and returns the size it has then. Beyond the system's limit only an
// administrator can.
func raiseReadBuffer(fd, bytes int) (int, error) {
	var err error
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
	size, getErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err := errors.Join(err, getErr); err != nil {
		return size, fmt.Errorf("raise socket buffer: %w", err)
	}
	return size, nil
}

// withRoom gives the socket as large a buffer as the kernel allows: what comes
// in bursts, while other programs have the processor, is lost when the buffer
// is full.
func withRoom(conn syscall.Conn, log *slog.Logger) {
	raw, err := conn.SyscallConn()
	if err == nil {
		var raiseErr error
		err = raw.Control(func(fd uintptr) { _, raiseErr = raiseReadBuffer(int(fd), DefaultReadBuffer) })
		err = errors.Join(err, raiseErr)
	}
	if err != nil {
		log.Warn("socket buffer stays as it is", "error", err)
	}
}

// receive passes packets to take, some at a time, until ctx is done; then
// those that have arrived until then. The slices are take's only for the call.
func (s *socket) receive(ctx context.Context, take func([][]byte)) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // before the descriptor is closed
		}
	}()
	b := newBatch()
	for ctx.Err() == nil {
		n, err := b.read(s.fd, take)
		switch {
		case err != nil:
			return err
		case n == 0:
			if err := s.wait(); err != nil {
				return err
			}
		case n < batchSize:
			s.gather()
		}
	}
	info, _ := s.meminfo() // of a kernel that can't say there is the time alone
	rest := int(info[usedAt]) / leastPacket
	for end := time.Now().Add(s.drain); rest > 0 || time.Now().Before(end); {
		n, err := b.read(s.fd, take)
		if n == 0 || err != nil {
			return err
		}
		rest -= n
	}
	return nil
}

// gather pauses. It sleeps in the kernel, and keeps its processor meanwhile:
// the runtime's own timers are no finer than a millisecond, and giving the
// processor away costs more than the packets of such a short time.
func (s *socket) gather() {
	if runtime.GOMAXPROCS(0) == 1 {
		time.Sleep(s.pause) // or nothing else would run
		return
	}
	pause := unix.NsecToTimespec(int64(s.pause))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0) // cut short by a signal is as good
}

// wait waits until a packet comes or the wait is ended.
func (s *socket) wait() error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for statsd: %w", err)
		}
	}
}

// dropped returns how many packets the kernel has dropped since the socket
// was opened; after it was closed, until then.
func (s *socket) dropped() uint64 {
	if s.fd < 0 {
		return s.drops
	}
	if now, err := s.kernelDrops(); err == nil {
		s.drops += uint64(now - s.last)
		s.last = now
	}
	return s.drops
}

// Places in what SO_MEMINFO gives: SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_DROPS.
const usedAt, dropsAt = 0, 8

// kernelDrops reads the socket's counter.
func (s *socket) kernelDrops() (uint32, error) {
	info, err := s.meminfo()
	return info[dropsAt], err
}

// meminfo asks for the values of enum SK_MEMINFO_… of linux/sock_diag.h, which all
// Linux has from 4.12 on.
func (s *socket) meminfo() (info [dropsAt + 1]uint32, err error) {
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return info, fmt.Errorf("read socket's drops: %w", errno)
	}
	return info, nil
}

func (s *socket) close() error {
	s.dropped()
	var errs []error
	for _, fd := range []*int{&s.fd, &s.wake} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	if s.path != "" {
		errs = append(errs, removeSocket(s.path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close statsd: %w", err)
	}
	return nil
}

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
}

// batch is room for the packets of one system call. A packet of UDP fits in
// whole; what is longer, on a Unix socket, is cut.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	room     []byte
	packets  [batchSize][]byte
}

// stride is from one packet's room to the next. It is no power of two, or the
// beginnings of all would fall in the same few lines of the processor's cache.
const stride = maxLine + 3*64

func newBatch() *batch {
	b := &batch{room: make([]byte, batchSize*stride)}
	for i := range b.messages {
		b.vectors[i].Base = &b.room[i*stride]
		b.vectors[i].SetLen(maxLine)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// read reads the packets that are there, without waiting, and passes them on.
func (b *batch) read(fd int, take func([][]byte)) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)),
		batchSize, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	default:
		return 0, fmt.Errorf("read statsd: %w", errno)
	}
	for i := range b.messages[:n] {
		b.packets[i] = b.room[i*stride : i*stride+int(b.messages[i].length)]
		if b.messages[i].header.Flags&unix.MSG_TRUNC != 0 {
			b.packets[i] = withoutCutLine(b.packets[i])
		}
	}
	take(b.packets[:n])
	return int(n), nil
}

// withoutCutLine makes of a line that was cut off one that is malformed: its
// value may be whole to look at, and is not.
func withoutCutLine(packet []byte) []byte {
	end := bytes.LastIndexByte(packet, '\n') + 1
	if end == len(packet) {
		return packet
	}
	packet[end] = 0
	return packet
}

// pollIn reports whether there is something to read, without waiting.
func pollIn(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// unread is how many bytes a connection has to read, as far as that is known.
func unread(fd uintptr) int {
	n, _ := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	return n
}

// queued is how many connections wait to be accepted, as far as that is known.
func queued(fd uintptr) int {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return int(info.Unacked)
}
