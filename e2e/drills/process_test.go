// Package drills drills the broker as it is shipped: a simulated EC2 lets calls
// and machines go wrong by a seed, the broker's process is killed again and
// again, and each run is judged by what the simulator says was made, what is
// left, and what verdict that explains.
package drills_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/ec2sim/nshost/initd"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/brokertest"
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
	if err := brokertest.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
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
	life   *brokertest.Process
}

// startBroker starts a broker that ends with the test.
func startBroker(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{dir: folder(t), args: args, env: env}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// folder returns one for a database that ends with the test: in memory, if there
// is some to spare. A broker that is killed leaves all that it has written there,
// as on a disk, and a busy computer's disk takes seconds over each transaction.
func folder(t *testing.T) string {
	t.Helper()
	const memory, enough = "/dev/shm", 1 << 30
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "loads-drills-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start starts the process, and returns when it listens.
func (p *process) start() error {
	args := append([]string{"--docker", "unix://" + filepath.Join(p.dir, "no-local-engine")}, p.args...)
	life, err := brokertest.Start(binDir, p.dir, p.env, args...)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.life = &api.Client{BaseURL: life.URL, HTTP: &http.Client{Transport: &http.Transport{}}}, life
	p.starts++
	return nil
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.mu.Lock()
	life, client := p.life, p.client
	p.mu.Unlock()
	life.Kill()
	client.HTTP.CloseIdleConnections()
}

// stop ends the process in order.
func (p *process) stop() error {
	p.mu.Lock()
	life := p.life
	p.mu.Unlock()
	return life.Stop()
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
	text, err := os.ReadFile(brokertest.Log(p.dir))
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
