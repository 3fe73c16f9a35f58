package ec2sim

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// A group is a security group.
type group struct {
	resource
	Name        string
	Description string
	rules       []groupRule
}

// A groupRule admits traffic with a range of addresses, or with a group.
type groupRule struct {
	ID          string
	Egress      bool
	Protocol    string // tcp, udp, icmp, -1
	From, To    int    // -1 for all
	CIDR        netip.Prefix
	Group       string
	Description string
}

// same reports whether two rules admit the same.
func (r groupRule) same(o groupRule) bool {
	r.ID, r.Description, o.ID, o.Description = "", "", "", ""
	return r == o
}

// maxRules is how many rules a group may have each way.
const maxRules = 60

type xmlGroupName struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

func groupNames(groups []*group) wire.Set[xmlGroupName] {
	var set wire.Set[xmlGroupName]
	for _, g := range groups {
		set.Items = append(set.Items, xmlGroupName{g.ID, g.Name})
	}
	return set
}

// findGroups finds groups by id and by name.
func (c *call) findGroups(ids, names []string) ([]*group, *wire.Error) {
	var found []*group
	for _, id := range ids {
		g := c.region.groups[id]
		if g == nil || !g.isSeen(c.now) {
			return nil, notFound("InvalidGroup.NotFound", "security group", id)
		}
		found = append(found, g)
	}
	for _, name := range names {
		g := c.region.groupNamed(name)
		if g == nil || !g.isSeen(c.now) {
			return nil, notFound("InvalidGroup.NotFound", "security group", name)
		}
		found = append(found, g)
	}
	return found, nil
}

