//go:build linux

package nshost_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost"
)

// holdEnv makes this program hold machines in the folder it names, until it is
// killed.
const holdEnv = "NSHOST_TEST_HOLD"

func count(m ec2sim.Machine, text string) int { return bytes.Count(m.Console(), []byte(text)) }

// processesNaming returns the processes with the text in their command line, or
// in their mounts: those of a machine name its folder there.
func processesNaming(t testing.TB, text string) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, name := range []string{"cmdline", "mounts"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && bytes.Contains(content, []byte(text)) {
				line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
				found = append(found, pid+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
				break
			}
		}
	}
	return found
}

// remains returns what is left of a simulator with that name and folder.
func remains(t testing.TB, base, name string) []string {
	t.Helper()
	var left []string
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			left = append(left, "folder "+e.Name())
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if strings.Contains(i.Name, name) {
			left = append(left, "interface "+i.Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(base)) {
		left = append(left, "mounts")
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if text, err := os.ReadFile(l); err == nil && bytes.HasPrefix(text, []byte(base)) {
			left = append(left, l)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), name) {
			left = append(left, path)
		}
		return nil // groups of others come and go
	})
	for _, pid := range processesNaming(t, base) {
		left = append(left, "process "+pid)
	}
	return left
}

// firewall returns this computer's rules, without what others change.
func firewall(t testing.TB, name string) bool {
	t.Helper()
	out, err := exec.Command("iptables-save").CombinedOutput()
	if err != nil {
		t.Fatalf("iptables-save: %v: %s", err, out)
	}
	return bytes.Contains(out, []byte(name))
}

// simulator returns the name of the one that uses the folder.
func simulator(t testing.TB, base string) string {
	t.Helper()
	locks, err := filepath.Glob(filepath.Join(base, "*", "lock"))
	if err != nil || len(locks) != 1 {
		t.Fatalf("simulators in %s: got %v, want one (%v)", base, locks, err)
	}
	return filepath.Base(filepath.Dir(locks[0]))
}

func TestHost_CloseLeavesNothing(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	host, err := nshost.New(t.Context(), nshost.Options{Dir: base})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, host: host}
	name := simulator(t, base)
	on, off := l.boot(l.spec("docker network create extra; echo ON")), l.boot(l.plain("echo ON"))
	await(t, on, "\nON")
	await(t, off, "\nON")
	if firewall(t, name) {
		t.Error("this computer's firewall has rules for the machines")
	}
	if err := off.Stop(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if left := remains(t, base, name); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// holder is the tester of a program that isn't a test: a fault ends it.
type holder struct{}

func (holder) Cleanup(func())           {}
func (holder) Context() context.Context { return context.Background() }
func (holder) Failed() bool             { return false }
func (holder) Helper()                  {}
func (holder) Logf(string, ...any)      {}
func (holder) Error(args ...any)        { fmt.Fprintln(os.Stderr, args...) }
func (holder) Fatal(args ...any)        { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }
func (holder) Fatalf(form string, args ...any) {
	fmt.Fprintf(os.Stderr, form+"\n", args...)
	os.Exit(1)
}

// hold boots two machines and says so; it returns when its input ends, which
// is never.
func hold(base string) error {
	var t holder
	l := newLabIn(t, base)
	m := l.boot(l.spec("echo ON"))
	await(t, m, "\nON")
	_ = l.boot(l.plain("echo ON"))
	fmt.Println("holding")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func TestHost_KilledTakesItsMachinesAlong(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), holdEnv+"="+base)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "holding\n" {
		_ = cmd.Process.Kill()
		t.Fatalf("the other process: got %q, %v", line, err)
	}
	name := simulator(t, base)
	if err := nshost.Cleanup(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	if n := len(processesNaming(t, base)); n < 4 { // two of process 1, and an engine's two
		t.Errorf("of machines in use, %d processes are left after Cleanup", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	eventually(t, "all processes of its machines have ended", func() bool { return len(processesNaming(t, base)) == 0 })

	again, err := nshost.New(t.Context(), nshost.Options{Dir: base})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if left := remains(t, base, name); len(left) > 0 {
		t.Errorf("left after the next start: %v", left)
	}
}
