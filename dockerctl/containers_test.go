package dockerctl_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

func TestContainer_LivesFromCreateToRemove(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	ctx := t.Context()
	id := b.create(b.spec("life", "exit", "7"))

	c := b.inspect(id)
	if c.State != "created" || c.Started() || c.Running() {
		t.Fatalf("after create: got %+v, want created and not started", c)
	}
	if c.Name != b.name+"-life" || c.Image != b.image || c.Labels["part"] != "life" {
		t.Errorf("got %+v, want the name, image and labels of its spec", c)
	}
	before := time.Now()
	if err := b.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(ctx, id); err != nil {
		t.Fatal(err)
	}
	c = b.inspect(id)
	if c.State != "exited" || c.ExitCode != 7 || !c.Started() || c.Running() {
		t.Errorf("after its end: got %+v, want exited with status 7", c)
	}
	// An engine that is busy notes the start when a container so short has ended.
	if least := before.Add(-time.Second); c.StartedAt.Before(least) || c.FinishedAt.Before(least) {
		t.Errorf("got times %v to %v, want them after %v", c.StartedAt, c.FinishedAt, before)
	}
	for range 2 {
		if err := b.Remove(ctx, id); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	_, err := b.Inspect(ctx, id)
	wantCode(t, err, broker.ENotFound)
}

func TestCreate_SetsTheKernelOfTheContainersNetwork(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	for name, value := range map[string]string{
		"net.ipv4.ip_local_port_range": "1024\t65535", "net.core.somaxconn": "65535", "net.ipv4.ip_local_reserved_ports": "8000,9000",
	} {
		spec := b.spec("sysctl-"+name, "cat", "/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
		spec.Sysctls = map[string]string{name: strings.ReplaceAll(value, "\t", " ")}
		if got := strings.TrimSpace(b.run(spec)); got != value {
			t.Errorf("%s is %q in the container, want %q", name, got, value)
		}
	}
}

// openBehind returns an engine whose calls come to serve first.
func openBehind(t *testing.T, serve func(engine http.Handler, w http.ResponseWriter, r *http.Request)) *dockerctl.Engine {
	t.Helper()
	to := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(dockertest.Endpoint().Host, "unix://"))
		}},
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(to, w, r) }))
	t.Cleanup(front.Close)
	e, err := dockerctl.Open(broker.Endpoint{Host: "tcp://" + front.Listener.Addr().String()}, dockerctl.Options{})
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

// TestCreate_SeesToTheEndWhatItAskedFor is about a run that is aborted while the
// engine creates its container: what is cleaned up afterwards must be there by then.
func TestCreate_SeesToTheEndWhatItAskedFor(t *testing.T) {
	b := mustBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := openBehind(t, func(engine http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/create") {
			cancel()
			select { // an engine does not care whether anybody waits
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		engine.ServeHTTP(w, r)
	})
	spec := b.spec("seen", "exit", "0")
	if _, err := e.Create(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("create: got %v, want that it was canceled", err)
	}
	if c, err := b.Inspect(t.Context(), spec.Name); err != nil || c.State != "created" {
		t.Errorf("got %+v, %v; want the container to be there when its creation was given up", c, err)
	}
}

func TestStart_LeavesAloneWhatHasEnded(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("once", "exit", "0"))
	if err := b.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	want := b.inspect(id)
	if err := b.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.inspect(id)); diff != "" {
		t.Errorf("started again (-want +got):\n%s", diff)
	}
}

