//go:build linux

package initd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is what process 1 keeps.
type machine struct {
	config  Config
	procs   *processes
	units   *manager
	console *log.Logger
	power   *power
}

// boot plays process 1 until the machine turns itself off, and returns how
// the process is to end.
func boot() (code int, err error) {
	text, err := os.ReadFile(configPath)
	if err != nil {
		return 0, fmt.Errorf("read configuration: %w", err)
	}
	m := &machine{procs: newProcesses(), console: log.New(os.Stdout, "init: ", 0)}
	if err := json.Unmarshal(text, &m.config); err != nil {
		return 0, fmt.Errorf("decode configuration: %w", err)
	}
	m.units = newManager(m.procs, m.console)
	m.power = newPower(m)
	// Nobody interrupts process 1. The signals are received and not ignored,
	// since programs started here would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM)
	if err := raiseLimits(); err != nil {
		return 0, err
	}
	log, err := listenLog("/dev/log")
	if err != nil {
		return 0, err
	}
	requests, err := net.Listen("unix", socketPath)
	if err != nil {
		return 0, err
	}
	// All of these live as long as the process does.
	go m.procs.reap()
	go m.obey(os.NewFile(ControlFD, "control"))
	go m.pullTrigger(filepath.Join(runDir, "sysrq"))
	go m.receiveLog(log)
	go m.serve(requests)
	go m.up()
	return <-m.power.off, nil
}

// raiseLimits sets the number of open files that Docker's unit asks for.
func raiseLimits() error {
	const files = 1 << 20
	limit := syscall.Rlimit{Cur: files, Max: files}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("raise the number of open files: %w", err)
	}
	return nil
}

// obey does what comes from outside, and ends the machine with it.
func (m *machine) obey(control *os.File) {
	unix.CloseOnExec(int(control.Fd()))
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(control, b); err != nil {
			os.Exit(1) // and all that runs here ends
		}
		if string(b) == PowerOff {
			m.power.shutdown(ExitPowerOff)
		}
	}
}

// pullTrigger acts on what is written to /proc/sysrq-trigger.
func (m *machine) pullTrigger(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) // for writing too, so that it never ends
	if err != nil {
		m.console.Printf("open the emergency trigger: %v", err)
		return
	}
	for b := make([]byte, 1); ; {
		if _, err := file.Read(b); err != nil {
			return
		}
		switch b[0] {
		case 'o':
			m.power.cut(ExitPowerOff)
		case 'b':
			m.power.cut(ExitReboot)
		}
	}
}

func listenLog(path string) (*net.UnixConn, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return conn, os.Chmod(path, 0o666)
}

// receiveLog writes what programs log to the system's log.
func (m *machine) receiveLog(conn *net.UnixConn) {
	file, err := openAppend("/var/log/messages")
	if err != nil {
		m.console.Printf("open the system's log: %v", err)
		return
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(file, "%s\n", buf[:n]) // a full disk takes no log
	}
}

func openAppend(path string) (*os.File, error) {
	if err := mkdirs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

// up brings the machine up: what the user data has before all units, the
// units, the other scripts of the user data.
func (m *machine) up() {
	_ = os.RemoveAll(unitLogs) // of the boot before
	const instance = "/var/lib/cloud/instance"
	scripts, passedOver, err := parseUserData(m.config.UserData)
	if err == nil {
		err = writeFile(instance+"/user-data.txt", m.config.UserData, 0o600)
	}
	if err != nil {
		m.console.Printf("user data: %v", err)
	}
	for _, p := range passedOver {
		m.console.Printf("not simulated: %s", p)
	}
	m.runScripts(scripts, true)
	m.units.startEnabled()
	m.console.Printf("%s is up", m.config.Hostname)
	if done := instance + "/sem/config_scripts_user"; !exists(done) {
		if err := writeFile(done, nil, 0o644); err != nil {
			m.console.Printf("user data: %v", err)
		}
		m.runScripts(scripts, false)
	}
	if m.config.FillDisk {
		if err := fillDisk("/var/lib/docker/full"); err != nil {
			m.console.Printf("fill the disk: %v", err)
		}
	}
}

func (m *machine) runScripts(scripts []script, boothooks bool) {
	for i, s := range scripts {
		if s.boothook != boothooks {
			continue
		}
		path := fmt.Sprintf("/var/lib/cloud/instance/scripts/part-%03d", i+1)
		if err := writeFile(path, s.text, 0o700); err != nil {
			m.console.Printf("user data: %v", err)
			continue
		}
		if err := m.runScript(path); err != nil {
			m.console.Printf("Failed running %s: %v", path, err)
		}
	}
}

// runScript runs a script of the user data. What it writes goes to the console
// and to the file where people look for it.
func (m *machine) runScript(path string) error {
	file, err := openAppend("/var/log/cloud-init-output.log")
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() { // ends when all have ended that the script has started
		_, _ = io.Copy(lenientWriter{os.Stdout, file}, r)
		_ = file.Close()
		_ = r.Close()
	}()
	p, err := m.procs.start(command{argv: []string{path}, env: environment, out: w})
	_ = w.Close()
	if err != nil {
		return err
	}
	<-p.ended
	return p.err()
}

// A lenientWriter writes to all of its writers, whatever becomes of the
// others: a full disk must not stop a script.
type lenientWriter []io.Writer

// Write always writes all.
func (l lenientWriter) Write(b []byte) (int, error) {
	for _, w := range l {
		_, _ = w.Write(b)
	}
	return len(b), nil
}

// fillDisk makes a file of all that is free.
func fillDisk(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var size int64
	for step := int64(1) << 30; step >= 4<<10; {
		err := unix.Fallocate(int(file.Fd()), 0, size, step)
		switch {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return nil
}
