//go:build linux

package initd

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// processes starts programs and reaps all that ends in the machine, which is
// process 1's duty. Nothing else in this program may wait for a child.
type processes struct {
	mu      sync.Mutex
	running map[int]*process
}

// A process is a program that has been started.
type process struct {
	pid    int
	ended  chan struct{} // closed when it has
	status syscall.WaitStatus
}

// A command says how a program is started.
type command struct {
	argv  []string
	env   []string
	dir   string
	out   *os.File   // standard output and error
	files []*os.File // from descriptor 3 on
}

func newProcesses() *processes { return &processes{running: map[int]*process{}} }

// reap runs for as long as the machine does.
func (p *processes) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for p.reapOne() {
		}
	}
}

// reapOne reports whether there was one. It waits under the lock, so that a
// process that ends at once is known before it is reaped.
func (p *processes) reapOne() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if err == syscall.EINTR {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if c, ok := p.running[pid]; ok {
		delete(p.running, pid)
		c.status = status
		close(c.ended)
	}
	return true
}

// start starts a program in a session of its own.
func (p *processes) start(c command) (*process, error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fds := []uintptr{null.Fd(), c.out.Fd(), c.out.Fd()}
	for _, f := range c.files {
		fds = append(fds, f.Fd())
	}
	path, err := lookPath(c.argv[0])
	if err != nil {
		return nil, err
	}
	dir := c.dir
	if dir == "" {
		dir = "/"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(path, c.argv, &syscall.ProcAttr{
		Dir: dir, Env: c.env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	child := &process{pid: pid, ended: make(chan struct{})}
	p.running[pid] = child
	return child, nil
}

// err says how an ended process has ended, nil if well.
func (p *process) err() error {
	switch s := p.status; {
	case s.Signaled():
		return fmt.Errorf("killed by %v", s.Signal())
	case s.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", s.ExitStatus())
	}
	return nil
}
