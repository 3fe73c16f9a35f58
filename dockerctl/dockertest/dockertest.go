// Package dockertest helps tests that run containers on a real Docker engine:
// it makes images without a registry, and removes what tests leave there.
package dockertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/scratch"
)

// LabelTest is on all that tests make in an engine; its value is that of Name.
const LabelTest = "loads.test"

// Endpoint is that of the engine that tests use.
func Endpoint() broker.Endpoint {
	return broker.Endpoint{Host: "unix:///var/run/docker.sock"}
}

// BuildProbe builds the program that tests run in containers, a static binary,
// and returns its path in the folder. See testdata/probe for what it can do.
func BuildProbe(dir string) (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("find the probe's source")
	}
	path := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/probe")
	cmd.Dir = filepath.Dir(file)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build probe: %w\n%s", err, out)
	}
	return path, nil
}

// Image makes an image, unlike all others, whose entrypoint is the program. The
// name is that of Name, which removes it from the engine.
func Image(t testing.TB, program, name string, tags ...string) *scratch.Archive {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	img := scratch.Image{
		Architecture: runtime.GOARCH, Tags: tags, Entrypoint: []string{"/probe"},
		Labels: map[string]string{LabelTest: name, "unlike": uuid.NewString()},
		Files: []scratch.File{
			{Path: "probe", Mode: 0o755, Data: data},
			{Path: "tmp", Mode: 0o1777, Folder: true},
		},
	}
	a, err := img.Build()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Tar returns the archive's bytes.
func Tar(t testing.TB, a *scratch.Archive) []byte {
	t.Helper()
	var buf bytes.Buffer
	if _, err := a.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Name returns a name that nothing else in the engine has. When the test ends,
// containers, networks, volumes and images whose LabelTest it is, and images with it in
// a tag, are removed.
func Name(t testing.TB) string {
	t.Helper()
	name := "loads-test-" + uuid.NewString()[:8]
	t.Cleanup(func() { sweep(t, Client(t, Endpoint()), name) })
	return name
}

// Client returns the SDK's client of an engine, for what only tests ask.
func Client(t testing.TB, ep broker.Endpoint) *client.Client {
	t.Helper()
	c, err := client.New(client.WithHost(ep.Host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Inspect returns all that the engine shows of a container, as JSON.
func Inspect(t testing.TB, c *client.Client, id string) (string, error) {
	t.Helper()
	res, err := c.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(res.Container)
	return string(text), err
}

func sweep(t testing.TB, c *client.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	label := client.Filters{}.Add("label", LabelTest+"="+name)
	containers, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: label})
	check(t, err)
	for _, item := range containers.Items {
		_, err := c.ContainerRemove(ctx, item.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		check(t, err)
	}
	networks, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: label})
	check(t, err)
	for _, item := range networks.Items {
		_, err := c.NetworkRemove(ctx, item.ID, client.NetworkRemoveOptions{})
		check(t, err)
	}
	volumes, err := c.VolumeList(ctx, client.VolumeListOptions{Filters: label})
	check(t, err)
	for _, item := range volumes.Items {
		_, err := c.VolumeRemove(ctx, item.Name, client.VolumeRemoveOptions{})
		check(t, err)
	}
	sweepImages(ctx, t, c, name)
}

// sweepImages removes images by the label that Image gives them, and by tags
// with the name, which node images have.
func sweepImages(ctx context.Context, t testing.TB, c *client.Client, name string) {
	t.Helper()
	images, err := c.ImageList(ctx, client.ImageListOptions{})
	check(t, err)
	for _, item := range images.Items {
		tagged := slices.ContainsFunc(item.RepoTags, func(tag string) bool { return strings.Contains(tag, name) })
		if tagged || item.Labels[LabelTest] == name {
			_, err := c.ImageRemove(ctx, item.ID, client.ImageRemoveOptions{Force: true})
			check(t, err)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("clean up the engine: %v", err)
	}
}
