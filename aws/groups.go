package aws

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/images/order"
	"github.com/loads/loads/strategies"
)

// whoAmI answers with the address that a request comes from.
const whoAmI = "https://checkip.amazonaws.com"

// A group is the security group of a run in a region. It admits the broker to
// the machines' Docker and to the ports that steps publish, and the run's own
// machines to these ports and those by which images are spread; nothing else. A
// machine with private ports is in a group of its own, which admits the broker
// and the users to these.
type group struct {
	turn     turn // for what follows
	id       string
	made     time.Time // or found
	admitted []rule
}

// A rule admits a source to a port.
type rule struct {
	port     int
	protocol string
	from     netip.Prefix // not valid: the run's own machines in the region
}

// groupName is a name that only the run has. There can be one of it in a VPC,
// so that making it twice makes it once.
func groupName(req broker.MachineRequest) string {
	return "loads-" + req.BrokerID + "-" + groupKey(req)
}

// privateSuffix ends the key of the group of machines with private ports.
const privateSuffix = "-private"

// groupKey names the groups of a run.
func groupKey(req broker.MachineRequest) string {
	if len(req.Private) > 0 {
		return req.RunUUID + privateSuffix
	}
	return req.RunUUID
}

// group makes the run's security group, or finds it, and has it admit what the
// request needs.
func (p *Pool) group(ctx context.Context, r *region, req broker.MachineRequest, subnets []types.Subnet) (string, error) {
	froms, err := p.froms(ctx, subnets[0])
	if err != nil {
		return "", err
	}
	return r.admitting(ctx, req, subnets, append(rulesFor(req.Ports, froms), privateRules(req.Private, froms, p.cfg.Users)...))
}

// admitting makes the run's security group, or finds it, and has it admit what
// the rules say besides what it admits already.
func (r *region) admitting(ctx context.Context, req broker.MachineRequest, subnets []types.Subnet, rules []rule) (id string, err error) {
	r.mu.Lock()
	g := r.groups[groupKey(req)]
	if g == nil {
		g = &group{}
		r.groups[groupKey(req)] = g
	}
	r.mu.Unlock()
	if err := g.turn.take(ctx); err != nil {
		return "", err
	}
	defer g.turn.give()
	if g.id == "" {
		if g.id, err = r.makeGroup(ctx, req, sdk.ToString(subnets[0].VpcId)); err != nil {
			return "", err
		}
		g.made, g.admitted = time.Now(), nil
	}
	missing := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return slices.Contains(g.admitted, r) })
	if err := r.admit(ctx, g.id, missing); err != nil {
		return "", err
	}
	g.admitted = append(g.admitted, missing...)
	return g.id, nil
}

// forgetGroup has the run's group looked for again: it seems to be gone.
func (r *region) forgetGroup(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.groups, key)
}

// forgetDeleted forgets a group that was deleted: otherwise one that was made a
// moment ago would be taken for one that lists don't have yet.
func (r *region) forgetDeleted(ctx context.Context, id string) error {
	r.mu.Lock()
	groups := maps.Clone(r.groups)
	r.mu.Unlock()
	for key, g := range groups {
		if err := g.turn.take(ctx); err != nil {
			return err
		}
		deleted := g.id == id
		g.turn.give()
		if deleted {
			r.forgetGroup(key)
		}
	}
	return nil
}

// madeLately are the groups of the run, key by id, that were made so lately that
// lists may not have them yet.
func (r *region) madeLately(ctx context.Context, run string) (map[string]string, error) {
	made := map[string]string{}
	for _, key := range []string{run, run + privateSuffix} {
		r.mu.Lock()
		g := r.groups[key]
		r.mu.Unlock()
		if g == nil {
			continue
		}
		if err := g.turn.take(ctx); err != nil {
			return nil, err
		}
		if g.id != "" && time.Since(g.made) < unseenLimit {
			made[g.id] = key
		}
		g.turn.give()
	}
	return made, nil
}

func rulesFor(ports []strategies.Port, froms []netip.Prefix) []rule {
	var out []rule
	for _, from := range froms {
		out = append(out, rule{trust.Port, "tcp", from})
	}
	for _, port := range ports {
		out = append(out, rule{port.Host, port.Protocol, netip.Prefix{}})
		for _, from := range froms { // which looks whether a step is ready
			out = append(out, rule{port.Host, port.Protocol, from})
		}
	}
	return out
}

