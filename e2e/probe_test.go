package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
)

// countImage makes an image of the probe, which sends as many packets of one
// hit as it is told, as a user who is nobody. It returns the name of the image
// and its tarball; the image is removed when the test ends.
func countImage(t *testing.T) (ref, tarball string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(binDir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	name := dockertest.Name(t)
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{name + ":1"}, Entrypoint: []string{"/probe", "count"}, User: "4321:4321",
		Labels: map[string]string{dockertest.LabelTest: name, "made-at": time.Now().String()},
		Files:  []scratch.File{{Path: "probe", Mode: 0o755, Data: program}},
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	return name + ":1", "file://" + file
}

// countPlan counts n hits on each of some machines, over UDP or unixgram.
func countPlan(t *testing.T, machines int, network string, n, eachMS int) string {
	t.Helper()
	ref, tarball := countImage(t)
	address := map[string]string{"udp": "$STATSD_HOST:$STATSD_PORT", "unixgram": "$STATSD_SOCKET"}[network]
	return fmt.Sprintf(`
name: hits
criteria: ['count("hits") == %d']
steps:
  - {name: load, instance_count: %d, container_name: '%s', container_url: '%s', additional_command_args: '%s %s %d %d', run_max_time: 60, stop_timeout: 1}
`, n*machines, machines, ref, tarball, network, address, n, eachMS)
}
