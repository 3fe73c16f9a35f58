package dockerctl_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/internal/waittest"
)

// probe is the program that runs in the containers.
var probe string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loads-dockerctl-")
	if err == nil {
		defer os.RemoveAll(dir)
		probe, err = dockertest.BuildProbe(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer nameProxy()()
	return m.Run()
}

// proxied counts the calls that came to the proxy that the environment names
// while the tests run.
var proxied atomic.Int64

func nameProxy() (closeProxy func()) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		proxied.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		_ = os.Setenv(name, proxy.URL)
		_ = os.Unsetenv(strings.ToLower(name))
	}
	_ = os.Unsetenv("NO_PROXY")
	_ = os.Unsetenv("no_proxy")
	return proxy.Close
}

func mustOpen(t *testing.T, opts dockerctl.Options) *dockerctl.Engine {
	t.Helper()
	e, err := dockerctl.Open(dockertest.Endpoint(), opts)
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

// bench is an engine with an image of the probe on it.
type bench struct {
	*dockerctl.Engine
	t     *testing.T
	name  string
	image string
}

func mustBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Engine: mustOpen(t, dockerctl.Options{}), t: t, name: dockertest.Name(t)}
	file := filepath.Join(t.TempDir(), "image.tar")
	ref := b.name + ":1"
	if err := os.WriteFile(file, dockertest.Tar(t, dockertest.Image(t, probe, b.name, ref)), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.image, err = b.EnsureImage(t.Context(), ref, "file://"+file); err != nil {
		t.Fatal(err)
	}
	return b
}

// spec returns a container of the probe, named for its part in the test.
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

// run runs the container to its end and returns what it wrote.
func (b *bench) run(spec broker.ContainerSpec) string {
	b.t.Helper()
	id := b.start(spec)
	if err := b.Wait(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
	out := b.output(id)
	if c := b.inspect(id); c.ExitCode != 0 {
		b.t.Fatalf("container %s ended with status %d: %s", c.Name, c.ExitCode, out)
	}
	return out
}

func (b *bench) output(id string) string {
	b.t.Helper()
	var out waittest.Buffer
	if err := b.Logs(b.t.Context(), id, broker.LogOptions{}, &out, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

// patience is how long anything that has to come may take on a busy computer.
const patience = 5 * time.Minute

// await waits for the condition.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	waittest.Until(t, what, patience, done)
}

// wantCode fails the test unless err has the code.
func wantCode(t *testing.T, err error, want broker.Code) {
	t.Helper()
	if got := broker.CodeOf(err); got != want {
		t.Errorf("got code %q (%v), want %q", got, err, want)
	}
}