// privateRules admit the broker and the users to ports, and nobody else. In a
// group without such ports machines have images from each other.
func privateRules(ports []int, froms, users []netip.Prefix) []rule {
	var out []rule
	if len(ports) == 0 {
		return append(out, rule{order.PeerPort, "tcp", netip.Prefix{}}, rule{order.SeedPort, "tcp", netip.Prefix{}})
	}
	for _, port := range ports {
		for _, from := range slices.Concat(froms, users) {
			if want := (rule{port, "tcp", from}); !slices.Contains(out, want) {
				out = append(out, want)
			}
		}
	}
	return out
}

func (r *region) makeGroup(ctx context.Context, req broker.MachineRequest, vpc string) (string, error) {
	// Not cut off by an abort: EC2 would go on with it.
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callLimit)
	defer cancel()
	out, err := r.ec2.CreateSecurityGroup(calling, &ec2.CreateSecurityGroupInput{
		GroupName: sdk.String(groupName(req)), Description: sdk.String("Machines of a run of Loads"), VpcId: sdk.String(vpc),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeSecurityGroup, Tags: groupTags(req),
		}},
	})
	if err == nil {
		return sdk.ToString(out.GroupId), nil
	}
	if codeOf(err) != "InvalidGroup.Duplicate" {
		return "", failed("make a security group in "+r.name, err)
	}
	for { // it is there, though perhaps not seen yet
		found, err := r.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{
			Filters: []types.Filter{filter("group-name", groupName(req)), filter("vpc-id", vpc)},
		})
		if err != nil {
			return "", failed("find the security group of the run", err)
		}
		if len(found.SecurityGroups) > 0 {
			return sdk.ToString(found.SecurityGroups[0].GroupId), nil
		}
		if !sleep(ctx, seenEvery) {
			return "", ctx.Err()
		}
	}
}

// admit has the group admit what the rules say, by one call unless it admits
// some of it already.
func (r *region) admit(ctx context.Context, id string, rules []rule) error {
	if len(rules) == 0 {
		return nil
	}
	err := seen(ctx, func() error {
		in := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: sdk.String(id)}
		for _, want := range rules {
			in.IpPermissions = append(in.IpPermissions, permission(id, want))
		}
		_, err := r.ec2.AuthorizeSecurityGroupIngress(ctx, in)
		if err == nil || codeOf(err) == "InvalidPermission.Duplicate" && len(rules) == 1 {
			return nil
		}
		return failed("admit the broker and the run's machines in a security group", err)
	})
	if len(rules) == 1 || codeOf(err) != "InvalidPermission.Duplicate" {
		return err
	}
	for _, want := range rules {
		if err := r.admit(ctx, id, []rule{want}); err != nil {
			return err
		}
	}
	return nil
}

// permission is a rule as EC2 has it.
func permission(group string, want rule) types.IpPermission {
	p := types.IpPermission{
		IpProtocol: sdk.String(want.protocol), FromPort: sdk.Int32(int32(want.port)), ToPort: sdk.Int32(int32(want.port)),
	}
	switch {
	case !want.from.IsValid():
		p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: sdk.String(group), Description: sdk.String("machines of the run")}}
	case want.from.Addr().Is4():
		p.IpRanges = []types.IpRange{{CidrIp: sdk.String(want.from.String()), Description: sdk.String("the broker, its users, or a machine of the run")}}
	default:
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: sdk.String(want.from.String()), Description: sdk.String("the broker, its users, or a machine of the run")}}
	}
	return p
}

// froms are the addresses that machines see the broker come from.
func (p *Pool) froms(ctx context.Context, in types.Subnet) ([]netip.Prefix, error) {
	if len(p.cfg.From) > 0 {
		return p.cfg.From, nil
	}
	return p.ownFroms.get(ctx, "", func() ([]netip.Prefix, error) {
		find := func() (netip.Addr, error) { return publicAddress(ctx) }
		if p.cfg.Private {
			find = func() (netip.Addr, error) { return addressTowards(in) }
		}
		addr, err := find()
		if err != nil {
			return nil, &broker.Error{
				Code: broker.EUnavailable, Err: err,
				Message: "The address that machines see the broker come from can't be found out; give it with --ec2-from",
			}
		}
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil
	})
}

// addressTowards is the address by which this computer sends to a subnet.
// Nothing is sent.
func addressTowards(in types.Subnet) (netip.Addr, error) {
	prefix, err := netip.ParsePrefix(sdk.ToString(in.CidrBlock))
	if err != nil {
		return netip.Addr{}, err
	}
	conn, err := net.Dial("udp", netip.AddrPortFrom(prefix.Addr().Next(), trust.Port).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr().Unmap(), err
}

// publicAddress asks Amazon which address a request comes from.
func publicAddress(ctx context.Context) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit/4)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, whoAmI, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 100))
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(strings.TrimSpace(string(text)))
}
