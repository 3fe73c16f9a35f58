package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/internal/waittest"
)

// A pty is a terminal whose person is the test.
type pty struct {
	tty    *os.File        // what the program has
	output waittest.Buffer // all that the program has written
	keys   io.Writer
}

// openPTY opens a terminal of that size, closed with the test.
func openPTY(t *testing.T, width, height uint16) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	control(t, master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{tty: tty, keys: master}
	var reading sync.WaitGroup
	reading.Go(func() {
		// The reading ends when the last holder of the terminal closes it.
		_, _ = io.Copy(&p.output, master)
	})
	t.Cleanup(func() {
		tty.Close()
		master.Close()
		reading.Wait()
	})
	return p
}

// control calls f with the file's descriptor, which stays non-blocking.
func control(t *testing.T, file *os.File, f func(fd int) error) {
	t.Helper()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
}

// press types on the terminal.
func (p *pty) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(p.keys, keys); err != nil {
		t.Fatal(err)
	}
}

// echoes reports whether what is typed is shown, as after login.
func (p *pty) echoes(t *testing.T) bool {
	t.Helper()
	var mode *unix.Termios
	control(t, p.tty, func(fd int) (err error) {
		mode, err = unix.IoctlGetTermios(fd, ioctlGetTermios)
		return err
	})
	return mode.Lflag&unix.ECHO != 0 && mode.Lflag&unix.ICANON != 0
}

// withoutEscapes takes cursor movements away.
func withoutEscapes(s string) string {
	return regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(s, "")
}
