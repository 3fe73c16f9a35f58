package ec2sim

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// A launch is what RunInstances did under a ClientToken.
type launch struct {
	asked     string // all parameters
	instances []*instance
}

// A request is what RunInstances was asked for.
type request struct {
	image      catalog.Image
	typ        catalog.Type
	least      int
	most       int
	zones      []int // of the region, in the order to try
	groups     []*group
	public     bool
	userData   []byte
	shutdown   string
	protected  bool
	monitoring bool
	optimized  bool
	metadata   metadataOptions
	volumes    []volumeSpec
	tags       map[string]map[string]string // by kind of resource
	spot       *spotOptions
	token      string
}

// maxUserData is the largest user data, in bytes before base64.
const maxUserData = 16384

func runInstances(c *call) (any, *wire.Error) {
	token := c.params.Get("ClientToken")
	asked := c.params.Canonical("ClientToken", "DryRun")
	if done := c.region.launches[token]; token != "" && done != nil {
		if done.asked != asked {
			return nil, wire.Errorf("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
		}
		if slices.ContainsFunc(done.instances, func(in *instance) bool { return in.state == stateTerminated }) {
			return nil, wire.Errorf("IdempotentInstanceTerminated", "The client token you have provided is associated with a terminated instance. Please use a different client token.")
		}
		c.params.Accept()
		return reservationOf(c, done.instances, true), nil
	}
	req, err := c.readRequest(token)
	if err != nil {
		return nil, err
	}
	zone, n, err := c.place(req)
	if err != nil {
		return nil, err
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	if err := c.takeResources(n); err != nil {
		return nil, err
	}
	instances := c.launch(req, zone, n)
	if token != "" {
		c.region.launches[token] = &launch{asked, instances}
	}
	return reservationOf(c, instances, true), nil
}

// readRequest reads the parameters of RunInstances.
func (c *call) readRequest(token string) (*request, *wire.Error) {
	req := &request{token: token}
	steps := []func(*request) *wire.Error{
		c.readKind, c.readNumber, c.readNetwork, c.readUserData, c.readOptions, c.readVolumes, c.readSpot,
	}
	for _, step := range steps {
		if err := step(req); err != nil {
			return nil, err
		}
	}
	var err *wire.Error
	req.tags, err = c.readTagSpecs("instance", "volume", "network-interface", "spot-instances-request")
	return req, err
}

func (c *call) readKind(req *request) *wire.Error {
	id := c.params.Get("ImageId")
	if id == "" {
		return wire.Errorf("MissingParameter", "The request must contain the parameter ImageId")
	}
	if !strings.HasPrefix(id, "ami-") {
		return wire.Errorf("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", id)
	}
	var found bool
	if req.image, found = catalog.FindImage(c.region.Name, id); !found {
		return wire.Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	name := c.params.Default("InstanceType", "m5.large")
	if req.typ, found = catalog.FindType(name); !found {
		return wire.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", name)
	}
	if req.typ.Arch != req.image.Arch {
		return wire.Errorf("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", req.typ.Arch, req.image.Arch)
	}
	if key := c.params.Get("KeyName"); key != "" {
		return wire.Errorf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", key)
	}
	return nil
}

func (c *call) readNumber(req *request) *wire.Error {
	for name, n := range map[string]*int{"MinCount": &req.least, "MaxCount": &req.most} {
		if !c.params.Has(name) {
			return wire.Errorf("MissingParameter", "The request must contain the parameter %s", name)
		}
		var err *wire.Error
		if *n, err = c.params.Int(name, 0); err != nil {
			return err
		}
		if *n < 1 {
			return wire.Errorf("InvalidParameterValue", "Value (%d) for parameter %s is invalid. It must be at least 1.", *n, name)
		}
	}
	if req.least > req.most {
		return wire.Errorf("InvalidParameterCombination", "MinCount (%d) must not be greater than MaxCount (%d)", req.least, req.most)
	}
	return nil
}

// readNetwork finds the zones that come into question and the groups.
func (c *call) readNetwork(req *request) *wire.Error {
	from, public := c.params, true
	if cards := c.params.Structs("NetworkInterface"); len(cards) > 0 {
		if len(cards) > 1 {
			return wire.Errorf("UnsupportedOperation", "Only one network interface is simulated.")
		}
		if c.params.Has("SubnetId") || c.params.Has("SecurityGroupId.1") {
			return wire.Errorf("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request")
		}
		from = cards[0]
		if index := from.Default("DeviceIndex", "0"); index != "0" {
			return wire.Errorf("InvalidParameterValue", "The first network interface needs the device index 0, not %s.", index)
		}
		from.Get("DeleteOnTermination")
		from.Get("Description")
		var err *wire.Error
		if public, err = from.Bool("AssociatePublicIpAddress", true); err != nil {
			return err
		}
	}
	req.public = public
	if err := c.readZones(req, from.Get("SubnetId")); err != nil {
		return err
	}
	var err *wire.Error
	req.groups, err = c.findGroups(from.Strings("SecurityGroupId"), c.params.Strings("SecurityGroup"))
	if len(req.groups) == 0 {
		req.groups = []*group{c.region.defaults}
	}
	return err
}

func (c *call) readZones(req *request, subnetID string) *wire.Error {
	placement := c.params.In("Placement")
	placement.Get("Tenancy")
	zone := placement.Default("AvailabilityZone", placement.Get("AvailabilityZoneId"))
	wanted := -1
	if zone != "" {
		if wanted = c.region.zoneIndex(zone); wanted < 0 {
			return wire.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
		}
	}
	if subnetID != "" {
		i := slices.IndexFunc(c.region.subnets, func(s subnet) bool { return s.ID == subnetID })
		if i < 0 {
			return notFound("InvalidSubnetID.NotFound", "subnet ID", subnetID)
		}
		if wanted >= 0 && wanted != i {
			return wire.Errorf("InvalidParameterValue", "The subnet %s is not in the availability zone %s", subnetID, zone)
		}
		wanted = i
	}
	if wanted >= 0 {
		req.zones = []int{wanted}
		return nil
	}
	first := c.sim.dice.next("zone").IntN(len(c.region.Zones))
	for i := range c.region.Zones {
		req.zones = append(req.zones, (first+i)%len(c.region.Zones))
	}
	return nil
}

func (c *call) readUserData(req *request) *wire.Error {
	data, err := base64.StdEncoding.DecodeString(c.params.Get("UserData"))
	if err != nil {
		return wire.Errorf("InvalidParameterValue", "Invalid BASE64 encoding of user data.")
	}
	if len(data) > maxUserData {
		return wire.Errorf("InvalidParameterValue", "User data is limited to %d bytes", maxUserData)
	}
	req.userData = data
	return nil
}

func (c *call) readOptions(req *request) *wire.Error {
	req.shutdown = c.params.Default("InstanceInitiatedShutdownBehavior", "stop")
	if err := checkShutdown(req.shutdown); err != nil {
		return err
	}
	var err *wire.Error
	if req.protected, err = c.params.Bool("DisableApiTermination", false); err != nil {
		return err
	}
	if req.monitoring, err = c.params.Bool("Monitoring.Enabled", false); err != nil {
		return err
	}
	if req.optimized, err = c.params.Bool("EbsOptimized", false); err != nil {
		return err
	}
	c.params.Get("CreditSpecification.CpuCredits")
	o := c.params.In("MetadataOptions")
	req.metadata = metadataOptions{
		State: "applied", Tokens: o.Default("HttpTokens", "required"), Endpoint: o.Default("HttpEndpoint", "enabled"),
		Tags: o.Default("InstanceMetadataTags", "disabled"), IPv6: o.Default("HttpProtocolIpv6", "disabled"),
	}
	if req.metadata.HopLimit, err = o.Int("HttpPutResponseHopLimit", 2); err != nil {
		return err
	}
	if req.metadata.HopLimit < 1 || req.metadata.HopLimit > 64 {
		return wire.Errorf("InvalidParameterValue", "Value (%d) for parameter HttpPutResponseHopLimit is invalid. It is from 1 to 64.", req.metadata.HopLimit)
	}
	return nil
}

func checkShutdown(behaviour string) *wire.Error {
	if behaviour != "stop" && behaviour != "terminate" {
		return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter instanceInitiatedShutdownBehavior is invalid. Unknown behavior", behaviour)
	}
	return nil
}

// place finds the zone that the instances go to, and how many.
func (c *call) place(req *request) (zone, n int, fault *wire.Error) {
	most, err := c.withinQuota(req)
	if err != nil {
		return 0, 0, err
	}
	if req.spot != nil {
		if err := c.checkPrice(req); err != nil {
			return 0, 0, err
		}
	}
	for _, i := range req.zones {
		name := c.region.Zones[i].Name
		if !req.typ.Offered(c.region.Region, name) {
			if fault == nil {
				fault = wire.Errorf("Unsupported", "Your requested instance type (%s) is not supported in your requested Availability Zone (%s). Please retry your request by not specifying an Availability Zone or choosing another.", req.typ.Name, name)
			}
			continue
		}
		o := occasion{action: c.action, region: c.region.Name, zone: name, typ: req.typ.Name, tags: req.tags["instance"]}
		room := min(most, c.room(name, req.typ.Name))
		if short := c.sim.met(NoCapacity, o); short != nil {
			room = min(room, short.Room-c.sim.matching(short.Fault))
		}
		if room < req.least {
			fault = wire.Errorf("InsufficientInstanceCapacity", "We currently do not have sufficient %s capacity in the Availability Zone you requested (%s). Our system will be working on provisioning additional capacity.", req.typ.Name, name).With(500)
			continue
		}
		if free := min(c.sim.addresses.zones[i].free(), c.sim.addresses.public.free()); free < room {
			if room = free; room < req.least {
				fault = wire.Errorf("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", c.region.subnets[i].ID)
				continue
			}
		}
		return i, room, nil
	}
	return 0, 0, fault
}

// withinQuota is how many of the instances the account's quota of vCPUs has
// room for.
func (c *call) withinQuota(req *request) (int, *wire.Error) {
	quota := c.sim.drill.Limits.OnDemandVCPUs
	if req.spot != nil {
		quota = c.sim.drill.Limits.SpotVCPUs
	}
	n := min(req.most, (quota-c.region.vcpus(req.spot != nil))/req.typ.VCPUs)
	if n >= req.least {
		return n, nil
	}
	if req.spot != nil {
		return 0, wire.Errorf("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
	}
	return 0, wire.Errorf("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of %d allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.", quota)
}

// vcpus are those of the instances that count against the quota.
func (r *region) vcpus(spot bool) int {
	n := 0
	for _, in := range r.instances {
		if (in.spot != nil) == spot && (in.state == statePending || in.state == stateRunning) {
			n += in.typ.VCPUs
		}
	}
	return n
}

// room is for how many more instances of a type a zone has capacity.
func (c *call) room(zone, typ string) int {
	const endless = 1 << 30
	least := endless
	for _, limit := range c.sim.drill.Limits.Capacity {
		is := func(want, have string) bool { return want == "" || want == have }
		if !is(limit.Region, c.region.Name) || !is(limit.Zone, zone) || !is(limit.Type, typ) {
			continue
		}
		left := limit.Instances
		for _, r := range c.sim.regions {
			for _, in := range r.instances {
				if in.isAlive() && in.state != stateStopped &&
					is(limit.Region, r.Name) && is(limit.Zone, in.subnet.Zone.Name) && is(limit.Type, in.typ.Name) {
					left--
				}
			}
		}
		least = min(least, left)
	}
	return max(0, least)
}

// matching is how many machines there are that a fault's selector matches.
func (s *Sim) matching(f Fault) int {
	f.Action = ""
	n := 0
	for _, r := range s.regions {
		for _, in := range r.instances {
			if (in.state == statePending || in.state == stateRunning) && f.matches(in.occasion()) {
				n++
			}
		}
	}
	return n
}

// launch makes the instances.
func (c *call) launch(req *request, zone, n int) []*instance {
	s, r := c.sim, c.region
	reservation, visible := s.dice.id("r"), c.seenAt()
	var all []*instance
	for i := range n {
		in := &instance{
			resource: r.newResource(s.dice.id("i"), "instance", visible),
			region:   r, subnet: r.subnets[zone], typ: req.typ, image: req.image, reservation: reservation,
			token: req.token, index: i, launched: c.now.Truncate(time.Second), groups: req.groups,
			privateIP: s.addresses.zones[zone].take(), userData: req.userData, shutdown: req.shutdown,
			protected: req.protected, monitoring: req.monitoring, optimized: req.optimized, metadata: req.metadata,
			wake: make(chan struct{}, 1),
		}
		setTags(in.tags, req.tags["instance"])
		if req.public {
			in.publicIP = s.addresses.public.take()
		}
		c.attach(in, req)
		if req.spot != nil {
			in.spot = c.newSpotRequest(req, in)
		}
		c.afflict(in)
		r.instances[in.ID] = in
		s.made(kindInstance)
		s.set(in, statePending, reason{})
		s.goes(func() { s.live(in) })
		all = append(all, in)
	}
	return all
}

// afflict decides what the machine will suffer from.
func (c *call) afflict(in *instance) {
	meets := func(name FaultName) *armed {
		a := c.sim.met(name, in.occasion())
		if a != nil {
			in.met = append(in.met, name)
		}
		return a
	}
	in.neverBoots = meets(NeverBoots) != nil
	in.noDocker = meets(NoDocker) != nil
	in.diskFull = meets(DiskFull) != nil
	if a := meets(ClockWrong); a != nil {
		in.clockOffset = time.Duration(a.By)
	}
	in.impaired = in.neverBoots
}

var anywhere = netip.MustParsePrefix("0.0.0.0/0")
