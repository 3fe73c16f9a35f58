//go:build linux

package nshost

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/aws/ec2sim"
)

// ruleset is the router's whole rule set, for nft, which puts it in place of
// the one before in one step.
//
// A packet from machine to machine has to be admitted by both: the sender's
// chain returns it, the receiver's accepts it. Who is reached by its public
// address sees the sender's public one, as on EC2; that is translated after the
// rules, so they look at the address first called to know which one counts. A
// private address means nothing in another region, whose VPC is another one.
func ruleset(prefix netip.Prefix, links map[string]*netLink) string {
	ids := slices.Sorted(maps.Keys(links))
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	line("table ip ec2 {}\ndelete table ip ec2\ntable ip ec2 {")

	var senders, receivers, inward, outward, called, cut []string
	for _, id := range ids {
		l := links[id]
		writeChains(line, id, links)
		senders = append(senders, fmt.Sprintf("%q : jump out-%s", l.device, l.device))
		receivers = append(receivers, fmt.Sprintf("%s : goto in-%s", l.private, l.device))
		if l.public.IsValid() {
			called = append(called, l.public.String())
			inward = append(inward, fmt.Sprintf("%s : %s", l.public, l.private))
			outward = append(outward, fmt.Sprintf("%s : %s", l.private, l.public))
		}
		if l.cut {
			cut = append(cut, fmt.Sprintf("%q", l.device))
		}
	}
	line("chain cables { type filter hook prerouting priority raw; policy accept;")
	if len(cut) > 0 {
		line("iifname { %s } drop", strings.Join(cut, ", "))
	}
	for _, id := range ids {
		line("iifname %q ip saddr != %s drop", links[id].device, links[id].private)
	}
	line("}\nchain called { type nat hook prerouting priority dstnat; policy accept;")
	if len(inward) > 0 {
		line("dnat to ip daddr map { %s }", strings.Join(inward, ", "))
	}
	line("}\nchain caller { type nat hook postrouting priority srcnat; policy accept;")
	if len(outward) > 0 {
		line("oifname %q snat to ip saddr map { %s }", uplink, strings.Join(outward, ", "))
		line("ct original ip daddr { %s } snat to ip saddr map { %s }", strings.Join(called, ", "), strings.Join(outward, ", "))
	}
	line("}\nchain passage { type filter hook forward priority filter; policy drop;")
	if len(cut) > 0 {
		line("oifname { %s } drop", strings.Join(cut, ", "))
	}
	line("ct state established,related accept")
	writeBorders(line, links)
	if len(ids) > 0 {
		line("iifname vmap { %s }", strings.Join(senders, ", "))
		line("ip daddr vmap { %s }", strings.Join(receivers, ", "))
	}
	line("ip daddr %s accept", nth(prefix, 1)) // this computer
	line("ip daddr != %s reject with icmp type net-unreachable", prefix)
	line("}\nchain inside { type filter hook output priority filter; policy accept;")
	if len(cut) > 0 {
		line("oifname { %s } drop", strings.Join(cut, ", "))
	}
	line("}\nchain service { type filter hook input priority filter; policy accept;")
	line("iifname %q ip daddr %s drop", uplink, metadataIP)
	line("}\n}")
	return w.String()
}

// writeBorders drops what machines send to private addresses of other regions.
func writeBorders(line func(string, ...any), links map[string]*netLink) {
	devices, privates := map[string][]string{}, map[string][]string{}
	for _, l := range links {
		devices[l.region] = append(devices[l.region], strconv.Quote(l.device))
		privates[l.region] = append(privates[l.region], l.private.String())
	}
	for _, here := range slices.Sorted(maps.Keys(devices)) {
		var elsewhere []string
		for region, addrs := range privates {
			if region != here {
				elsewhere = append(elsewhere, addrs...)
			}
		}
		if len(elsewhere) == 0 {
			continue
		}
		slices.Sort(devices[here])
		slices.Sort(elsewhere)
		line("iifname { %s } ct original ip daddr { %s } drop", strings.Join(devices[here], ", "), strings.Join(elsewhere, ", "))
	}
}

func writeChains(line func(string, ...any), id string, links map[string]*netLink) {
	l := links[id]
	for _, egress := range []bool{false, true} {
		name, verdict := "in-"+l.device, "accept"
		if egress {
			name, verdict = "out-"+l.device, "return"
		}
		line("chain %s {", name)
		for _, r := range l.rules {
			if r.Egress != egress {
				continue
			}
			for _, peer := range peers(r, links) {
				line("%s %s %s", peer, protocol(r), verdict)
			}
		}
		line("drop\n}")
	}
}

// peers returns the ways to match a rule's other end, any of which admits.
func peers(r ec2sim.Rule, links map[string]*netLink) []string {
	side := "saddr"
	if r.Egress {
		side = "daddr"
	}
	if r.Group != "" { // by their private addresses only
		return oneOf(direct(links)+"ip "+side, links, func(l *netLink) bool { return slices.Contains(l.groups, r.Group) })
	}
	if !r.Peer.Addr().Is4() {
		return nil // there is no IPv6 here
	}
	if r.Peer.Bits() == 0 {
		return []string{""}
	}
	if r.Egress {
		return []string{"ct original ip daddr " + r.Peer.String()}
	}
	all := oneOf("", links, func(l *netLink) bool { return l.public.IsValid() })
	if len(all) == 0 {
		return []string{"ip saddr " + r.Peer.String()}
	}
	throughPublic := "ct original ip daddr { " + publics(links) + " } "
	out := []string{
		direct(links) + "ip saddr " + r.Peer.String(),
		throughPublic + "ip saddr !=" + all[0] + " ip saddr " + r.Peer.String(),
	}
	return append(out, oneOf(throughPublic+"ip saddr", links, func(l *netLink) bool {
		return l.public.IsValid() && r.Peer.Contains(l.public)
	})...)
}

// publics lists the public addresses of the machines, as a set of nft has them.
func publics(links map[string]*netLink) string {
	var list []string
	for _, l := range links {
		if l.public.IsValid() {
			list = append(list, l.public.String())
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// direct matches what was not sent to a public address of a machine.
func direct(links map[string]*netLink) string {
	if list := publics(links); list != "" {
		return "ct original ip daddr != { " + list + " } "
	}
	return ""
}

// oneOf matches the private addresses of those machines; it is empty if there
// are none, since no set of nft is.
func oneOf(what string, links map[string]*netLink, is func(*netLink) bool) []string {
	var addrs []string
	for _, l := range links {
		if is(l) {
			addrs = append(addrs, l.private.String())
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	slices.Sort(addrs)
	return []string{what + " { " + strings.Join(addrs, ", ") + " }"}
}

func protocol(r ec2sim.Rule) string {
	switch {
	case r.Protocol == "icmp":
		return "ip protocol icmp"
	case r.Protocol == "-1":
		return ""
	case r.Protocol != "tcp" && r.Protocol != "udp":
		return "ip protocol " + r.Protocol
	case r.FromPort <= 0 && r.ToPort >= 65535:
		return "ip protocol " + r.Protocol
	}
	return fmt.Sprintf("%s dport %d-%d", r.Protocol, r.FromPort, r.ToPort)
}
