package hosts_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
)

// patience is how long anything that has to come may take on a busy computer.
const patience = 5 * time.Minute

// probe is the program that runs in the containers.
var probe string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loads-hosts-")
	if err == nil {
		defer os.RemoveAll(dir)
		probe, err = dockertest.BuildProbe(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustOpen(t *testing.T, ep broker.Endpoint) *dockerctl.Engine {
	t.Helper()
	e, err := dockerctl.Open(ep, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// mustLoad loads the image into the engine and returns its id.
func mustLoad(t *testing.T, e *dockerctl.Engine, image *scratch.Archive) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := e.EnsureImage(t.Context(), "", "file://"+file)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// requests returns n requests for step 0 of a new run.
func requests(brokerID string, n int) []broker.MachineRequest {
	run := uuid.NewString()
	reqs := make([]broker.MachineRequest, n)
	for i := range reqs {
		reqs[i] = broker.MachineRequest{
			BrokerID: brokerID, RunUUID: run, PlanName: "test", StepName: "one",
			Index: i, Token: uuid.NewString(), Region: "us-west-2", Type: "t3.micro",
		}
	}
	return reqs
}

// acquired completes what a pool gave, as the broker does.
func acquired(reqs []broker.MachineRequest, machines []broker.Machine) []broker.Machine {
	for i, req := range reqs {
		machines[i].RunUUID, machines[i].Step, machines[i].Index, machines[i].Token = req.RunUUID, req.Step, req.Index, req.Token
	}
	return machines
}

func mustAcquire(t *testing.T, p broker.Pool, reqs []broker.MachineRequest) []broker.Machine {
	t.Helper()
	machines, err := p.Acquire(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	return acquired(reqs, machines)
}

func mustRelease(t *testing.T, p broker.Pool, machines ...broker.Machine) {
	t.Helper()
	for _, m := range machines {
		if err := p.Release(t.Context(), m); err != nil {
			t.Errorf("release %s: %v", m.ProviderID, err)
		}
	}
}

func mustOwned(t *testing.T, p broker.Pool, brokerID string) []broker.Owned {
	t.Helper()
	owned, err := p.Owned(t.Context(), brokerID)
	if err != nil {
		t.Fatal(err)
	}
	return owned
}

// spec returns a container on the machine, labelled as the broker does it.
func spec(brokerID string, m broker.Machine, image, part string, command ...string) broker.ContainerSpec {
	return broker.ContainerSpec{
		Name: fmt.Sprintf("loads-test-%s-%d-%s", m.Token[:8], m.Index, part), Image: image, Command: command, Network: m.Network,
		Labels: map[string]string{
			broker.LabelBroker: brokerID, broker.LabelRun: m.RunUUID, broker.LabelRole: broker.RolePlan,
			broker.LabelStep: strconv.Itoa(m.Step), broker.LabelMachine: strconv.Itoa(m.Index),
		},
		Shared: []broker.SharedVolume{{Name: "loads-test-" + m.Token[:8], Container: "/run/loads"}},
	}
}

func mustStart(t *testing.T, e broker.Engine, spec broker.ContainerSpec) string {
	t.Helper()
	id, err := e.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

// mustRun runs the container to its end and returns what it wrote.
func mustRun(t *testing.T, e broker.Engine, spec broker.ContainerSpec) string {
	t.Helper()
	id := mustStart(t, e, spec)
	if err := e.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var out writer
	if err := e.Logs(t.Context(), id, broker.LogOptions{}, &out, &out); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func wantCode(t *testing.T, err error, want broker.Code) {
	t.Helper()
	if got := broker.CodeOf(err); got != want {
		t.Errorf("got code %q (%v), want %q", got, err, want)
	}
}
