package e2e_test

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
)

// probeImage makes an image whose program is the probe, or what change makes
// of it, and whose user is nobody. It returns the name of the image and its
// tarball; the image is removed when the test ends.
func probeImage(t *testing.T, change func(program []byte)) (ref, tarball string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(binDir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(program)
	}
	name := dockertest.Name(t)
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{name + ":1"}, Entrypoint: []string{"/probe"}, User: "4321:4321",
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

// probing is a step that runs the probe with the arguments.
func probing(t *testing.T, args string) string {
	t.Helper()
	ref, tarball := probeImage(t, nil)
	return fmt.Sprintf("{name: load, container_name: '%s', container_url: '%s', additional_command_args: '%s'}", ref, tarball, args)
}

// foreign is a step whose program is for another kind of processor.
func foreign(t *testing.T) string {
	t.Helper()
	ref, tarball := probeImage(t, func(program []byte) {
		binary.LittleEndian.PutUint16(program[18:], uint16(elf.EM_S390))
	})
	return fmt.Sprintf("{name: load, container_name: '%s', container_url: '%s'}", ref, tarball)
}

// countPlan counts n hits on each of some machines, over UDP or unixgram.
func countPlan(t *testing.T, machines int, network string, n, eachMS int) string {
	t.Helper()
	ref, tarball := probeImage(t, nil)
	address := map[string]string{"udp": "$STATSD_HOST:$STATSD_PORT", "unixgram": "$STATSD_SOCKET"}[network]
	return fmt.Sprintf(`
name: hits
max_skew_ms: 60000
criteria: ['count("hits") == %d']
steps:
  - {name: load, instance_count: %d, container_name: '%s', container_url: '%s', additional_command_args: 'count %s %s %d %d', run_max_time: 120, stop_timeout: 1}
`, n*machines, machines, ref, tarball, network, address, n, eachMS)
}
