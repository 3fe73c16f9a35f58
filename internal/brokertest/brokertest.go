// Package brokertest builds the programs as they are shipped, and runs brokers
// as processes, for tests that kill them.
package brokertest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// patience is how long a broker may take to listen, and to end, on a busy
// computer.
const patience = 5 * time.Minute

// Build builds loads, with the race detector, and the node program for this
// computer into the folder.
func Build(dir string) error {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	for _, build := range [][]string{
		{"CGO_ENABLED=1", "build", "-race", "-o", filepath.Join(dir, "loads"), "./cmd/loads"},
		{"CGO_ENABLED=0", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "loads-node-linux-"+runtime.GOARCH), "./cmd/loads-node"},
	} {
		cmd := exec.Command("go", build[1:]...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), build[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	}
	return nil
}

// A Process is one life of a broker. Another on the same folder goes on where
// it was killed.
type Process struct {
	URL string // of its API

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended, and was waited for
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// Start starts the broker of the folder bin on a free port of the loopback
// interface, with its database in the folder dir, and returns when it listens.
// env is added to the test's environment. The process's log goes to Log(dir).
func Start(bin, dir string, env []string, args ...string) (*Process, error) {
	args = append([]string{"broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(dir, "loads.db")}, args...)
	p := &Process{cmd: exec.Command(filepath.Join(bin, "loads"), args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	log, err := os.OpenFile(Log(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has it too
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	url := make(chan string, 1)
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if u := listening.FindString(lines.Text()); u != "" {
				url <- u
			}
		}
		_ = p.cmd.Wait()
	}()
	select {
	case p.URL = <-url:
		return p, nil
	case <-p.done:
		return nil, errors.New("the broker ended at its start")
	case <-time.After(patience):
		p.Kill()
		return nil, fmt.Errorf("the broker did not listen within %v", patience)
	}
}

// Log is the file that brokers on the folder log to.
func Log(dir string) string { return filepath.Join(dir, "broker.log") }

// Kill ends the process as kill -9 does, and waits for its end. It may be called
// again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop ends the process in order; it is an error when that does not succeed.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		return fmt.Errorf("the broker did not end within %v of SIGTERM", patience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the broker ended with code %d", code)
	}
	return nil
}
