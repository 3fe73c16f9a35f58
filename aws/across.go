package aws

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// quotaRules is the code of the quota of rules in a security group.
const quotaRules = "L-0EA8095F"

// Admit has the machines' security groups admit those of the run that are in
// other regions, by their public addresses: nothing connects the networks of two
// regions, and a group means nothing in another. They admit the broker by the
// address that it has now; what they admitted before stays so.
func (p *Pool) Admit(ctx context.Context, machines []broker.Machine) error {
	type place struct{ region, group string }
	requests, addresses := map[place][]broker.MachineRequest{}, map[string][]netip.Prefix{} // the latter by region
	for _, m := range machines {
		var req broker.MachineRequest
		if e := p.ledger.get(m.Token); e != nil {
			req = e.read().Request
			at := place{m.Region, groupKey(req)}
			requests[at] = append(requests[at], req)
		}
		if len(req.Private) > 0 {
			continue // the others have nothing for it
		}
		addr, err := netip.ParseAddr(m.PublicIP)
		if err != nil {
			return fmt.Errorf("read the address of machine %s: %w", m.ProviderID, err)
		}
		addresses[m.Region] = append(addresses[m.Region], netip.PrefixFrom(addr, addr.BitLen()))
	}
	p.ownFroms.forget(ctx)
	for at, reqs := range requests {
		r, private := p.in(at.region), reqs[0].Private
		subnets, err := r.subnets(ctx, p.cfg.Subnets)
		if err != nil {
			return err
		}
		ports := portsOf(reqs)
		var rules []rule
		if froms, err := p.froms(ctx, subnets[0]); err == nil {
			rules = append(rulesFor(ports, froms), privateRules(private, froms, p.cfg.Users)...)
		} else { // the machines may still admit it as it was
			p.log.Warn("find out where machines see the broker come from", "error", err)
		}
		for from, addrs := range addresses {
			if from != at.region && len(private) == 0 {
				rules = append(rules, rulesAcross(ports, addrs)...)
			}
		}
		if _, err := r.admitting(ctx, reqs[0], subnets, rules); err != nil {
			return err
		}
	}
	return nil
}

// portsOf are the ports that the requests publish, each once.
func portsOf(reqs []broker.MachineRequest) []strategies.Port {
	var out []strategies.Port
	for _, req := range reqs {
		for _, port := range req.Ports {
			port.Container = 0 // that is the machine's own matter
			if !slices.Contains(out, port) {
				out = append(out, port)
			}
		}
	}
	return out
}

func rulesAcross(ports []strategies.Port, froms []netip.Prefix) []rule {
	var out []rule
	for _, port := range ports {
		for _, from := range froms {
			out = append(out, rule{port.Host, port.Protocol, from})
		}
	}
	return out
}

// ruleQuotas compares the rules that the run's security groups need with how many
// a group may have, where a plan is in several regions: there each machine that
// may come from another region is a rule for each port.
func (p *Pool) ruleQuotas(ctx context.Context, reqs []broker.MachineRequest, q *broker.Quote) {
	in := map[string][]broker.MachineRequest{}
	for _, req := range reqs {
		name := p.in(req.Region).name
		in[name] = append(in[name], req)
	}
	if len(in) < 2 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		ports, froms := len(portsOf(in[name])), max(1, len(p.cfg.From))
		if ports == 0 {
			continue
		}
		quota, err := p.in(name).quota(ctx, "vpc", quotaRules)
		if err != nil {
			q.Notes = append(q.Notes, fmt.Sprintf("How many rules a security group may have in %s is not known: %v", name, err))
			continue
		}
		// Docker's port for the broker, and each port for the broker, the machines
		// of the region, and each one of the others.
		others := len(reqs) - len(in[name])
		quota.Needed, quota.Unit = float64(froms+ports*(froms+1+others)), "rules"
		q.Quotas = append(q.Quotas, quota)
		if quota.Needed > quota.Limit {
			q.Faults = append(q.Faults, fmt.Sprintf(
				"The %d machines in other regions need %.0f rules in a security group of %s to reach what is published there, and the account's quota is %.0f; ask for more of %q in the Service Quotas console, or publish fewer ports, or have fewer machines in other regions.",
				others, quota.Needed, name, quota.Limit, quota.Name))
		}
	}
}
