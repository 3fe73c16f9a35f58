package dockerctl_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

// nodeDir returns a folder with the probe as the node program, followed by
// bytes that make it a version of its own.
func nodeDir(t *testing.T, version string) string {
	t.Helper()
	program, err := os.ReadFile(probe)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "loads-node-linux-"+runtime.GOARCH)
	if err := os.WriteFile(path, append(program, version...), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEnsureNodeImage_SeesThatTheProgramHasChanged(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	dir := nodeDir(t, name+"1")
	e := mustOpen(t, dockerctl.Options{NodeDir: dir})
	e.SetNodeImage(name)
	first, err := e.EnsureNodeImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := "loads-node-linux-" + runtime.GOARCH
	if err := os.Rename(filepath.Join(nodeDir(t, name+" 2"), file), filepath.Join(dir, file)); err != nil {
		t.Fatal(err)
	}
	if second, err := e.EnsureNodeImage(t.Context()); err != nil || second == first {
		t.Errorf("got image %s, %v, want another than %s", second, err, first)
	}
}

func TestEnsureNodeImage_LoadsEachVersionOnce(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	ensure := func(dir string) string {
		t.Helper()
		e := mustOpen(t, dockerctl.Options{NodeDir: dir})
		e.SetNodeImage(name)
		id, err := e.EnsureNodeImage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if byName, err := e.EnsureImage(t.Context(), name, ""); err != nil || byName != id {
			t.Errorf("by its name: got %s, %v; want %s", byName, err, id)
		}
		return id
	}
	one, two := nodeDir(t, name+"1"), nodeDir(t, name+"2")
	first := ensure(one)
	if again := ensure(one); again != first {
		t.Errorf("the same program: got image %s, want %s", again, first)
	}
	second := ensure(two)
	if second == first {
		t.Error("another program has the same image")
	}
	if back := ensure(one); back != first {
		t.Errorf("the first program again: got image %s, want %s", back, first)
	}
}

func TestEnsureNodeImage_RunsItsProgram(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	e := mustOpen(t, dockerctl.Options{NodeDir: nodeDir(t, b.name)})
	e.SetNodeImage(b.name + "/node")
	var err error
	if b.image, err = e.EnsureNodeImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, verb, path, want string }{
		{"it has a folder for temporary files", "mode", "/tmp", "dtrwxrwxrwx"},
		{"it knows its users", "cat", "/etc/passwd", "root:x:0:0:"},
		{"it has this machine's CA certificates", "cat", "/etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := b.run(b.spec(row.verb+strings.ReplaceAll(row.path, "/", "-"), row.verb, row.path)); !strings.Contains(got, row.want) {
				t.Errorf("got %.200q, want %q in it", got, row.want)
			}
		})
	}
}

func TestEnsureNodeImage_ManyAtOnce(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	dir := nodeDir(t, name)
	var wg sync.WaitGroup
	ids := make([]string, 4)
	for i := range ids {
		wg.Go(func() {
			e, err := dockerctl.Open(dockertest.Endpoint(), dockerctl.Options{NodeDir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			defer e.Close()
			e.SetNodeImage(name)
			if ids[i], err = e.EnsureNodeImage(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("got images %v, want all the same", ids)
		}
	}
}

func TestEnsureNodeImage_SaysWhenItsProgramIsMissing(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{NodeDir: t.TempDir()})
	_, err := e.EnsureNodeImage(t.Context())
	wantCode(t, err, broker.EInternal)
	if err != nil && !strings.Contains(err.Error(), "run `make build`") {
		t.Errorf("got %q, want it to say what to do", err)
	}
}