func (r *region) groupNamed(name string) *group {
	for _, g := range r.groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// oneGroup finds the group that a call names.
func (c *call) oneGroup() (*group, *wire.Error) {
	var ids, names []string
	if id := c.params.Get("GroupId"); id != "" {
		ids = []string{id}
	} else if name := c.params.Get("GroupName"); name != "" {
		names = []string{name}
	} else {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter groupName or groupId")
	}
	found, err := c.findGroups(ids, names)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

func createSecurityGroup(c *call) (any, *wire.Error) {
	name, about := c.params.Get("GroupName"), c.params.Get("GroupDescription")
	for parameter, value := range map[string]string{"groupName": name, "groupDescription": about} {
		if value == "" {
			return nil, wire.Errorf("MissingParameter", "The request must contain the parameter %s", parameter)
		}
		if len(value) > 255 {
			return nil, wire.Errorf("InvalidParameterValue", "Value for parameter %s is invalid. Character limit is 255.", parameter)
		}
	}
	if strings.HasPrefix(name, "sg-") {
		return nil, wire.Errorf("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*", name)
	}
	if vpc := c.params.Default("VpcId", c.region.vpc); vpc != c.region.vpc {
		return nil, notFound("InvalidVpcID.NotFound", "vpc ID", vpc)
	}
	tags, err := c.readTagSpecs("security-group")
	if err != nil {
		return nil, err
	}
	if c.region.groupNamed(name) != nil {
		return nil, wire.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, c.region.vpc)
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	g := &group{
		resource: c.region.newResource(c.sim.dice.id("sg"), "security-group", c.seenAt()),
		Name:     name, Description: about,
	}
	g.rules = []groupRule{{ID: c.sim.dice.id("sgr"), Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: anywhere}}
	setTags(g.tags, tags["security-group"])
	c.region.groups[g.ID] = g
	c.sim.made(kindGroup)
	return struct {
		Return bool             `xml:"return"`
		ID     string           `xml:"groupId"`
		Tags   wire.Set[xmlTag] `xml:"tagSet"`
	}{true, g.ID, tagSet(g.tags)}, nil
}

func deleteSecurityGroup(c *call) (any, *wire.Error) {
	g, err := c.oneGroup()
	if err != nil {
		return nil, err
	}
	if g == c.region.defaults {
		return nil, wire.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
	}
	for _, in := range c.region.instances {
		if in.isAlive() && slices.Contains(in.groups, g) {
			return nil, wire.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
		}
	}
	for _, other := range c.region.groups {
		if other != g && slices.ContainsFunc(other.rules, func(r groupRule) bool { return r.Group == g.ID }) {
			return nil, wire.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
		}
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	delete(c.region.groups, g.ID)
	c.sim.gone(kindGroup)
	return struct {
		Return bool   `xml:"return"`
		ID     string `xml:"groupId"`
	}{true, g.ID}, nil
}

// readPermissions reads the rules of a call, of the list or the one in its
// parameters themselves.
func (c *call) readPermissions(egress bool) ([]groupRule, *wire.Error) {
	lists := c.params.Structs("IpPermissions")
	if len(lists) == 0 && c.params.Has("IpProtocol") {
		rule, err := readPorts(c.params, egress)
		if err != nil {
			return nil, err
		}
		if rule.CIDR, err = readCIDR(c.params.Get("CidrIp")); err != nil {
			return nil, err
		}
		return []groupRule{rule}, nil
	}
	var rules []groupRule
	for _, p := range lists {
		rule, err := readPorts(p, egress)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Structs("IpRanges") {
			one := rule
			if one.CIDR, err = readCIDR(r.Get("CidrIp")); err != nil {
				return nil, err
			}
			one.Description = r.Get("Description")
			rules = append(rules, one)
		}
		for _, r := range p.Structs("Groups") {
			one := rule
			r.Get("UserId")
			r.Get("VpcId")
			found, err := c.findGroups([]string{r.Get("GroupId")}, nil)
			if err != nil {
				return nil, err
			}
			one.Group, one.Description = found[0].ID, r.Get("Description")
			rules = append(rules, one)
		}
	}
	return rules, nil
}

func readPorts(p *wire.Params, egress bool) (groupRule, *wire.Error) {
	rule := groupRule{Egress: egress, Protocol: strings.ToLower(p.Get("IpProtocol"))}
	if named, ok := map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}[rule.Protocol]; ok {
		rule.Protocol = named
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp", "-1"}, rule.Protocol) {
		return rule, wire.Errorf("InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", rule.Protocol)
	}
	var err *wire.Error
	if rule.From, err = p.Int("FromPort", -1); err != nil {
		return rule, err
	}
	if rule.To, err = p.Int("ToPort", -1); err != nil {
		return rule, err
	}
	if rule.Protocol == "-1" || rule.Protocol == "icmp" {
		rule.From, rule.To = -1, -1
		return rule, nil
	}
	if rule.From < 0 || rule.To > 65535 || rule.From > rule.To {
		return rule, wire.Errorf("InvalidParameterValue", "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.")
	}
	return rule, nil
}

func readCIDR(text string) (netip.Prefix, *wire.Error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return p, wire.Errorf("InvalidParameterValue", "CIDR block %s is malformed", text)
	}
	if p != p.Masked() {
		return p, wire.Errorf("InvalidParameterValue", "CIDR block %s is malformed: it has bits beyond its prefix. Write %v", text, p.Masked())
	}
	return p, nil
}

type xmlRule struct {
	ID          string `xml:"securityGroupRuleId"`
	GroupID     string `xml:"groupId"`
	OwnerID     string `xml:"groupOwnerId"`
	Egress      bool   `xml:"isEgress"`
	Protocol    string `xml:"ipProtocol"`
	From        int    `xml:"fromPort"`
	To          int    `xml:"toPort"`
	CIDR        string `xml:"cidrIpv4,omitempty"`
	Description string `xml:"description,omitempty"`
}

func authorizeIngress(c *call) (any, *wire.Error) { return c.authorize(false) }
func authorizeEgress(c *call) (any, *wire.Error)  { return c.authorize(true) }

func (c *call) authorize(egress bool) (any, *wire.Error) {
	g, err := c.oneGroup()
	if err != nil {
		return nil, err
	}
	rules, err := c.readPermissions(egress)
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter ipPermissions")
	}
	n := len(rules)
	for _, r := range g.rules {
		if r.Egress == egress {
			n++
		}
		if slices.ContainsFunc(rules, r.same) {
			return nil, wire.Errorf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", r)
		}
	}
	if n > maxRules {
		return nil, wire.Errorf("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	answer := struct {
		Return bool              `xml:"return"`
		Rules  wire.Set[xmlRule] `xml:"securityGroupRuleSet"`
	}{Return: true}
	for _, r := range rules {
		r.ID = c.sim.dice.id("sgr")
		g.rules = append(g.rules, r)
		x := xmlRule{r.ID, g.ID, c.account, r.Egress, r.Protocol, r.From, r.To, "", r.Description}
		if r.CIDR.IsValid() {
			x.CIDR = r.CIDR.String()
		}
		answer.Rules.Items = append(answer.Rules.Items, x)
	}
	c.rulesChanged(g)
	return answer, nil
}

// String is the rule as errors name it.
func (r groupRule) String() string {
	peer := r.Group
	if r.CIDR.IsValid() {
		peer = r.CIDR.String()
	}
	ports := ""
	if r.From >= 0 {
		ports = ", from port: " + strconv.Itoa(r.From) + ", to port: " + strconv.Itoa(r.To)
	}
	return "peer: " + peer + ", " + strings.ToUpper(r.Protocol) + ports + ", ALLOW"
}

func revokeIngress(c *call) (any, *wire.Error) { return c.revoke(false) }
func revokeEgress(c *call) (any, *wire.Error)  { return c.revoke(true) }

func (c *call) revoke(egress bool) (any, *wire.Error) {
	g, err := c.oneGroup()
	if err != nil {
		return nil, err
	}
	doomed, err := c.readPermissions(egress)
	if err != nil {
		return nil, err
	}
	ids := c.params.Strings("SecurityGroupRuleId")
	for _, id := range ids {
		if !slices.ContainsFunc(g.rules, func(r groupRule) bool { return r.ID == id && r.Egress == egress }) {
			return nil, wire.Errorf("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
		}
	}
	for _, d := range doomed {
		if !slices.ContainsFunc(g.rules, d.same) {
			return nil, wire.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
		}
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	g.rules = slices.DeleteFunc(slices.Clone(g.rules), func(r groupRule) bool {
		return slices.Contains(ids, r.ID) || slices.ContainsFunc(doomed, r.same)
	})
	c.rulesChanged(g)
	return done, nil
}

// rulesChanged tells all machines of a group.
func (c *call) rulesChanged(g *group) {
	for _, in := range c.region.instances {
		if in.isAlive() && slices.Contains(in.groups, g) {
			c.sim.pushRules(in)
		}
	}
}

type xmlPermission struct {
	Protocol string `xml:"ipProtocol"`
	From     *int   `xml:"fromPort"`
	To       *int   `xml:"toPort"`
	Groups   wire.Set[struct {
		UserID      string `xml:"userId"`
		ID          string `xml:"groupId"`
		Description string `xml:"description,omitempty"`
	}] `xml:"groups"`
	Ranges wire.Set[struct {
		CIDR        string `xml:"cidrIp"`
		Description string `xml:"description,omitempty"`
	}] `xml:"ipRanges"`
}

// permissions are a group's rules one way, those with the same ports together.
func (g *group) permissions(account string, egress bool) wire.Set[xmlPermission] {
	var set wire.Set[xmlPermission]
	at := map[[3]string]int{}
	for _, r := range g.rules {
		if r.Egress != egress {
			continue
		}
		key := [3]string{r.Protocol, strconv.Itoa(r.From), strconv.Itoa(r.To)}
		i, ok := at[key]
		if !ok {
			i = len(set.Items)
			at[key] = i
			p := xmlPermission{Protocol: r.Protocol}
			if r.Protocol != "-1" {
				p.From, p.To = &r.From, &r.To
			}
			set.Items = append(set.Items, p)
		}
		p := &set.Items[i]
		if r.Group != "" {
			p.Groups.Items = append(p.Groups.Items, struct {
				UserID      string `xml:"userId"`
				ID          string `xml:"groupId"`
				Description string `xml:"description,omitempty"`
			}{account, r.Group, r.Description})
			continue
		}
		p.Ranges.Items = append(p.Ranges.Items, struct {
			CIDR        string `xml:"cidrIp"`
			Description string `xml:"description,omitempty"`
		}{r.CIDR.String(), r.Description})
	}
	return set
}

func describeSecurityGroups(c *call) (any, *wire.Error) {
	type item struct {
		ID          string                  `xml:"groupId"`
		Name        string                  `xml:"groupName"`
		Description string                  `xml:"groupDescription"`
		OwnerID     string                  `xml:"ownerId"`
		VPCID       string                  `xml:"vpcId"`
		Ingress     wire.Set[xmlPermission] `xml:"ipPermissions"`
		Egress      wire.Set[xmlPermission] `xml:"ipPermissionsEgress"`
		Tags        wire.Set[xmlTag]        `xml:"tagSet"`
	}
	names := c.params.Strings("GroupName")
	if _, err := c.findGroups(nil, names); err != nil {
		return nil, err
	}
	v := func(g *group) values {
		return g.tagValues(table(map[string]string{
			"group-id": g.ID, "group-name": g.Name, "description": g.Description, "vpc-id": c.region.vpc, "owner-id": c.account,
		}))
	}
	found, next, err := pick(c, c.region.groups, func(g *group) *resource { return &g.resource }, "GroupId", v, c.noResource)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Groups wire.Set[item] `xml:"securityGroupInfo"`
		Next   string         `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, g := range found {
		if len(names) > 0 && !slices.Contains(names, g.Name) {
			continue
		}
		answer.Groups.Items = append(answer.Groups.Items, item{
			g.ID, g.Name, g.Description, c.account, c.region.vpc,
			g.permissions(c.account, false), g.permissions(c.account, true), tagSet(g.tags),
		})
	}
	return answer, nil
}
