package light_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/light"
	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/internal/waittest"
)

// node is the node program, which light machines play.
var node string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loads-light-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	node = filepath.Join(dir, "loads-node")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", node, "github.com/loads/loads/cmd/loads-node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the node program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// cloud is a host with the authority of one broker.
type cloud struct {
	*light.Host
	tb    testing.TB
	trust *trust.Trust
	next  netip.Addr
}

func mustCloud(tb testing.TB) *cloud {
	tb.Helper()
	h, err := light.New(light.Options{Metrics: light.DefaultMetrics})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	tr, err := trust.Start(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	c := &cloud{Host: h, tb: tb, trust: tr, next: h.Addresses().Addr()}
	for range 16 {
		c.next = c.next.Next()
	}
	return c
}

// machine is a machine, and what its owner knows of it.
type machine struct {
	ec2sim.Machine
	endpoint broker.Endpoint
	offs     atomic.Int32 // how often it has powered itself off
}

func anybody() []ec2sim.Rule {
	return []ec2sim.Rule{{Protocol: "tcp", FromPort: 2376, ToPort: 2376, Peer: netip.MustParsePrefix("127.0.0.0/8")}}
}

// boot boots a machine whose lease and term are as given.
func (c *cloud) boot(lease, end time.Duration, edit func(*ec2sim.MachineSpec)) *machine {
	c.tb.Helper()
	m, addr := &machine{}, c.next
	c.next = addr.Next()
	server, err := c.trust.Mint("machine", time.Now().Add(time.Hour))
	if err != nil {
		c.tb.Fatal(err)
	}
	data, err := boot.UserData(boot.Params{Servers: []trust.Server{server}, Lease: lease, End: end})
	if err != nil {
		c.tb.Fatal(err)
	}
	spec := ec2sim.MachineSpec{
		ID: "i-" + addr.String(), Arch: hostArch(), VCPUs: 2, Memory: 8 << 30, PrivateIP: addr,
		UserData: data, Rules: anybody(), OnPowerOff: func() { m.offs.Add(1) },
	}
	if edit != nil {
		edit(&spec)
	}
	if m.Machine, err = c.Boot(context.Background(), spec); err != nil {
		c.tb.Fatal(err)
	}
	if m.endpoint, err = c.trust.Endpoint(c.trust.ID(), "machine", addr.String()); err != nil {
		c.tb.Fatal(err)
	}
	return m
}

func hostArch() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// docker opens the machine's engine.
func (c *cloud) docker(m *machine) *dockerctl.Engine {
	c.tb.Helper()
	return mustOpen(c.tb, m.endpoint)
}

func mustOpen(tb testing.TB, ep broker.Endpoint) *dockerctl.Engine {
	tb.Helper()
	e, err := dockerctl.Open(ep, dockerctl.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = e.Close() })
	return e
}

// bench is an engine with an image of the node program on it.
type bench struct {
	*dockerctl.Engine
	t     *testing.T
	name  string
	image string
}

// onBoth runs a test on the real engine and on a light machine's: what it
// asserts holds of both.
func onBoth(t *testing.T, test func(*testing.T, *bench)) {
	t.Run("a real engine", func(t *testing.T) {
		test(t, mustBench(t, mustOpen(t, dockertest.Endpoint())))
	})
	t.Run("a light machine", func(t *testing.T) {
		c := mustCloud(t)
		test(t, mustBench(t, c.docker(c.boot(time.Hour, time.Hour, nil))))
	})
}

func mustBench(t *testing.T, e *dockerctl.Engine) *bench {
	t.Helper()
	b := &bench{Engine: e, t: t, name: dockertest.Name(t)}
	program, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	a, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{b.name + ":1"}, Entrypoint: []string{"/loads-node"},
		Labels: map[string]string{dockertest.LabelTest: b.name},
		Files: []scratch.File{
			{Path: "loads-node", Mode: 0o755, Data: program},
			{Path: "etc", Mode: 0o755, Folder: true},
			{Path: "tmp", Mode: 0o1777, Folder: true},
		},
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, dockertest.Tar(t, a), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.image, err = b.EnsureImage(t.Context(), b.name+":1", "file://"+path); err != nil {
		t.Fatal(err)
	}
	if b.image != a.ID() {
		t.Fatalf("got image %s, want %s", b.image, a.ID())
	}
	return b
}

func (b *bench) spec(part string, command ...string) broker.ContainerSpec {
	return broker.ContainerSpec{
		Name: b.name + "-" + part, Image: b.image, Command: command,
		Labels: map[string]string{dockertest.LabelTest: b.name, "part": part},
	}
}

func (b *bench) create(spec broker.ContainerSpec) string {
	b.t.Helper()
	id, err := b.Create(b.t.Context(), spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bench) start(spec broker.ContainerSpec) string {
	b.t.Helper()
	id := b.create(spec)
	if err := b.Start(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bench) inspect(id string) broker.Container {
	b.t.Helper()
	c, err := b.Inspect(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) output(id string, opts broker.LogOptions) string {
	b.t.Helper()
	var out waittest.Buffer
	if err := b.Logs(b.t.Context(), id, opts, &out, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

func wantCode(t *testing.T, err error, want broker.Code) {
	t.Helper()
	if got := broker.CodeOf(err); got != want {
		t.Errorf("got code %q (%v), want %q", got, err, want)
	}
}

// patience is how long anything that has to come may take on a busy computer.
const patience = 5 * time.Minute

// await waits for the condition.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	waittest.Until(t, what, patience, done)
}
