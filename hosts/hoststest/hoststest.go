// Package hoststest starts Docker hosts for tests: real engines, each in a
// network namespace of its own, as if on so many machines of one network. It
// needs root, and the programs dockerd, containerd, ip and nsenter.
package hoststest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

// A Host is a running Docker host.
type Host struct {
	Name     string
	Endpoint broker.Endpoint // tcp:// with mutual TLS
	// Address is the host's own address, reached from its containers, from the
	// other hosts and from the test.
	Address string
	// Socket is the engine's local socket, unix://…
	Socket string
	// Stranger is Endpoint with the client certificate of another authority.
	Stranger broker.Endpoint

	kill  func()
	ended <-chan struct{} // closed when the engine has
}

// Kill ends the engine as kill -9 does. Its containers run on.
func (h Host) Kill() { h.kill() }

// startLimit is how long an engine may take to answer.
const startLimit = 5 * time.Minute

// StartEngines starts n engines on a network of their own, which the test is
// on as well. They and all they have made are gone when the test ends.
func StartEngines(t testing.TB, n int) []Host {
	t.Helper()
	lan := newLAN(t)
	dir := folder(t)
	ours, theirs := newAuthority(t, filepath.Join(dir, "ca")), newAuthority(t, filepath.Join(dir, "other-ca"))
	hosts := make([]Host, n)
	for i := range hosts {
		hosts[i] = startEngine(t, lan, dir, ours, theirs, i)
	}
	for _, h := range hosts {
		awaitEngine(t, h)
	}
	return hosts
}

// folder makes a folder outside of any overlay, with a short path: the
// engine's sockets are below it.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "loads-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up hosts: %v", err)
		}
	})
	return dir
}

func startEngine(t testing.TB, l lan, dir string, ours, theirs *authority, i int) Host {
	t.Helper()
	name := fmt.Sprintf("host-%d", i+1)
	ns := fmt.Sprintf("%sh%d", l.name, i+1)
	l.namespace(ns)
	addr := l.address(i + 2)
	l.cable(ns, ns, addr)
	dir = filepath.Join(dir, fmt.Sprintf("h%d", i+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cert, key := ours.server(name, addr.String())
	clientCert, clientKey := ours.client(name + "-client")
	otherCert, otherKey := theirs.client(name + "-client")
	h := Host{
		Name: name, Address: addr.String(), Socket: "unix://" + filepath.Join(dir, "docker.sock"),
		Endpoint: broker.Endpoint{Host: fmt.Sprintf("tcp://%s:2376", addr), CA: ours.file, Cert: clientCert, Key: clientKey},
	}
	h.Stranger = h.Endpoint
	h.Stranger.Cert, h.Stranger.Key = otherCert, otherKey
	h.kill, h.ended = run(t, h, ns, dir, "--host", h.Socket, "--host", h.Endpoint.Host,
		"--tlsverify", "--tlscacert", ours.file, "--tlscert", cert, "--tlskey", key)
	return h
}

// run starts dockerd in the namespace and returns what kills it. The namespace
// is entered by nsenter, since "ip netns exec" hides the cgroups.
func run(t testing.TB, h Host, ns, dir string, args ...string) (kill func(), ended <-chan struct{}) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "daemon.json") // not that of the machine's own engine
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{
		"--net=/run/netns/" + ns, "dockerd",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "x"), "--pidfile", filepath.Join(dir, "pid"),
		"--containerd-namespace", ns, "--containerd-plugins-namespace", ns + "-plugins", "--config-file", config,
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/loads-test-" + ns,
	}, args...)
	cmd := exec.Command("nsenter", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		_ = log.Close()
		close(gone)
	}()
	t.Cleanup(func() {
		killAll(t, h.Name, func() []int { return members(ns) }) // else the engine waits for them
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(time.Minute):
		}
		killAll(t, h.Name, func() []int { return append(below(t, dir), members(ns)...) })
		<-gone
		removeCgroups(t, ns)
		unmountBelow(t, dir)
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the log of %s ends:\n%s", h.Name, text[max(0, len(text)-4096):])
		}
	})
	return func() {
		_ = cmd.Process.Kill()
		<-gone
	}, gone
}

func awaitEngine(t testing.TB, h Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		err := ping(ctx, strings.TrimPrefix(h.Socket, "unix://"))
		if err == nil {
			return
		}
		select {
		case <-h.ended:
			t.Fatalf("%s ended at its start: %v", h.Name, err)
		case <-ctx.Done():
			t.Fatalf("%s did not answer within %v: %v", h.Name, startLimit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, socket string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ping answered %s", res.Status)
	}
	return nil
}
