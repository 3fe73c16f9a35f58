package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// keyPoll is how often, in ms, the reader of keys looks whether it is to stop.
const keyPoll = 100

// A terminal is one that a person sits at, for question and answer.
type terminal struct {
	in *os.File
}

// terminal returns nil unless standard input and output are terminals, and the
// program is in the foreground: nobody talks to it in the background.
func (p *program) terminal() *terminal {
	in, ok := asTerminal(p.Stdin)
	if _, out := asTerminal(p.Stdout); !ok || !out || p.json {
		return nil
	}
	t := &terminal{in: in}
	if !t.foreground() {
		return nil
	}
	return t
}

// foreground reports whether what is typed goes to this program.
func (t *terminal) foreground() bool {
	group, err := unix.IoctlGetInt(int(t.in.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// asTerminal returns the file that stream is, and whether that is a terminal.
func asTerminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// quiet turns echo and line mode off, since what is typed would tear the rows
// of the live display apart. Interrupts stay signals. restore undoes it.
func (t *terminal) quiet() (restore func(), err error) {
	fd := int(t.in.Fd())
	before, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return nil, fmt.Errorf("ask terminal: %w", err)
	}
	after := *before
	after.Lflag &^= unix.ECHO | unix.ICANON
	after.Cc[unix.VMIN], after.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, ioctlSetTermios, &after); err != nil {
		return nil, fmt.Errorf("set terminal: %w", err)
	}
	return func() {
		// In the background the terminal is somebody else's, and asking to
		// change it would stop the program. One that is gone needs no restoring.
		if t.foreground() {
			_ = unix.IoctlSetTermios(fd, ioctlSetTermios, before)
		}
	}, nil
}

// keys sends what is typed until ctx ends or nothing more can come; then it
// closes the channel. What was typed before is thrown away: it answers nothing
// that has been asked.
func (t *terminal) keys(ctx context.Context) <-chan byte {
	keys := make(chan byte)
	go func() {
		defer close(keys)
		for t.readable(0) && t.read() != nil {
		}
		for ctx.Err() == nil {
			if !t.readable(keyPoll) {
				continue
			}
			typed := t.read()
			if typed == nil {
				return
			}
			for _, key := range typed {
				select {
				case keys <- key:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return keys
}

func (t *terminal) readable(wait int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}}, wait)
	return err == nil && n > 0
}

// read returns what can be read at once, nil at the end of the input.
func (t *terminal) read() []byte {
	var buf [64]byte
	n, err := unix.Read(int(t.in.Fd()), buf[:])
	if err != nil || n <= 0 {
		return nil
	}
	return buf[:n]
}
