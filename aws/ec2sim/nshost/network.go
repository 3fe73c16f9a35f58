//go:build linux

package nshost

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/loads/loads/aws/ec2sim"
)

const (
	subnetBits = 20 // of each simulator: 4,096 addresses
	gateway    = "169.254.1.1"
	metadataIP = "169.254.169.254"
	uplink     = "wan0"
	nic        = "ens5" // as on the real ones
)

// A network is the router between the machines and this computer.
type network struct {
	router *namespace
	device string // this computer's end of the uplink
	prefix netip.Prefix

	mu    sync.Mutex // also one rule set at a time
	links map[string]*netLink
	next  int
}

// A netLink is a machine's connection to the router.
type netLink struct {
	device          string // the router's end
	region          string // whose VPC it is in
	private, public netip.Addr
	groups          []string
	rules           []ec2sim.Rule
	cut             bool
}

// newNetwork makes the router and connects this computer to it.
func newNetwork(ctx context.Context, device string, prefix netip.Prefix) (*network, error) {
	router, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &network{router: router, device: device, prefix: prefix, links: map[string]*netLink{}}
	if err := n.setUp(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make the machines' network: %w", err), n.close(ctx))
	}
	return n, nil
}

func (n *network) setUp(ctx context.Context) error {
	err := n.router.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
	if err != nil {
		return err
	}
	err = n.router.run(ctx, lines(
		"link set lo up",
		"addr add "+gateway+"/32 dev lo",
		"addr add "+metadataIP+"/32 dev lo",
		fmt.Sprintf("link add %s type veth peer name %s netns %d", uplink, n.device, os.Getpid()),
		"addr add "+n.address(2).String()+"/32 peer "+n.address(1).String()+" dev "+uplink,
		"link set "+uplink+" up",
	), "ip", "-batch", "-")
	if err != nil {
		return err
	}
	var here *namespace
	err = here.run(ctx, lines(
		"addr add "+n.address(1).String()+"/32 peer "+n.address(2).String()+" dev "+n.device,
		"link set "+n.device+" up",
		"route add "+n.prefix.String()+" via "+n.address(2).String()+" dev "+n.device+" src "+n.address(1).String(),
	), "ip", "-batch", "-")
	if err != nil {
		return err
	}
	return n.apply(ctx)
}

// address returns the i-th address of the range.
func (n *network) address(i uint32) netip.Addr { return nth(n.prefix, i) }

func nth(p netip.Prefix, i uint32) netip.Addr {
	b := p.Masked().Addr().As4()
	return netip.AddrFrom4(toBytes(binary.BigEndian.Uint32(b[:]) + i))
}

func toBytes(v uint32) (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], v)
	return b
}

// connect gives the process's network namespace its link, by which it is
// known from then on.
func (n *network) connect(ctx context.Context, id string, l netLink, pid int) error {
	n.mu.Lock()
	n.next++
	l.device = "m" + strconv.Itoa(n.next)
	n.links[id] = &l
	err := n.applyLocked(ctx) // before the link: nothing gets by
	n.mu.Unlock()
	if err != nil {
		return err
	}
	err = n.router.run(ctx, lines(
		fmt.Sprintf("link add %s type veth peer name %s netns %d", l.device, nic, pid),
		"link set "+l.device+" up",
		"route add "+l.private.String()+"/32 dev "+l.device+" src "+gateway,
	), "ip", "-batch", "-")
	if err != nil {
		return err
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer file.Close()
	return (&namespace{file}).run(ctx, lines(
		"link set lo up",
		"addr add "+l.private.String()+"/32 dev "+nic,
		"link set "+nic+" up",
		"route add default via "+gateway+" dev "+nic+" onlink",
	), "ip", "-batch", "-")
}

// disconnect takes the machine's link away.
func (n *network) disconnect(ctx context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.links[id]
	if !ok {
		return nil
	}
	delete(n.links, id)
	// It goes by itself when the machine's namespace is dismantled, which may
	// have happened.
	_ = n.router.run(ctx, "", "ip", "link", "del", l.device)
	return n.applyLocked(ctx)
}

// change changes a machine's link, if it has one now.
func (n *network) change(ctx context.Context, id string, f func(*netLink)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.links[id]
	if !ok {
		return nil
	}
	f(l)
	return n.applyLocked(ctx)
}

// owner returns the id of the machine with the private address.
func (n *network) owner(addr netip.Addr) (id string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, l := range n.links {
		if l.private == addr {
			return id, true
		}
	}
	return "", false
}

func (n *network) apply(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applyLocked(ctx)
}

func (n *network) applyLocked(ctx context.Context) error {
	return n.router.run(ctx, ruleset(n.prefix, n.links), "nft", "-f", "-")
}

func (n *network) close(ctx context.Context) error {
	var here *namespace
	_ = here.run(ctx, "", "ip", "link", "del", n.device) // it may not exist yet
	return n.router.close()
}

func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

// freeSubnet picks a range that this computer has no address in and no route
// to, but the default one.
func freeSubnet() (netip.Prefix, error) {
	used, err := usedRanges()
	if err != nil {
		return netip.Prefix{}, err
	}
	for range 200 {
		third := byte(rand.N(16)) << (24 - subnetBits)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + rand.N(100)), third, 0}), subnetBits)
		if !slices.ContainsFunc(used, p.Overlaps) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no free range of addresses from 10.100.0.0 to 10.199.255.255")
}

func usedRanges() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var used []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			used = append(used, p)
		}
	}
	file, err := os.Open("/proc/thread-self/net/route")
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 8 {
			continue
		}
		to, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		if err1 != nil || err2 != nil || mask == 0 { // the heading; the default route
			continue
		}
		addr := netip.AddrFrom4(toBytes(bits.ReverseBytes32(uint32(to))))
		used = append(used, netip.PrefixFrom(addr, bits.OnesCount32(uint32(mask))))
	}
	return used, nil
}
