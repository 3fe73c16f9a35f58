package e2e_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
)

// bulky is a tarball of the probe with so many bytes beside it that nothing
// compresses.
func bulky(t *testing.T, ref string, size int) (file string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(binDir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	ballast := make([]byte, size)
	_, _ = rand.Read(ballast) // never fails
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{ref}, Entrypoint: []string{"/probe"},
		Files: []scratch.File{{Path: "probe", Mode: 0o755, Data: program}, {Path: "ballast", Mode: 0o644, Data: ballast}},
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestEC2_ImagesGoFromMachineToMachine has five machines with an image that the
// broker has, and counts what it sends, over a kill of the broker half-way.
func TestEC2_ImagesGoFromMachineToMachine(t *testing.T) {
	t.Parallel()
	const machines = 5
	c := startEC2(t)
	d := c.broker()
	file := bulky(t, "bulky:1", 12<<20)
	run := d.trigger(fmt.Sprintf(`name: spread
max_cpu_percent: 100 # this computer is more than the machines
max_skew_ms: 60000
steps:
  - {name: load, container_name: 'bulky:1', container_url: 'file://%s', additional_command_args: sleep, instance_count: %d, run_max_time: 25, stop_timeout: 1}
`, file, machines))
	until(t, "the image is on a first machine", 2*time.Minute, func() bool { return strings.Contains(d.events(run), "Image bulky:1:") })
	d.kill()
	d.start()
	r := d.await(run)
	d.pass(r)
	c.nothing(machines)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	node, err := os.Stat(filepath.Join(binDir, "loads-node-linux-"+runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{"bulky:1": info.Size(), broker.NodeImage: node.Size()}
	for _, i := range r.Run.Images {
		size := sizes[i.Image]
		delete(sizes, i.Image)
		if i.Machines != machines || i.Uploads != 1 || i.FromMachines != machines-1 || i.UploadBytes > size*11/10+1<<20 {
			t.Errorf("image %s of %d bytes: %+v, want it sent once", i.Image, size, i)
		}
		if events := d.events(r.Run.UUID); !strings.Contains(events, i.String()) {
			t.Errorf("events %s, want %q among them", events, i)
		}
	}
	if len(sizes) > 0 {
		t.Errorf("images %+v, want %v among them", r.Run.Images, sizes)
	}
}
