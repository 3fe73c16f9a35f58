package ec2sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// A region is what one account has in one region. Its default VPC has a subnet
// in each zone.
type region struct {
	catalog.Region
	account  string
	vpc      string
	subnets  []subnet // in order of the zones
	defaults *group   // the VPC's default security group

	instances  map[string]*instance
	groups     map[string]*group
	spots      map[string]*spotRequest
	volumes    map[string]*volume
	interfaces map[string]*networkInterface
	launches   map[string]*launch // by ClientToken
	buckets    map[string]*bucket
	serial     int // of what was made last
}

type subnet struct {
	ID   string
	Zone catalog.Zone
	CIDR netip.Prefix
}

func newRegion(s *Sim, account string, about catalog.Region) *region {
	r := &region{
		Region: about, account: account,
		instances: map[string]*instance{}, groups: map[string]*group{}, spots: map[string]*spotRequest{},
		volumes: map[string]*volume{}, interfaces: map[string]*networkInterface{},
		launches: map[string]*launch{}, buckets: map[string]*bucket{},
	}
	r.vpc = s.dice.id("vpc")
	for i, zone := range about.Zones {
		r.subnets = append(r.subnets, subnet{ID: s.dice.id("subnet"), Zone: zone, CIDR: s.addresses.zones[i].prefix})
	}
	r.defaults = &group{
		resource: r.newResource(s.dice.id("sg"), "security-group", time.Time{}),
		Name:     "default", Description: "default VPC security group",
	}
	r.defaults.rules = []groupRule{
		{ID: s.dice.id("sgr"), Protocol: "-1", From: -1, To: -1, Group: r.defaults.ID},
		{ID: s.dice.id("sgr"), Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: anywhere},
	}
	r.groups[r.defaults.ID] = r.defaults
	return r
}

// A resource is what all things in a region have in common.
type resource struct {
	ID      string
	Kind    string // as in tags: instance, volume
	tags    map[string]string
	order   string    // by what they are ordered, and pages told apart
	visible time.Time // from when on it is found
}

func (r *region) newResource(id, kind string, visible time.Time) resource {
	r.serial++
	return resource{ID: id, Kind: kind, tags: map[string]string{}, order: fmt.Sprintf("%09d", r.serial), visible: visible}
}

// isSeen reports whether the resource is found yet.
func (r resource) isSeen(now time.Time) bool { return !r.visible.After(now) }

// resource finds anything that can have tags, if it is seen yet.
func (r *region) resource(id string, now time.Time) *resource {
	var found *resource
	switch {
	case r.instances[id] != nil:
		found = &r.instances[id].resource
	case r.groups[id] != nil:
		found = &r.groups[id].resource
	case r.spots[id] != nil:
		found = &r.spots[id].resource
	case r.volumes[id] != nil:
		found = &r.volumes[id].resource
	case r.interfaces[id] != nil:
		found = &r.interfaces[id].resource
	}
	if found == nil || !found.isSeen(now) {
		return nil
	}
	return found
}

// resources are all things that can have tags.
func (r *region) resources() []*resource {
	var all []*resource
	for _, in := range r.instances {
		all = append(all, &in.resource)
	}
	for _, g := range r.groups {
		all = append(all, &g.resource)
	}
	for _, sp := range r.spots {
		all = append(all, &sp.resource)
	}
	for _, v := range r.volumes {
		all = append(all, &v.resource)
	}
	for _, n := range r.interfaces {
		all = append(all, &n.resource)
	}
	return all
}

// addresses gives each machine its own. The lower half of the range is private,
// divided among the zones, which all regions share; the upper is public.
type addresses struct {
	zones  []*addressRange
	public *addressRange
}

type addressRange struct {
	prefix netip.Prefix
	next   netip.Addr
	taken  map[netip.Addr]bool
}

// keptForHost are the first addresses of each part, which no machine gets.
const keptForHost = 16

func newAddresses(all netip.Prefix) (*addresses, error) {
	if !all.Addr().Is4() || all.Bits() > 23 {
		return nil, fmt.Errorf("divide addresses: %v is too small; it has to be a /23 of IPv4 or larger", all)
	}
	a := &addresses{}
	halves := divide(all, 2)
	for _, part := range divide(halves[0], 8)[:catalog.MaxZones] {
		a.zones = append(a.zones, newAddressRange(part))
	}
	a.public = newAddressRange(halves[1])
	return a, nil
}

func newAddressRange(p netip.Prefix) *addressRange {
	// next is beyond the range: take begins anew, after the first few.
	return &addressRange{prefix: p, taken: map[netip.Addr]bool{}}
}

// divide cuts a prefix into n parts, a power of two.
func divide(p netip.Prefix, n int) []netip.Prefix {
	bits := p.Bits()
	for m := n; m > 1; m /= 2 {
		bits++
	}
	var parts []netip.Prefix
	base := p.Masked().Addr().As4()
	number := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	for i := range uint32(n) {
		v := number + i<<(32-bits)
		parts = append(parts, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits))
	}
	return parts
}

// free is how many addresses are left. It errs on the low side: what ends in 0
// or 255 is never given.
func (a *addressRange) free() int {
	n := 1<<(32-a.prefix.Bits()) - keptForHost
	n -= 2 * max(1, n/256)
	return max(0, n-len(a.taken))
}

// take takes an address that nobody has, the one longest free. There has to be
// one: see free.
func (a *addressRange) take() netip.Addr {
	for {
		if !a.prefix.Contains(a.next) {
			a.next = a.prefix.Addr()
			for range keptForHost {
				a.next = a.next.Next()
			}
		}
		addr := a.next
		a.next = a.next.Next()
		if last := addr.As4()[3]; !a.taken[addr] && last != 0 && last != 255 {
			a.taken[addr] = true
			return addr
		}
	}
}

func (a *addressRange) give(addr netip.Addr) { delete(a.taken, addr) }

func (s *Sim) giveAddresses(in *instance) {
	for i, sub := range in.region.subnets {
		if sub.ID == in.subnet.ID {
			s.addresses.zones[i].give(in.privateIP)
		}
	}
	s.addresses.public.give(in.publicIP)
}

// zoneIndex is the place of a zone in its region, -1 if it is not one of its.
func (r *region) zoneIndex(name string) int {
	for i, z := range r.Zones {
		if z.Name == name || z.ID == name {
			return i
		}
	}
	return -1
}

// seenAt is from when on what is made now will be found.
func (c *call) seenAt() time.Time {
	return c.now.Add(c.sim.drill.Delays.Visible.draw(c.sim.dice.next("visible")))
}

func notFound(code, what, id string) *wire.Error {
	return wire.Errorf(code, "The %s '%s' does not exist", what, id)
}
