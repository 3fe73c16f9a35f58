//go:build linux

package loop

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may delay the end of a wait, so that
// ends which are near each other become one.
const timerSlack = 5 * time.Microsecond

// short is the longest sleep in which a loop keeps its processor, if it does.
const short = time.Millisecond

// wait waits for events until the next timer is due, or for Grain if that is
// sooner, and returns how many there are.
func (l *Loop) wait() (int, error) {
	l.rest()
	// A look without waiting comes first: when there is much to do it finds
	// something, and it doesn't cost what the runtime does around calls that may block.
	n, err := l.poll()
	if n > 0 || err != nil || len(l.again) > 0 || l.hasPosts.Load() {
		return n, err
	}
	l.waiting.Store(true)
	defer l.waiting.Store(false)
	if l.hasPosts.Load() { // since before waiting was set
		return 0, nil
	}
	limit := time.Duration(-1)
	if at, ok := l.timers.next(); ok {
		if limit = at.Sub(Now()); limit <= 0 {
			return 0, nil
		}
		limit = max(limit, l.Grain)
	}
	n, err = l.block(limit)
	l.woke = Now()
	return n, err
}

// rest sleeps until Rest has passed since the last waking, or a timer is due,
// if all answers that are awaited are patient. Posts wait for its end as well.
func (l *Loop) rest() {
	if l.Rest <= 0 || l.patient == 0 || l.patient < l.awaited || len(l.again) > 0 || l.hasPosts.Load() {
		return
	}
	now := Now()
	until := l.woke.Add(l.Rest)
	if at, ok := l.timers.next(); ok && at < until {
		until = max(at, now.Add(l.Grain))
	}
	if until <= now {
		return
	}
	l.sleep(until.Sub(now))
	l.woke = Now()
}

// keeps reports whether the loop keeps its processor in a call that takes so
// long, or any time below 0: then the runtime isn't told of it.
func (l *Loop) keeps(takes time.Duration) bool { return l.Keep && takes >= 0 && takes <= short }

// sleep sleeps. A signal, by which the runtime asks for the processor, ends it early.
func (l *Loop) sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	if l.keeps(d) {
		_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
		return
	}
	_, _, _ = unix.Syscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
}

// poll returns the events that there are.
func (l *Loop) poll() (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&l.events[0])), maxEvents, 0, 0, 0)
	return count(n, errno)
}

// block waits for events, for a limited time unless limit is below zero.
func (l *Loop) block(limit time.Duration) (int, error) {
	var timeout *unix.Timespec
	if limit >= 0 {
		t := unix.NsecToTimespec(int64(limit))
		timeout = &t
	}
	if l.precise {
		n, errno := l.pwait2(timeout, l.keeps(limit))
		if errno != unix.ENOSYS {
			return count(n, errno)
		}
		l.precise = false // Linux before 5.11
	}
	fds := [1]unix.PollFd{{Fd: int32(l.epoll), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds[:], timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return 0, err
	}
	return l.poll()
}

func (l *Loop) pwait2(timeout *unix.Timespec, keeps bool) (n uintptr, errno unix.Errno) {
	if keeps {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&l.events[0])), maxEvents, uintptr(unsafe.Pointer(timeout)), 0, 0)
		return n, errno
	}
	n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&l.events[0])), maxEvents, uintptr(unsafe.Pointer(timeout)), 0, 0)
	return n, errno
}

// count turns what a wait returned into a number of events: a signal is none.
func count(n uintptr, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}
