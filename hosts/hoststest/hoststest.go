// Package hoststest starts Docker hosts for tests: real engines, each in a
// network namespace of its own, as if on so many machines of one network. It
// needs root, and the programs dockerd, containerd, ip and nsenter.
package hoststest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

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
const startLimit = time.Minute

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

// lan is a network namespace with a bridge, which the hosts and the test are
// connected to. The bridge is not in the test's own namespace since an engine
// there lets no packets through that it does not know.
type lan struct {
	t      testing.TB
	name   string
	prefix netip.Prefix
}

func newLAN(t testing.TB) lan {
	t.Helper()
	l := lan{t: t, name: fmt.Sprintf("lt%05x", rand.N(1<<20)), prefix: freeSubnet(t)}
	l.namespace(l.name)
	ip(t, "-n", l.name, "link", "add", "br0", "type", "bridge")
	ip(t, "-n", l.name, "link", "set", "br0", "up")
	l.cable("", l.name+"t", l.address(1))
	return l
}

// namespace makes a network namespace. Its interfaces go with it.
func (l lan) namespace(name string) {
	l.t.Helper()
	ip(l.t, "netns", "add", name)
	l.t.Cleanup(func() { ip(l.t, "netns", "del", name) })
	ip(l.t, "-n", name, "link", "set", "lo", "up")
}

// cable connects a namespace, or the test's own if empty, to the bridge.
func (l lan) cable(ns, device string, addr netip.Addr) {
	l.t.Helper()
	ip(l.t, "link", "add", device, "type", "veth", "peer", "name", device+"p", "netns", l.name)
	if ns == "" {
		l.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", device).Run() }) // may have gone with its peer
	}
	ip(l.t, "-n", l.name, "link", "set", device+"p", "master", "br0", "up")
	in := []string{}
	if ns != "" {
		ip(l.t, "link", "set", device, "netns", ns)
		in = []string{"-n", ns}
	}
	cidr := netip.PrefixFrom(addr, l.prefix.Bits()).String()
	ip(l.t, append(slices.Clone(in), "addr", "add", cidr, "dev", device)...)
	ip(l.t, append(slices.Clone(in), "link", "set", device, "up")...)
}

// address returns the n-th address of the network.
func (l lan) address(n int) netip.Addr {
	a := l.prefix.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// freeSubnet picks a network that this machine has no address in.
func freeSubnet(t testing.TB) netip.Prefix {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(214 + rand.N(40)), byte(rand.N(256)), 0}), 24)
		if !slices.ContainsFunc(addrs, func(a net.Addr) bool {
			used, err := netip.ParsePrefix(a.String())
			return err == nil && used.Overlaps(p)
		}) {
			return p
		}
	}
	t.Fatal("no free network for the hosts")
	return netip.Prefix{}
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
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
		select {
		case <-gone:
		default:
			removeContainers(t, h)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
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

// killAll kills what find finds, until it finds no more.
func killAll(t testing.TB, name string, find func() []int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		pids := find()
		if len(pids) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("processes %v of %s can't be killed", pids, name)
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended is no matter
		}
	}
}

// cgroups returns the control groups of an engine's containers, in all
// hierarchies, the innermost first.
func cgroups(ns string) []string {
	var out []string
	for _, pattern := range []string{"/sys/fs/cgroup/loads-test-", "/sys/fs/cgroup/*/loads-test-"} {
		roots, _ := filepath.Glob(pattern + ns) // the only error is a bad pattern
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					out = append(out, path)
				}
				return nil // one that has gone meanwhile is no matter
			})
		}
	}
	slices.Reverse(out)
	return out
}

// members returns the processes in an engine's containers, which outlive an
// engine that is killed.
func members(ns string) []int {
	var pids []int
	for _, group := range cgroups(ns) {
		list, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue // gone
		}
		for f := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func removeCgroups(t testing.TB, ns string) {
	t.Helper()
	for _, group := range cgroups(ns) {
		if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("clean up hosts: %v", err)
		}
	}
}

// below returns the processes that name the folder in their command line: the
// engine, its containerd, and the shims of its containers, which have left the
// engine's process group.
func below(t testing.TB, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// unmountBelow unmounts what engine and containers have mounted, the innermost
// first.
func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	slices.Reverse(points)
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil && !errors.Is(err, fs.ErrNotExist) && err != syscall.EINVAL {
			t.Errorf("unmount %s: %v", p, err)
		}
	}
}

// removeContainers ends the containers of an engine, which would survive it.
func removeContainers(t testing.TB, h Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c, err := client.New(client.WithHost(h.Socket))
	if err != nil {
		t.Errorf("clean up %s: %v", h.Name, err)
		return
	}
	defer c.Close()
	list, err := c.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		t.Errorf("clean up %s: %v", h.Name, err)
	}
	for _, item := range list.Items {
		if _, err := c.ContainerRemove(ctx, item.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Errorf("clean up %s: %v", h.Name, err)
		}
	}
}

func awaitEngine(t testing.TB, h Host) {
	t.Helper()
	c, err := client.New(client.WithHost(h.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		_, err := c.Ping(ctx, client.PingOptions{})
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
