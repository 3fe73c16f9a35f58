//go:build linux

package nshost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A namespace is a network namespace that lives as long as it is held open.
type namespace struct{ file *os.File }

// newNamespace makes an empty one.
func newNamespace() (*namespace, error) {
	var n namespace
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return &n, err
}

// do calls f in the namespace. Sockets made there stay there.
func (n *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that is used for nothing else afterwards, and
// isn't the process's first, whose namespace counts as the process's own.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- onThread(f) // while this one is kept from it
			runtime.UnlockOSThread()
			return
		}
		done <- f() // and the thread, locked for good, ends with the goroutine
	}()
	return <-done
}

// run runs a program in the namespace, or in this process's own if n is nil.
func (n *namespace) run(ctx context.Context, input, name string, args ...string) error {
	var inherited []*os.File
	if n != nil {
		args = append([]string{"--net=/proc/self/fd/3", "--", name}, args...)
		name = "nsenter"
		inherited = []*os.File{n.file}
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.ExtraFiles = inherited
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *namespace) close() error { return n.file.Close() }
