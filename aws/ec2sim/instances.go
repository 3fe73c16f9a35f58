package ec2sim

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// metadataOptions are how the metadata service of an instance answers.
type metadataOptions struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	HopLimit int    `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
	IPv6     string `xml:"httpProtocolIpv6"`
	Tags     string `xml:"instanceMetadataTags"`
}

type xmlReason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type xmlMapping struct {
	Device string `xml:"deviceName"`
	EBS    struct {
		VolumeID            string    `xml:"volumeId"`
		Status              string    `xml:"status"`
		AttachTime          wire.Time `xml:"attachTime"`
		DeleteOnTermination bool      `xml:"deleteOnTermination"`
	} `xml:"ebs"`
}

type xmlInstance struct {
	ID             string    `xml:"instanceId"`
	ImageID        string    `xml:"imageId"`
	State          stateOf   `xml:"instanceState"`
	PrivateDNSName string    `xml:"privateDnsName"`
	DNSName        string    `xml:"dnsName"`
	Reason         string    `xml:"reason"`
	LaunchIndex    int       `xml:"amiLaunchIndex"`
	ProductCodes   struct{}  `xml:"productCodes"`
	Type           string    `xml:"instanceType"`
	LaunchTime     wire.Time `xml:"launchTime"`
	Placement      struct {
		Zone    string `xml:"availabilityZone"`
		ZoneID  string `xml:"availabilityZoneId"`
		Group   string `xml:"groupName"`
		Tenancy string `xml:"tenancy"`
	} `xml:"placement"`
	Monitoring struct {
		State string `xml:"state"`
	} `xml:"monitoring"`
	SubnetID        string                 `xml:"subnetId,omitempty"`
	VPCID           string                 `xml:"vpcId,omitempty"`
	PrivateIP       string                 `xml:"privateIpAddress,omitempty"`
	PublicIP        string                 `xml:"ipAddress,omitempty"`
	SourceDestCheck bool                   `xml:"sourceDestCheck"`
	Groups          wire.Set[xmlGroupName] `xml:"groupSet"`
	StateReason     *xmlReason             `xml:"stateReason"`
	Architecture    string                 `xml:"architecture"`
	RootDeviceType  string                 `xml:"rootDeviceType"`
	RootDeviceName  string                 `xml:"rootDeviceName"`
	Mappings        wire.Set[xmlMapping]   `xml:"blockDeviceMapping"`
	Virtualization  string                 `xml:"virtualizationType"`
	Lifecycle       string                 `xml:"instanceLifecycle,omitempty"`
	SpotRequestID   string                 `xml:"spotInstanceRequestId,omitempty"`
	ClientToken     string                 `xml:"clientToken"`
	Tags            wire.Set[xmlTag]       `xml:"tagSet"`
	Hypervisor      string                 `xml:"hypervisor"`
	Interfaces      wire.Set[xmlInterface] `xml:"networkInterfaceSet"`
	EBSOptimized    bool                   `xml:"ebsOptimized"`
	ENASupport      bool                   `xml:"enaSupport"`
	CPUOptions      struct {
		Cores   int `xml:"coreCount"`
		Threads int `xml:"threadsPerCore"`
	} `xml:"cpuOptions"`
	Metadata metadataOptions `xml:"metadataOptions"`
}

// publicAddress is the public address while the instance has one: not while it
// is stopped.
func (in *instance) publicAddress() string {
	if !in.publicIP.IsValid() || (in.state != statePending && in.state != stateRunning) {
		return ""
	}
	return in.publicIP.String()
}

// xml is the instance with the state that is seen, or the one it has.
func (in *instance) xml(now time.Time, actual bool) xmlInstance {
	seen := in.shown(now)
	if actual {
		seen = in.history[len(in.history)-1]
	}
	x := xmlInstance{
		ID: in.ID, ImageID: in.image.ID, State: seen.state, LaunchIndex: in.index, Type: in.typ.Name,
		LaunchTime: wire.Time(in.launched), SourceDestCheck: true, Architecture: in.image.Arch,
		RootDeviceType: "ebs", RootDeviceName: catalog.RootDevice, Virtualization: "hvm", ClientToken: in.token,
		Tags: tagSet(in.tags), Hypervisor: "xen", EBSOptimized: in.optimized, ENASupport: true, Metadata: in.metadata,
	}
	x.Placement.Zone, x.Placement.ZoneID, x.Placement.Tenancy = in.subnet.Zone.Name, in.subnet.Zone.ID, "default"
	x.Monitoring.State = "disabled"
	if in.monitoring {
		x.Monitoring.State = "enabled"
	}
	x.CPUOptions.Threads = 2
	if in.typ.Arch == catalog.ARM {
		x.CPUOptions.Threads = 1
	}
	x.CPUOptions.Cores = in.typ.VCPUs / x.CPUOptions.Threads
	if in.spot != nil {
		x.Lifecycle, x.SpotRequestID = "spot", in.spot.ID
	}
	if why := seen.reason; why.Code != "" {
		x.StateReason = &xmlReason{why.Code, why.Message}
		x.Reason = "User initiated (" + in.launched.UTC().Format("2006-01-02 15:04:05 GMT") + ")"
		if why != reasonUserStop {
			x.Reason = why.Code
		}
	}
	if in.eni == nil || seen.state == stateTerminated {
		return x
	}
	x.SubnetID, x.VPCID, x.Groups = in.subnet.ID, in.region.vpc, groupNames(in.groups)
	x.PrivateIP, x.PrivateDNSName = in.privateIP.String(), dnsName("ip", in.privateIP, in.region.Name)
	if x.PublicIP = in.publicAddress(); x.PublicIP != "" {
		x.DNSName = dnsName("ec2", in.publicIP, in.region.Name)
	}
	x.Interfaces = wire.SetOf(in.eni.xml())
	for _, v := range in.volumes {
		m := xmlMapping{Device: v.Device}
		m.EBS.VolumeID, m.EBS.Status, m.EBS.AttachTime = v.ID, "attached", wire.Time(in.launched)
		m.EBS.DeleteOnTermination = v.DeleteOnTermination
		x.Mappings.Items = append(x.Mappings.Items, m)
	}
	return x
}

type xmlReservation struct {
	ID        string                 `xml:"reservationId"`
	OwnerID   string                 `xml:"ownerId"`
	Groups    wire.Set[xmlGroupName] `xml:"groupSet"`
	Instances wire.Set[xmlInstance]  `xml:"instancesSet"`
}

func reservationOf(c *call, instances []*instance, actual bool) xmlReservation {
	x := xmlReservation{ID: instances[0].reservation, OwnerID: c.account}
	for _, in := range instances {
		x.Instances.Items = append(x.Instances.Items, in.xml(c.now, actual))
	}
	return x
}

// values are what filters on instances look at.
func (in *instance) values(now time.Time) values {
	// Made only for filters on more than tags, which are the usual ones.
	others := sync.OnceValue(func() map[string][]string { return in.filterTable(now) })
	return in.tagValues(func(name string) ([]string, bool) {
		v, ok := others()[name]
		return v, ok
	})
}

func (in *instance) filterTable(now time.Time) map[string][]string {
	x := in.xml(now, false)
	m := map[string][]string{
		"instance-id": {in.ID}, "instance-type": {in.typ.Name}, "image-id": {in.image.ID}, "architecture": {in.image.Arch},
		"instance-state-name": {x.State.Name}, "instance-state-code": {strconv.Itoa(x.State.Code)},
		"availability-zone": {in.subnet.Zone.Name}, "placement.availability-zone": {in.subnet.Zone.Name}, "client-token": {in.token},
		"reservation-id": {in.reservation}, "subnet-id": {x.SubnetID}, "vpc-id": {x.VPCID},
		"private-ip-address": {x.PrivateIP}, "ip-address": {x.PublicIP}, "private-dns-name": {x.PrivateDNSName}, "dns-name": {x.DNSName},
		"launch-time":        {in.launched.UTC().Format("2006-01-02T15:04:05.000Z")},
		"owner-id":           {in.region.account},
		"instance-lifecycle": {x.Lifecycle}, "spot-instance-request-id": {x.SpotRequestID},
		"state-reason-code": {}, "root-device-type": {"ebs"}, "root-device-name": {catalog.RootDevice}, "tenancy": {"default"},
		"virtualization-type": {"hvm"}, "hypervisor": {"xen"}, "monitoring-state": {x.Monitoring.State},
		"instance.group-id": {}, "instance.group-name": {}, "group-id": {}, "group-name": {}, "block-device-mapping.volume-id": {},
	}
	if x.StateReason != nil {
		m["state-reason-code"] = []string{x.StateReason.Code}
	}
	for _, g := range x.Groups.Items {
		for _, prefix := range []string{"", "instance."} {
			m[prefix+"group-id"] = append(m[prefix+"group-id"], g.ID)
			m[prefix+"group-name"] = append(m[prefix+"group-name"], g.Name)
		}
	}
	for _, v := range x.Mappings.Items {
		m["block-device-mapping.volume-id"] = append(m["block-device-mapping.volume-id"], v.EBS.VolumeID)
	}
	return m
}

func noInstance(id string) *wire.Error {
	if !strings.HasPrefix(id, "i-") || !wellFormed.MatchString(id) {
		return wire.Errorf("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
	}
	return wire.Errorf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
}

func (c *call) pickInstances() ([]*instance, string, *wire.Error) {
	if c.params.Has("InstanceId.1") && c.params.Has("MaxResults") {
		return nil, "", wire.Errorf("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	return pick(c, c.region.instances, func(in *instance) *resource { return &in.resource }, "InstanceId",
		func(in *instance) values { return in.values(c.now) }, noInstance)
}

func describeInstances(c *call) (any, *wire.Error) {
	found, next, err := c.pickInstances()
	if err != nil {
		return nil, err
	}
	answer := struct {
		Reservations wire.Set[xmlReservation] `xml:"reservationSet"`
		Next         string                   `xml:"nextToken,omitempty"`
	}{Next: next}
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].reservation == found[0].reservation {
			n++
		}
		answer.Reservations.Items = append(answer.Reservations.Items, reservationOf(c, found[:n], false))
		found = found[n:]
	}
	return answer, nil
}

type xmlStatus struct {
	Status  string `xml:"status"`
	Details wire.Set[struct {
		Name   string `xml:"name"`
		Status string `xml:"status"`
	}] `xml:"details"`
}

func statusOf(status string) xmlStatus {
	x := xmlStatus{Status: status}
	passed := map[string]string{"ok": "passed", "impaired": "failed", "initializing": "initializing"}[status]
	if passed != "" {
		x.Details.Items = append(x.Details.Items, struct {
			Name   string `xml:"name"`
			Status string `xml:"status"`
		}{"reachability", passed})
	}
	return x
}

func describeInstanceStatus(c *call) (any, *wire.Error) {
	type item struct {
		ID       string             `xml:"instanceId"`
		Zone     string             `xml:"availabilityZone"`
		Events   wire.Set[struct{}] `xml:"eventsSet"`
		State    stateOf            `xml:"instanceState"`
		System   xmlStatus          `xml:"systemStatus"`
		Instance xmlStatus          `xml:"instanceStatus"`
	}
	all, err := c.params.Bool("IncludeAllInstances", false)
	if err != nil {
		return nil, err
	}
	found, next, err := c.pickInstances()
	if err != nil {
		return nil, err
	}
	answer := struct {
		Statuses wire.Set[item] `xml:"instanceStatusSet"`
		Next     string         `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, in := range found {
		state := in.shown(c.now).state
		if !all && state != stateRunning {
			continue
		}
		i := item{ID: in.ID, Zone: in.subnet.Zone.Name, State: state, System: statusOf("ok"), Instance: statusOf("ok")}
		switch {
		case state != stateRunning:
			i.System, i.Instance = statusOf("not-applicable"), statusOf("not-applicable")
		case c.now.Before(in.checked):
			i.System, i.Instance = statusOf("initializing"), statusOf("initializing")
		case in.impaired:
			i.Instance = statusOf("impaired")
		}
		answer.Statuses.Items = append(answer.Statuses.Items, i)
	}
	return answer, nil
}

