package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sit starts loads as a process of its own whose terminal is p, so that Ctrl-C
// is what it is for a person.
func sit(t *testing.T, p *pty, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.tty, p.tty, p.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // a second time, mostly
		if t.Failed() {
			t.Logf("the terminal:\n%s", withoutEscapes(p.output.String()))
		}
	})
	return cmd
}

// exitCodeOf waits for the process.
func exitCodeOf(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

const ctrlC = "\x03"

// shown counts how often the text was drawn.
func (p *pty) shown(text string) int { return strings.Count(p.output.String(), text) }

func (p *pty) waitFor(t *testing.T, text string) {
	t.Helper()
	before := 0
	eventually(t, "the terminal shows "+text, 5*time.Minute, func() bool { return p.shown(text) > before })
}

func TestCtrlCAsksAndLeavesTheRunRunning(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	p := openPTY(t, 100, 30)
	if !p.echoes(t) {
		t.Fatal("the terminal does not echo to begin with")
	}
	cmd := sit(t, p, w.args("run", writeFile(t, "plan.yaml", sleepers(300)))...)
	p.waitFor(t, " of at most 5m")
	p.press(t, "typed in vain\n"+ctrlC)
	p.waitFor(t, "Leave it running, or stop it? [l/s]")
	p.press(t, "\n")
	drawn := p.shown("Leave it running")
	going := p.shown(" of at most 5m")
	eventually(t, "the run goes on", 5*time.Minute, func() bool { return p.shown(" of at most 5m") > going+5 })
	p.press(t, ctrlC)
	eventually(t, "it asks again", 5*time.Minute, func() bool { return p.shown("Leave it running") > drawn+2 })
	p.press(t, "l")
	if code := exitCodeOf(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if !p.echoes(t) {
		t.Error("the terminal was left without echo")
	}
	out := withoutEscapes(p.output.String())
	hint := regexp.MustCompile(`follow it by: loads wait (\S+) --broker (\S+)\r?\n$`).FindStringSubmatch(strings.ReplaceAll(out, "\r", ""))
	if hint == nil {
		t.Fatalf("the last line does not say how to follow: %q", out[max(0, len(out)-300):])
	}
	endSleepers(t, hint[2])
	i := newInvocation(t)
	if code := i.run(t, "wait", hint[1], "--broker", hint[2]); code != 0 || !strings.Contains(i.stdout.String(), "\nPASS\n") {
		t.Errorf("wait exits with %d, want 0 and PASS:\n%s%s", code, i.stdout.String(), i.stderr.String())
	}
}

func TestCtrlCTwiceStopsTheRun(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	p := openPTY(t, 80, 24)
	cmd := sit(t, p, w.args("run", writeFile(t, "plan.yaml", sleepers(300)))...)
	p.waitFor(t, " of at most 5m")
	p.press(t, ctrlC)
	p.waitFor(t, "Leave it running, or stop it? [l/s]")
	p.press(t, ctrlC)
	p.waitFor(t, "Stopping the run")
	if code := exitCodeOf(t, cmd); code != exitAborted {
		t.Errorf("exit code %d, want %d", code, exitAborted)
	}
	if out := p.output.String(); !strings.Contains(out, "ABORTED: ") || !strings.HasSuffix(out, "nothing is left on the machines.\r\n") {
		t.Errorf("the end is %q, want ABORTED and a clean-up", out[max(0, len(out)-300):])
	}
	if !p.echoes(t) {
		t.Error("the terminal was left without echo")
	}
}

func TestTheAnswerSStopsAndWaitingIsGivenUpAtTheNextCtrlC(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	url, _ := startBroker(t, "--db", w.db, "--node-dir", w.node)
	id := strings.TrimSpace(ask(t, url, "run", writeFile(t, "plan.yaml", sleepers(300)), "--detach"))
	p := openPTY(t, 80, 24)
	cmd := sit(t, p, "wait", id, "--broker", url)
	p.waitFor(t, " of at most 5m")
	p.press(t, ctrlC)
	p.waitFor(t, "Leave it running, or stop it? [l/s]")
	p.press(t, "s")
	p.waitFor(t, "Stopping the run")
	p.press(t, ctrlC)
	if code := exitCodeOf(t, cmd); code != exitAborted {
		t.Errorf("exit code %d, want %d", code, exitAborted)
	}
	i := newInvocation(t)
	if code := i.run(t, "wait", id, "--broker", url); code != exitAborted {
		t.Errorf("wait exits with %d, want %d", code, exitAborted)
	}
}

func TestAHangUpLeavesTheRunRunning(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	url, _ := startBroker(t, "--db", w.db, "--node-dir", w.node)
	id := strings.TrimSpace(ask(t, url, "run", writeFile(t, "plan.yaml", sleepers(300)), "--detach"))
	i := newInvocation(t)
	i.env["LOADS_BROKER"] = url
	var waiting sync.WaitGroup
	code := -1
	waiting.Go(func() { code = i.run(t, "wait", id) })
	eventually(t, "the run is watched", 5*time.Minute, func() bool { return i.stdout.String() != "" })
	i.signals <- syscall.SIGHUP
	if waiting.Wait(); code != 0 || !strings.Contains(i.stdout.String(), "goes on; follow it by: loads wait "+id) {
		t.Errorf("exit code %d, want 0 and how to follow: %s", code, i.stdout.String())
	}
	endSleepers(t, url)
	if out := ask(t, url, "wait", id); !strings.Contains(out, "\nPASS\n") {
		t.Errorf("wait says %q, want PASS", out)
	}
}
