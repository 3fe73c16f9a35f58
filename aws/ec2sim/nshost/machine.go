//go:build linux

package nshost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost/initd"
)

// A machine is one of a Host.
type machine struct {
	host    *Host
	spec    ec2sim.MachineSpec
	dir     string // its own
	console *console

	mu    sync.Mutex
	rules []ec2sim.Rule
	cut   bool
	gone  bool
	run   *run // nil when it is off
}

// A run is the time from a machine's start to its end.
type run struct {
	cmd     *exec.Cmd
	control *os.File      // see initd.ControlFD
	ended   chan struct{} // closed when nothing of it runs, or is connected, any more
	told    bool          // somebody outside has asked for its end; under machine.mu
	cutOff  error         // what couldn't be removed; read after ended
}

// create makes the machine's disk and starts it for the first time.
func (m *machine) create(ctx context.Context) error {
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return err
	}
	if err := makeDisk(ctx, m.dir, m.spec.RootVolumeBytes); err != nil {
		return err
	}
	text, err := json.Marshal(initd.Config{
		Dir: m.dir, Program: m.host.program(),
		Hostname: "ip-" + strings.ReplaceAll(m.spec.PrivateIP.String(), ".", "-"), Address: m.spec.PrivateIP.String(),
		UserData: m.spec.UserData, NoDocker: m.spec.NoDocker, FillDisk: m.spec.DiskFull,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.configFile(), text, 0o600); err != nil {
		return err
	}
	return m.Start(ctx)
}

func (m *machine) configFile() string { return filepath.Join(m.dir, "config.json") }

func (m *machine) cgroup() string { return cgroupName(m.host.claim.name) + "/" + m.spec.ID }

// Start turns the machine on.
func (m *machine) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.start(ctx)
}

// start starts the machine with mu held.
func (m *machine) start(ctx context.Context) error {
	if m.run != nil || m.gone {
		return nil
	}
	r, err := m.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", m.spec.ID, err)
	}
	m.run = r
	m.host.watchers.Go(func() { m.watch(r) })
	if err := m.connect(ctx, r); err != nil {
		r.told = true
		r.kill()
		return fmt.Errorf("start %s: %w", m.spec.ID, err)
	}
	return nil
}

// launch starts process 1, which waits until it is told to go on.
func (m *machine) launch() (*run, error) {
	order, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer order.Close()
	cmd := exec.Command(m.host.program())
	cmd.Args = []string{initd.Name, m.configFile()}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = m.console, m.console
	cmd.ExtraFiles = []*os.File{order}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return &run{cmd: cmd, control: control, ended: make(chan struct{})}, nil
}

// connect gives the waiting process its control groups and its network, and
// tells it to go on.
func (m *machine) connect(ctx context.Context, r *run) error {
	if err := joinCgroup(m.cgroup(), r.cmd.Process.Pid); err != nil {
		return err
	}
	link := netLink{region: m.spec.Region, private: m.spec.PrivateIP, public: m.spec.PublicIP, groups: m.spec.Groups, rules: m.rules, cut: m.cut}
	if err := m.host.network.connect(ctx, m.spec.ID, link, r.cmd.Process.Pid); err != nil {
		return err
	}
	_, err := r.control.WriteString(initd.Go)
	return err
}

func (r *run) kill() { _ = r.cmd.Process.Kill() } // one that has ended is no matter

// watch waits for the end of a run, clears up after it, and says so if the
// machine has turned itself off. Start has one for each run.
func (m *machine) watch(r *run) {
	_ = r.cmd.Wait() // when it returns, no process of the machine is left
	ctx := context.Background()
	r.cutOff = errors.Join(
		r.control.Close(),
		m.host.network.disconnect(ctx, m.spec.ID),
		removeCgroups(m.cgroup()),
		awaitRelease(m.dir),
	)
	m.mu.Lock()
	m.run = nil
	told, again := r.told, false
	if !told && wantsReboot(r.cmd.ProcessState) {
		err := m.start(ctx)
		if again = err == nil; !again {
			m.host.log.Error("reboot", "error", err)
		}
	}
	m.mu.Unlock()
	close(r.ended)
	if told {
		return // who told it hears of cutOff
	}
	if r.cutOff != nil {
		m.host.log.Error("clear up after a machine", "machine", m.spec.ID, "error", r.cutOff)
	}
	if !again && m.spec.OnPowerOff != nil {
		m.spec.OnPowerOff()
	}
}

// wantsReboot reports whether process 1 ended in order to be started again,
// by itself or by the system call, for which the kernel sends it a signal.
func wantsReboot(s *os.ProcessState) bool {
	status, ok := s.Sys().(syscall.WaitStatus)
	if !ok {
		return false
	}
	return status.Exited() && status.ExitStatus() == initd.ExitReboot ||
		status.Signaled() && status.Signal() == syscall.SIGHUP
}

// Stop turns the machine off.
func (m *machine) Stop(ctx context.Context, hard bool) error {
	r := m.tell()
	if r == nil {
		return nil
	}
	if !hard {
		_, err := r.control.WriteString(initd.PowerOff)
		if err == nil {
			select {
			case <-r.ended:
				return r.cutOff
			case <-ctx.Done():
			}
		}
	}
	r.kill()
	<-r.ended
	return r.cutOff
}

// tell notes that the machine's end is asked for, and returns its run if it
// has one.
func (m *machine) tell() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		m.run.told = true
	}
	return m.run
}

// Cut takes the machine off the network, or puts it back.
func (m *machine) Cut(cut bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = cut
	return m.host.network.change(context.Background(), m.spec.ID, func(l *netLink) { l.cut = cut })
}

// SetRules replaces what is admitted to the machine.
func (m *machine) SetRules(rules []ec2sim.Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = rules
	return m.host.network.change(context.Background(), m.spec.ID, func(l *netLink) { l.rules = rules })
}

// Console returns the end of what the machine has written on its console.
func (m *machine) Console() []byte { return m.console.bytes() }

// Terminate pulls the plug and removes all of the machine.
func (m *machine) Terminate(ctx context.Context) error {
	m.mu.Lock()
	m.gone = true
	m.mu.Unlock()
	if err := m.Stop(ctx, true); err != nil {
		return fmt.Errorf("terminate %s: %w", m.spec.ID, err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("terminate %s: %w", m.spec.ID, err)
	}
	m.host.forget(m.spec.ID)
	return nil
}