// An xmlChange is what a call has done to an instance.
type xmlChange struct {
	ID       string  `xml:"instanceId"`
	Current  stateOf `xml:"currentState"`
	Previous stateOf `xml:"previousState"`
}

// named finds the instances that a call names, all or none.
func (c *call) named() ([]*instance, *wire.Error) {
	ids := c.params.Strings("InstanceId")
	if len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter InstanceId")
	}
	var found []*instance
	for _, id := range ids {
		in := c.region.instances[id]
		if in == nil || !in.isSeen(c.now) {
			return nil, noInstance(id)
		}
		if !slices.Contains(found, in) {
			found = append(found, in)
		}
	}
	return found, nil
}

// changeInstances is what the calls have in common that bring instances to
// another state: check all, then do all.
func (c *call) changeInstances(check func(*instance) *wire.Error, change func(*instance)) (any, *wire.Error) {
	found, err := c.named()
	if err != nil {
		return nil, err
	}
	for _, in := range found {
		if err := check(in); err != nil {
			return nil, err
		}
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	if err := c.takeResources(len(found)); err != nil {
		return nil, err
	}
	var answer struct {
		Changes wire.Set[xmlChange] `xml:"instancesSet"`
	}
	for _, in := range found {
		before := in.state
		change(in)
		answer.Changes.Items = append(answer.Changes.Items, xmlChange{in.ID, in.state, before})
	}
	return answer, nil
}

func terminateInstances(c *call) (any, *wire.Error) {
	return c.changeInstances(func(in *instance) *wire.Error {
		if in.protected {
			return wire.Errorf("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", in.ID)
		}
		return nil
	}, func(in *instance) {
		if in.state != stateShutting && in.state != stateTerminated {
			c.sim.set(in, stateShutting, reasonUserStop)
		}
	})
}

func errState(in *instance) *wire.Error {
	return wire.Errorf("IncorrectInstanceState", "The instance '%s' is %s, and can't be started or stopped from there.", in.ID, in.state.Name)
}

func stopInstances(c *call) (any, *wire.Error) {
	force, err := c.params.Bool("Force", false)
	if err != nil {
		return nil, err
	}
	return c.changeInstances(func(in *instance) *wire.Error {
		switch {
		case in.spot != nil:
			return wire.Errorf("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", in.ID)
		case in.state == stateRunning, in.state == stateStopping, in.state == stateStopped:
			return nil
		}
		return errState(in)
	}, func(in *instance) {
		if in.state == stateRunning {
			in.forced = force
			c.sim.set(in, stateStopping, reasonUserStop)
		}
	})
}

func startInstances(c *call) (any, *wire.Error) {
	return c.changeInstances(func(in *instance) *wire.Error {
		switch in.state {
		case stateStopped:
			if c.room(in.subnet.Zone.Name, in.typ.Name) == 0 {
				return wire.Errorf("InsufficientInstanceCapacity", "We currently do not have sufficient %s capacity in the Availability Zone you requested (%s).", in.typ.Name, in.subnet.Zone.Name).With(500)
			}
			return nil
		case statePending, stateRunning:
			return nil
		}
		return errState(in)
	}, func(in *instance) {
		if in.state == stateStopped {
			in.launched = c.now.Truncate(time.Second)
			c.sim.set(in, statePending, reason{})
		}
	})
}

// oneInstance finds the instance that a call names.
func (c *call) oneInstance() (*instance, *wire.Error) {
	id := c.params.Get("InstanceId")
	if id == "" {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter instanceId")
	}
	in := c.region.instances[id]
	if in == nil || !in.isSeen(c.now) {
		return nil, noInstance(id)
	}
	return in, nil
}

func modifyInstanceAttribute(c *call) (any, *wire.Error) {
	in, err := c.oneInstance()
	if err != nil {
		return nil, err
	}
	shutdown, protected, groups := in.shutdown, in.protected, in.groups
	name, value := c.params.Get("Attribute"), c.params.Get("Value")
	switch name {
	case "":
		shutdown = c.params.Default("InstanceInitiatedShutdownBehavior.Value", shutdown)
		protected, err = c.params.Bool("DisableApiTermination.Value", protected)
		if ids := c.params.Strings("GroupId"); err == nil && len(ids) > 0 {
			groups, err = c.findGroups(ids, nil)
		}
	case "instanceInitiatedShutdownBehavior":
		shutdown = value
	case "disableApiTermination":
		protected = value == "true"
	default:
		err = wire.Errorf("UnsupportedOperation", "The attribute %s is not simulated.", name)
	}
	if err != nil {
		return nil, err
	}
	if err := checkShutdown(shutdown); err != nil {
		return nil, err
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	in.shutdown, in.protected = shutdown, protected
	if !slices.Equal(groups, in.groups) {
		in.groups = groups
		c.sim.pushRules(in)
	}
	return done, nil
}

func getConsoleOutput(c *call) (any, *wire.Error) {
	in, err := c.oneInstance()
	if err != nil {
		return nil, err
	}
	c.params.Get("Latest")
	type answer struct {
		ID     string    `xml:"instanceId"`
		Time   wire.Time `xml:"timestamp"`
		Output string    `xml:"output"`
	}
	machine, a := in.machine, answer{ID: in.ID, Time: wire.Time(c.now)}
	return afterwards(func() any {
		if machine != nil {
			a.Output = base64.StdEncoding.EncodeToString(machine.Console())
		}
		return a
	}), nil
}