func TestCreate_FindsTheFirstByName(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("twin", "cat", "/etc/some/file")
	first := b.create(spec)

	// As after a crash between making the container and giving it its files.
	spec.Files = map[string][]byte{"/etc/some/file": []byte("content")}
	if got := b.create(spec); got != first {
		t.Fatalf("got container %s, want the first, %s", got, first)
	}
	if err := b.Start(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := b.output(first); got != "content" {
		t.Errorf("got file %q, want it put by the second create", got)
	}
	if got := b.create(spec); got != first {
		t.Errorf("after its end: got container %s, want the first, %s", got, first)
	}
	spec.Labels["part"] = "other"
	_, err := b.Create(t.Context(), spec)
	wantCode(t, err, broker.EConflict)
}

func TestCreate_OneOfManyAtOnce(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	ids := make(chan string)
	for range 8 {
		go func() {
			id, err := b.Create(t.Context(), b.spec("same", "sleep"))
			if err != nil {
				id = err.Error()
			}
			ids <- id
		}()
	}
	var got []string
	for range 8 {
		got = append(got, <-ids)
	}
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 1 {
		t.Errorf("got %d containers %v, want one", len(got), got)
	}
}

func TestCreate_PassesTheSpecOn(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("spec", "env")
	spec.Env = []string{"A=1", "B=two words"}
	spec.DNS = []string{"10.1.2.3"}
	spec.NanoCPUs, spec.Memory = 500_000_000, 64<<20
	spec.StopTimeout = 1500 * time.Millisecond
	spec.Ulimits = map[string][2]int64{"nofile": {1234, 2345}}
	spec.Ports = []broker.PortBinding{{Container: 80, Host: 18080, Protocol: "tcp", Address: "127.0.0.1"}}
	spec.Volumes = []broker.VolumeBinding{{Container: "/in", Host: t.TempDir(), ReadOnly: true}}
	id := b.create(spec)

	res, err := dockertest.Client(t, dockertest.Endpoint()).ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, cfg := res.Container.HostConfig, res.Container.Config
	for _, row := range []struct {
		what      string
		got, want any
	}{
		{"environment", cfg.Env[:2], spec.Env},
		{"name servers", h.DNS[0].String(), "10.1.2.3"},
		{"processors", h.NanoCPUs, int64(500_000_000)},
		{"memory", h.Memory, int64(64 << 20)},
		{"stop timeout, rounded up", *cfg.StopTimeout, 2},
		{"log driver", h.LogConfig.Type, "json-file"},
		{"log size", h.LogConfig.Config, map[string]string{"max-size": "104857600", "max-file": "5"}},
		{"restart policy", string(h.RestartPolicy.Name), "no"},
		{"init", *h.Init, false},
		{"mounts", h.Binds, []string{spec.Volumes[0].Host + ":/in:ro"}},
	} {
		if diff := cmp.Diff(row.want, row.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.what, diff)
		}
	}
	for port, bindings := range h.PortBindings {
		if port.String() != "80/tcp" || bindings[0].HostIP.String() != "127.0.0.1" || bindings[0].HostPort != "18080" {
			t.Errorf("got port %s on %v, want 80/tcp on 127.0.0.1:18080", port, bindings)
		}
	}
	limits := b.spec("limits", "nofile")
	limits.Ulimits = spec.Ulimits
	// A Go program raises its own soft limit towards the hard one.
	if got := b.run(limits); !strings.HasSuffix(got, " 2345\n") {
		t.Errorf("got limits %q, want 2345 for the hard one", got)
	}
	if u := h.Ulimits[0]; u.Name != "nofile" || u.Soft != 1234 || u.Hard != 2345 {
		t.Errorf("got limits %v, want nofile 1234 to 2345", u)
	}
}

