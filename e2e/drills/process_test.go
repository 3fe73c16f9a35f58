// Package drills drills the broker as it is shipped: a simulated EC2 lets calls
// and machines go wrong by a seed, the broker's process is killed again and
// again, and each run is judged by what the simulator says was made, what is
// left, and what verdict that explains.
package drills_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/ec2sim/nshost/initd"
	"github.com/loads/loads/broker"
)

// patience is how long anything that has to come may take on a busy computer.
const patience = 15 * time.Minute

// binDir is where TestMain builds the programs.
var binDir string

func TestMain(m *testing.M) {
	initd.Takeover() // this program is the process 1 of real machines, too
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loads-drills-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	for _, build := range [][]string{
		{"CGO_ENABLED=1", "build", "-race", "-o", filepath.Join(dir, "loads"), "../../cmd/loads"},
		{"CGO_ENABLED=0", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "loads-node-linux-"+runtime.GOARCH), "../../cmd/loads-node"},
	} {
		cmd := exec.Command("go", build[1:]...)
		cmd.Env = append(os.Environ(), build[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// A process is a broker's, which may be killed and started again on the same
// folder while others talk to it.
type process struct {
	dir  string
	args []string
	env  []string // besides that of the test

	mu     sync.Mutex
	client *api.Client
	starts int
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
}

// startBroker starts a broker that ends with the test.
func startBroker(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{dir: t.TempDir(), args: args, env: env}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// start starts the process, and returns when it listens.
func (p *process) start() error {
	args := append([]string{
		"broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(p.dir, "loads.db"),
		"--docker", "unix://" + filepath.Join(p.dir, "no-local-engine"),
	}, p.args...)
	cmd := exec.Command(filepath.Join(binDir, "loads"), args...)
	cmd.Env = append(os.Environ(), p.env...)
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done, url := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if u := listening.FindString(lines.Text()); u != "" {
				url <- u
			}
		}
		_ = cmd.Wait()
	}()
	select {
	case u := <-url:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.client, p.cmd, p.done = &api.Client{BaseURL: u, HTTP: &http.Client{Transport: &http.Transport{}}}, cmd, done
		p.starts++
		return nil
	case <-done:
		return errors.New("the broker ended at its start")
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("the broker did not listen within %v", patience)
	}
}

func (p *process) log() string { return filepath.Join(p.dir, "broker.log") }

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.mu.Lock()
	cmd, done, client := p.cmd, p.done, p.client
	p.mu.Unlock()
	_ = cmd.Process.Kill()
	<-done
	client.HTTP.CloseIdleConnections()
}

// stop ends the process in order.
func (p *process) stop() error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(patience):
		return fmt.Errorf("the broker did not end within %v of SIGTERM", patience)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the broker ended with code %d", code)
	}
	return nil
}

// ask calls the broker until it answers, also when it is killed meanwhile and
// comes back. It must be a call that may be repeated.
func (p *process) ask(ctx context.Context, call func(*api.Client) error) error {
	for {
		p.mu.Lock()
		client, starts := p.client, p.starts
		p.mu.Unlock()
		err := call(client)
		p.mu.Lock()
		same := p.starts == starts
		p.mu.Unlock()
		if err == nil || same && broker.CodeOf(err) != broker.EUnavailable || !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// pause waits for d or the end of ctx, and reports whether d has passed.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// logged are the last lines of the broker's log with the words in them.
func (p *process) logged(words string) string {
	text, err := os.ReadFile(p.log())
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(words)) {
			lines = append(lines, string(line))
		}
	}
	return strings.Join(lines[max(0, len(lines)-80):], "")
}
