package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// imageTarball writes what docker save would, compressed, of an image with the
// node program and a health check. The image is removed when the test ends.
func imageTarball(t *testing.T, ref string) string {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(binDir, "loads-node-linux-"+runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	layer := tarOf(t, []entry{{"loads-node", program}})
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Entrypoint":  []string{"/loads-node"},
			"Healthcheck": map[string]any{"Test": []string{"CMD", "/loads-node", "version"}, "Interval": int64(300 * time.Millisecond)},
			"Labels":      map[string]string{"made-for": ref}, // a different image for every test
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{ref}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(tarOf(t, []entry{{"manifest.json", manifest}, {"config.json", config}, {"layer.tar", layer}})); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar.gz")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := sdk(t).ImageRemove(context.Background(), ref, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the test's image: %v", err)
		}
	})
	return file
}

type entry struct {
	name string
	data []byte
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func sdk(t *testing.T) *client.Client {
	t.Helper()
	cli, err := client.New(client.WithHost("unix:///var/run/docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	return cli
}

func TestFieldsOfAStepReachItsContainer(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	ref := fmt.Sprintf("loads-e2e/fields:%d", time.Now().UnixNano())
	files := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(imageTarball(t, ref)))))
	t.Cleanup(files.Close)
	data := t.TempDir()
	plan := fmt.Sprintf(`
name: fields
steps:
  - name: all
    container_name: %s
    container_url: %s/$FILE
    additional_command_args: sleep 300s --print "two words $GREETING"
    environment_data: [GREETING=hello, "WHERE=$PRIVATE_IP/$GREETING", "API_TOKEN=t0psecret", "URL=http://x/?t=$API_TOKEN"]
    volume_mapping: /data:%s/$RUN_ID:rw,/fixed:%s
    port_mapping: "7000:7100/udp"
    ulimits: {nofile: "1000:2000"}
    cpus: 0.5
    memory: 64m
    stop_timeout: 7
    docker_series: front
    ready: {health: true, timeout: 240}
    _capture_output: /out/all.log
`, ref, files.URL, data, data)
	p, err := d.Import(t.Context(), "plan.yaml", []byte(plan), true)
	if err != nil {
		t.Fatal(err)
	}
	run, err := d.Start(t.Context(), p.Plans[0].UUID, api.StartOptions{
		Owner: "somebody", Environment: map[string]string{"FILE": "image.tar.gz", "GREETING": "goodbye", "SESSION_TOKEN": "hush-hush"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ofTheStep := metrics.Query{Metric: "sleep.ticks", Tags: []metrics.Tag{{Name: "type", Value: "front"}}}
	until(t, "the container is healthy, and counts", 5*time.Minute, func() bool {
		r := d.mustRun(run)
		if r.State == broker.Completed {
			t.Fatalf("the run ended: %s (%s)", r.Verdict, r.Reason)
		}
		lines, err := d.Series(t.Context(), run, ofTheStep)
		return r.StepRecords[0].ReadyAt != nil && err == nil && len(lines) > 0
	})
	_, machines := d.look(run)
	checkContainer(t, machines[0], d.mustRun(run), data)
	d.endStep(t, run, 0)

	r := d.await(run)
	d.pass(r)
	if env := r.Machines[0].Environment; env["API_TOKEN"] != "***" || env["URL"] != "http://x/?t=***" || env["GREETING"] != "goodbye" {
		t.Errorf("environment kept: %v, want it resolved, and secrets masked", env)
	}
	if env := r.Run.Environment; env["SESSION_TOKEN"] != "***" || env["FILE"] != "image.tar.gz" {
		t.Errorf("environment of the run: %v, want secrets masked", env)
	}
	marked, err := d.Series(t.Context(), run, ofTheStep)
	if err != nil || len(marked) != 1 || len(marked[0].Buckets) == 0 {
		t.Errorf("metrics of the series front: %v, %v; want those of the step", marked, err)
	}
	out, err := os.ReadFile(filepath.Join(d.dir, "loads.db.d", "runs", run, "output", "out", "all.log"))
	if err != nil || !strings.Contains(string(out), "two words goodbye") {
		t.Errorf("captured output %q, %v; want the words printed", out, err)
	}
}

func checkContainer(t *testing.T, m api.Machine, run api.Run, data string) {
	t.Helper()
	res, err := sdk(t).ContainerInspect(t.Context(), m.ContainerID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := res.Container
	if h := c.HostConfig; h.Memory != 64<<20 || h.NanoCPUs != 5e8 || len(h.Ulimits) != 1 || h.Ulimits[0].Soft != 1000 || h.Ulimits[0].Hard != 2000 {
		t.Errorf("limits: memory %d, cpus %d, ulimits %v", h.Memory, h.NanoCPUs, h.Ulimits)
	}
	if s := c.HostConfig.Sysctls; s["net.ipv4.ip_local_port_range"] != "1024 65535" || s["net.core.somaxconn"] != "65535" || s["net.ipv4.ip_local_reserved_ports"] != "7000" {
		t.Errorf("kernel settings: %v", s)
	}
	if c.Config.StopTimeout == nil || *c.Config.StopTimeout != 7 {
		t.Errorf("stop timeout %v, want 7", c.Config.StopTimeout)
	}
	mounts := map[string]string{}
	for _, mount := range c.Mounts {
		mounts[mount.Destination] = fmt.Sprintf("%s %v", mount.Source, mount.RW)
	}
	if mounts["/data"] != data+"/"+run.UUID+" true" || mounts["/fixed"] != data+" false" {
		t.Errorf("mounts: %v", mounts)
	}
	for _, want := range []string{
		"RUN_ID=" + run.UUID, "STATSD_HOST=" + m.Address, "STATSD_PORT=8125", "STATSD_SOCKET=/run/loads/statsd.sock", "PRIVATE_IP=" + m.Address,
		"FILE=image.tar.gz", "GREETING=goodbye", "WHERE=" + m.Address + "/goodbye", "API_TOKEN=t0psecret",
		fmt.Sprint("LOADS_START_AT=", run.StepRecords[0].StartAt.Add(time.Second).UnixMilli()),
	} {
		if !slices.Contains(c.Config.Env, want) {
			t.Errorf("environment lacks %s: %v", want, c.Config.Env)
		}
	}
}

func TestBrokerStoppedInOrderLeavesItsRunsToTheNext(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger(crashPlan + "  - {name: hold, container_name: loads/node, additional_command_args: sleep 600s, run_max_time: 900}\n")
	until(t, "it runs", 5*time.Minute, func() bool { return d.mustRun(run).State == broker.Running })
	d.stop()
	if left := leftovers(t, map[string]string{broker.LabelRun: run}); len(left) == 0 {
		t.Error("the run's containers were removed with the broker")
	}
	d.start()
	d.endStep(t, run, 3)
	d.survived(run)
}