func TestCreate_PublishesOnAFreePort(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("port", "sleep")
	spec.Ports = []broker.PortBinding{{Container: 80, Protocol: "tcp", Address: "127.0.0.1"}}
	c := b.inspect(b.start(spec))
	if len(c.Ports) != 1 || c.Ports[0].Host == 0 {
		t.Fatalf("got %+v, want the one port that the engine has chosen", c.Ports)
	}
	if got, want := c.Ports[0], (broker.PortBinding{Container: 80, Host: c.Ports[0].Host, Protocol: "tcp", Address: "127.0.0.1"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCreate_FilesKeepTheFoldersTheyGoInto(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("mode", "mode", "/tmp")
	spec.Files = map[string][]byte{"/tmp/a/b.txt": []byte("x")}
	if got, want := b.run(spec), "dtrwxrwxrwx\n"; got != want {
		t.Errorf("got mode %q of /tmp, want %q", got, want)
	}
	spec = b.spec("new", "mode", "/tmp/a")
	spec.Files = map[string][]byte{"/tmp/a/b.txt": []byte("x")}
	if got, want := b.run(spec), "drwxr-xr-x\n"; got != want {
		t.Errorf("got mode %q of a new folder, want %q", got, want)
	}
}

func TestPutFiles_ReplacesThoseOfARunningContainer(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("put", "until", "/etc/some/file", "second")
	spec.Volumes = []broker.VolumeBinding{{Container: "/host/proc", Host: "/proc", ReadOnly: true}}
	id := b.start(spec)
	for _, content := range []string{"first", "second"} {
		if err := b.PutFiles(t.Context(), id, map[string][]byte{"/etc/some/file": []byte(content)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Wait(ctx, id); err != nil {
		t.Errorf("the container did not see the second content: %v", err)
	}
	if err := b.PutFiles(t.Context(), id, map[string][]byte{"/etc/some/file": []byte("third")}); err != nil {
		t.Errorf("into one that has ended: %v", err)
	}
	wantCode(t, b.PutFiles(t.Context(), id, map[string][]byte{"etc/file": nil}), broker.EInvalid)
	wantCode(t, b.PutFiles(t.Context(), b.name+"-none", map[string][]byte{"/etc/file": nil}), broker.ENotFound)
}

// What is brought in a hurry takes one call, once its folder is there.
func TestPutFiles_MakesNoDetours(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("hurry", "until", "/new/folder/one", "2"))
	var calls []string
	e := openBehind(t, func(engine http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/archive") {
			calls = append(calls, r.Method+" "+r.URL.Query().Get("path"))
		}
		engine.ServeHTTP(w, r)
	})
	one, two, both := []byte("1"), []byte("2"), []string{"/new/folder/one", "/new/folder/two"}
	for _, tt := range []struct {
		files map[string][]byte
		want  []string
	}{
		{map[string][]byte{both[0]: one}, []string{"PUT /new/folder", "HEAD /new", "HEAD /new/folder", "PUT /"}},
		{map[string][]byte{both[0]: two, both[1]: two}, []string{"PUT /new/folder"}},
		{map[string][]byte{"/elsewhere": one, both[1]: one}, []string{"HEAD /new", "HEAD /new/folder", "PUT /"}},
		{map[string][]byte{"/elsewhere": two}, []string{"PUT /"}},
	} {
		calls = nil
		if err := e.PutFiles(t.Context(), id, tt.files); err != nil || !slices.Equal(calls, tt.want) {
			t.Errorf("%d files: calls %q, error %v; want %q", len(tt.files), calls, err, tt.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Wait(ctx, id); err != nil {
		t.Errorf("the container did not see the second content: %v", err)
	}
}

func TestCreate_BindsWhatTheKernelSays(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("proc", "cat", "/host/proc/1/cgroup")
	spec.Volumes = []broker.VolumeBinding{
		{Container: "/host/proc", Host: "/proc", ReadOnly: true},
		{Container: "/host/cgroup", Host: "/sys/fs/cgroup", ReadOnly: true},
	}
	if got := b.run(spec); !strings.Contains(got, ":/") {
		t.Errorf("got %q, want the control groups of the host's first process", got)
	}
}

func TestCreate_HostNetworkSeesTheHost(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	spec := b.spec("host", "cat", "/proc/net/dev")
	spec.Network = "host"
	if got := b.run(spec); !strings.Contains(got, "docker0") {
		t.Errorf("got interfaces %q, want docker0 among them", got)
	}
}

func TestCreate_RefusesBadSpecs(t *testing.T) {
	t.Parallel()
	e := mustBench(t)
	for _, row := range []struct {
		name string
		edit func(*broker.ContainerSpec)
		want broker.Code
	}{
		{"an image that is not there", func(s *broker.ContainerSpec) { s.Image = "loads-test-none:1" }, broker.ENotFound},
		{"a network that is not there", func(s *broker.ContainerSpec) { s.Network = "loads-test-none" }, broker.ENotFound},
		{"a name server that is no address", func(s *broker.ContainerSpec) { s.DNS = []string{"ns.example"} }, broker.EInvalid},
		{"a port out of range", func(s *broker.ContainerSpec) {
			s.Ports = []broker.PortBinding{{Container: 80, Host: 70000, Protocol: "tcp"}}
		}, broker.EInvalid},
		{"a protocol of neither kind", func(s *broker.ContainerSpec) {
			s.Ports = []broker.PortBinding{{Container: 80, Host: 80, Protocol: "sctp"}}
		}, broker.EInvalid},
		{"an address of a port that is none", func(s *broker.ContainerSpec) {
			s.Ports = []broker.PortBinding{{Container: 80, Host: 80, Protocol: "tcp", Address: "here"}}
		}, broker.EInvalid},
		{"a volume's name in place of a path", func(s *broker.ContainerSpec) {
			s.Volumes = []broker.VolumeBinding{{Container: "/data", Host: "data"}}
		}, broker.EInvalid},
		{"a file outside of the root", func(s *broker.ContainerSpec) {
			s.Files = map[string][]byte{"/../etc/passwd": nil}
		}, broker.EInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec := e.spec("bad", "sleep")
			row.edit(&spec)
			id, err := e.Create(t.Context(), spec)
			if err == nil { // the network is looked up at the start
				err = e.Start(t.Context(), id)
			}
			wantCode(t, err, row.want)
			if err := e.Remove(t.Context(), spec.Name); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStop_AsksThenKills(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	for _, row := range []struct {
		name, verb string
		timeout    time.Duration
		exit       int
	}{
		{"a container that listens ends by itself", "sleep", patience, 0},
		{"a container that does not is killed", "stubborn", time.Second, 137},
		{"no timeout kills at once", "stubborn", 0, 137},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := b.start(b.spec("stop", row.verb))
			defer b.Remove(context.Background(), id)
			await(t, "the container's first line", func() bool { return strings.Contains(b.output(id), "asleep") })
			for range 2 { // the second finds it stopped
				if err := b.Stop(t.Context(), id, row.timeout); err != nil {
					t.Fatal(err)
				}
			}
			c := b.inspect(id)
			if c.Running() || c.ExitCode != row.exit {
				t.Errorf("got %s with status %d, want exited with %d", c.State, c.ExitCode, row.exit)
			}
			if c.FinishedAt.Before(c.StartedAt) {
				t.Errorf("got times %v to %v, want them in order", c.StartedAt, c.FinishedAt)
			}
		})
	}
	wantCode(t, b.Stop(t.Context(), b.name+"-none", 0), broker.ENotFound)
}

func TestWait_BeginsBeforeTheStart(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.create(b.spec("early", "exit", "0"))
	ended := make(chan error, 1)
	go func() { ended <- b.Wait(t.Context(), id) }()
	select {
	case err := <-ended:
		t.Fatalf("the wait ended before the start: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := b.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the wait did not end with the container")
	}
}

func TestWait_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("long", "sleep"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Wait(ctx, id) }()
	cancel()
	err := <-ended
	wantCode(t, err, broker.EUnavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to wrap the context's error", err)
	}
	wantCode(t, b.Wait(t.Context(), b.name+"-none"), broker.ENotFound)
}

func TestWait_EndsWhenTheContainerIsRemoved(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("gone", "sleep"))
	ended := make(chan error, 1)
	go func() { ended <- b.Wait(t.Context(), id) }()
	if err := b.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		wantCode(t, err, broker.ENotFound) // when it was gone before the wait began
	}
}

func TestList_FindsByAllLabels(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	running := b.start(b.spec("one", "sleep"))
	created := b.create(b.spec("two", "sleep"))
	for _, row := range []struct {
		name   string
		labels map[string]string
		want   []string
	}{
		{"the label of both", map[string]string{dockertest.LabelTest: b.name}, []string{running, created}},
		{"two labels of one", map[string]string{dockertest.LabelTest: b.name, "part": "two"}, []string{created}},
		{"a value that none has", map[string]string{dockertest.LabelTest: b.name, "part": "three"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			list, err := b.List(t.Context(), row.labels)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range list {
				got = append(got, c.ID)
			}
			slices.Sort(got)
			slices.Sort(row.want)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
		})
	}
}
