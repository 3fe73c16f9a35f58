package hoststest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

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
