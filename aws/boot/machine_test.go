package boot_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/internal/waittest"
)

// limit is how long a condition may take to come true.
const limit = 5 * time.Minute

// A machine is a root of its own over the computer's, with its own processes,
// mounts, network and name. Its systemctl, shutdown, poweroff and modprobe only
// note that they were called; see testdata/machine.
type machine struct {
	t      *testing.T
	dir    string
	unplug func()
	pid    int // of a process in the machine's namespaces
	calls  int // done so far
}

// newMachine makes a machine that is off. It needs root.
func newMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "loads-boot-") // an overlay can't be on another
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, unplug: func() {}}
	t.Cleanup(func() {
		m.unplug()
		if t.Failed() {
			t.Logf("the machine's console:\n%s\nand calls:\n%s", m.read("record/console"), m.read("record/calls"))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"upper/usr/bin", "upper/usr/sbin", "work", "root", "run", "record", "docker"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, source := range map[string]string{
		"init": "init.sh", "upper/usr/bin/systemctl": "systemctl",
		"upper/usr/sbin/shutdown": "note", "upper/usr/sbin/poweroff": "note",
		"upper/usr/sbin/modprobe": "note",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "machine", source))
		if err != nil {
			t.Fatal(err)
		}
		m.write(path, string(text))
		if err := os.Chmod(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "record", "control"), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// start turns the machine on, with nothing in its memory.
func (m *machine) start() {
	m.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child",
		filepath.Join(m.dir, "init"), m.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // what holds the output has been killed
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.pid = cmd.Process.Pid
	m.unplug = func() {
		m.unplug = func() {}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if out.Len() > 0 {
			m.t.Logf("starting the machine: %s", &out)
		}
		if err := os.RemoveAll(filepath.Join(m.dir, "run")); err != nil {
			m.t.Error(err)
		}
		if err := os.Mkdir(filepath.Join(m.dir, "run"), 0o755); err != nil {
			m.t.Error(err)
		}
	}
}

// do runs a line of shell in the machine and waits for its end. Its output
// goes to the console; its exit status is returned.
func (m *machine) do(line string) int {
	m.t.Helper()
	m.calls++
	result := fmt.Sprintf("record/result%d", m.calls)
	control, err := os.OpenFile(filepath.Join(m.dir, "record", "control"), os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer control.Close()
	_, err = fmt.Fprintf(control, "{ %s; } >>/record/console 2>&1; echo $? >/%s\n", line, result)
	if err != nil {
		m.t.Fatal(err)
	}
	m.await("the end of "+line, func() bool { return strings.HasSuffix(m.read(result), "\n") })
	status, err := strconv.Atoi(strings.TrimSpace(m.read(result)))
	if err != nil {
		m.t.Fatal(err)
	}
	return status
}

// bear turns the machine on and runs its user data.
func (m *machine) bear(p boot.Params) {
	m.t.Helper()
	m.write("record/user-data", string(mustUserData(m.t, p)))
	m.start()
	m.runUserData()
}

func (m *machine) runUserData() {
	m.t.Helper()
	if status := m.do("bash /record/user-data"); status != 0 {
		m.t.Fatalf("the user data ended with status %d", status)
	}
}

// renew puts the lease file, as the broker does.
func (m *machine) renew(r boot.Renewal) {
	m.t.Helper()
	file, err := r.File()
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(boot.LeaseFile, string(file))
}

// A state is what the watchdog keeps for the one after it.
type state struct{ age, term, seq, until, end int }

// state returns what the watchdog on the machine has kept in memory last.
func (m *machine) state() state {
	var newest state
	for _, file := range []string{"run/loads-watchdog/state.0", "run/loads-watchdog/state.1"} {
		var s state
		var last int
		_, err := fmt.Sscanf(m.read(file), "loads-state %d %d %d %d %d %d .\n", &s.age, &last, &s.term, &s.seq, &s.until, &s.end)
		if err == nil && (s.age > newest.age || s.age == newest.age && s.seq >= newest.seq) {
			newest = s
		}
	}
	return newest
}

// diskAge returns the age that the machine begins its next boot with.
func (m *machine) diskAge() int {
	var age int
	if _, err := fmt.Sscanf(m.read("upper/var/lib/loads/state"), "loads-state %d ", &age); err != nil {
		return -1
	}
	return age
}

// isOff reports whether the machine has been told to shut down.
func (m *machine) isOff() bool { return strings.Contains(m.read("record/calls"), "shutdown -h now\n") }

// awaitOff waits until the machine powers itself off, for the reason given.
func (m *machine) awaitOff(why string) {
	m.t.Helper()
	m.await("power off", m.isOff)
	if console := m.read("record/console"); !strings.Contains(console, "powering off: "+why) {
		m.t.Errorf("got console %q, want %q as the reason to power off", console, why)
	}
}

// awaitAge waits until the machine has lived for the seconds, and has not been
// told to shut down.
func (m *machine) awaitAge(seconds int) {
	m.t.Helper()
	m.await(fmt.Sprintf("age %d", seconds), func() bool { return m.isOff() || m.state().age >= seconds })
	if m.isOff() {
		m.t.Fatalf("the machine powered off before it was %d seconds old", seconds)
	}
}

// starts returns the age at which each watchdog on the machine began.
func (m *machine) starts() []string {
	var ages []string
	for _, match := range regexp.MustCompile(`loads-watchdog: age (\d+), `).FindAllStringSubmatch(m.read("record/console"), -1) {
		ages = append(ages, match[1])
	}
	return ages
}

// controlGroup makes a control group that can hold processes to a number, and
// returns its folder.
func (m *machine) controlGroup() string {
	m.t.Helper()
	root := "/sys/fs/cgroup/pids" // version 1
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	group := filepath.Join(root, filepath.Base(m.dir))
	if err := os.Mkdir(group, 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		m.unplug()
		m.await("the end of the control group's processes", func() bool { return os.Remove(group) == nil })
	})
	return group
}

func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	waittest.Until(m.t, what, limit, done)
}

func (m *machine) read(path string) string {
	data, err := os.ReadFile(filepath.Join(m.dir, path))
	if err != nil {
		return ""
	}
	return string(data)
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}
