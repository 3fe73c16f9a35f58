package dockerctl

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// An engine has addresses for about 30 networks of its own choice. When these
// are used up, further networks get blocks of spareRange, which is private and
// seldom used. Engines that allot enough by default-address-pools never come
// to that.
const (
	spareRange  = "10.213.0.0/16"
	spareBits   = 26 // a block has room for 61 containers
	spareBlocks = 1 << (spareBits - 16)
	spareTries  = 16
)

// makeNetwork creates the network, where the engine chooses or else in a
// spare block that nobody seems to use.
func (e *Engine) makeNetwork(ctx context.Context, name string, labels map[string]string) (string, error) {
	ctx, done := seen(ctx)
	defer done()
	opts := client.NetworkCreateOptions{Driver: "bridge", Labels: labels}
	res, err := e.cli.NetworkCreate(ctx, name, opts)
	if err == nil || !exhausted(err) {
		return res.ID, err
	}
	used, listErr := e.usedSubnets(ctx)
	if listErr != nil {
		return "", listErr
	}
	first := blockOf(name)
	for i, tries := 0, 0; i < spareBlocks && tries < spareTries; i++ {
		block := spareBlock((first + i) % spareBlocks)
		if overlapsAny(block, used) {
			continue
		}
		tries++
		opts.IPAM = &network.IPAM{Config: []network.IPAMConfig{{Subnet: block, Gateway: block.Addr().Next()}}}
		res, retryErr := e.cli.NetworkCreate(ctx, name, opts)
		if retryErr == nil || !strings.Contains(retryErr.Error(), "overlaps") {
			return res.ID, retryErr
		}
	}
	return "", err
}

// exhausted reports whether the engine has no addresses for another network.
func exhausted(err error) bool {
	return strings.Contains(err.Error(), "address pool")
}

// blockOf spreads networks over the blocks, so that those made at the same
// moment do not all try the same one.
func blockOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() % spareBlocks)
}

func spareBlock(i int) netip.Prefix {
	base := netip.MustParsePrefix(spareRange).Addr().As4()
	n := binary.BigEndian.Uint32(base[:]) + uint32(i)<<(32-spareBits)
	binary.BigEndian.PutUint32(base[:], n)
	return netip.PrefixFrom(netip.AddrFrom4(base), spareBits)
}

// usedSubnets lists the subnets of the engine's networks, and, where the
// engine is this host's own, of the host's interfaces.
func (e *Engine) usedSubnets(ctx context.Context) ([]netip.Prefix, error) {
	all, err := e.networks(ctx, nil)
	if err != nil {
		return nil, err
	}
	var used []netip.Prefix
	for _, n := range all {
		if p, err := netip.ParsePrefix(n.Subnet); err == nil {
			used = append(used, p)
		}
	}
	if strings.HasPrefix(e.ep.Host, "unix://") {
		used = append(used, hostSubnets()...)
	}
	return used, nil
}

func hostSubnets() []netip.Prefix {
	// Without the list, the engine still refuses what its own networks use.
	addrs, _ := net.InterfaceAddrs()
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(p) {
			return true
		}
	}
	return false
}

// noAddresses is the error for a network that could not be made.
func (e *Engine) noAddresses(name string, networks int) error {
	return broker.Errorf(broker.EUnavailable,
		"can't create network %s: the engine at %s has %d networks and no addresses for one more; remove those that "+
			"nobody uses (docker network ls), or give it more with default-address-pools in its daemon.json", name, e.ep.Host, networks)
}
