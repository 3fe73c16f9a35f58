package ec2sim

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// A volumeSpec is a disk that was asked for.
type volumeSpec struct {
	Device              string
	GiB                 int
	Type                string
	DeleteOnTermination bool
	Encrypted           bool
}

// A volume is a disk. It follows its instance, unless it was told to stay.
type volume struct {
	resource
	volumeSpec
	zone     string
	created  time.Time
	instance *instance // nil when it has outlived it
}

// A networkInterface is the network card of an instance, and goes with it.
type networkInterface struct {
	resource
	instance *instance
}

// readVolumes reads the disks; the root is the first, and there in any case.
func (c *call) readVolumes(req *request) *wire.Error {
	req.volumes = []volumeSpec{{Device: catalog.RootDevice, GiB: req.image.RootGiB, Type: "gp3", DeleteOnTermination: true}}
	for _, p := range c.params.Structs("BlockDeviceMapping") {
		v := volumeSpec{Device: p.Get("DeviceName")}
		if v.Device == "" {
			return wire.Errorf("MissingParameter", "The request must contain the parameter DeviceName")
		}
		ebs, least := p.In("Ebs"), 1
		if v.Device == catalog.RootDevice {
			least = req.image.RootGiB
		}
		var err *wire.Error
		if v.GiB, err = ebs.Int("VolumeSize", least); err != nil {
			return err
		}
		if v.GiB < least {
			return wire.Errorf("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot, expect size >= %dGB", v.GiB, least)
		}
		if v.GiB > 16384 {
			return wire.Errorf("InvalidParameterValue", "Volume of size %dGB is larger than 16384GB", v.GiB)
		}
		v.Type = ebs.Default("VolumeType", "gp3")
		if !slices.Contains([]string{"gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"}, v.Type) {
			return wire.Errorf("InvalidParameterValue", "Invalid volume type: %s", v.Type)
		}
		ebs.Get("Iops")
		ebs.Get("Throughput")
		if v.DeleteOnTermination, err = ebs.Bool("DeleteOnTermination", true); err != nil {
			return err
		}
		if v.Encrypted, err = ebs.Bool("Encrypted", false); err != nil {
			return err
		}
		if v.Device == catalog.RootDevice {
			req.volumes[0] = v
		} else {
			req.volumes = append(req.volumes, v)
		}
	}
	return nil
}

// attach gives a new instance its disks and its network card.
func (c *call) attach(in *instance, req *request) {
	r := c.region
	for _, spec := range req.volumes {
		v := &volume{
			resource:   r.newResource(c.sim.dice.id("vol"), "volume", in.visible),
			volumeSpec: spec, zone: in.subnet.Zone.Name, created: c.now, instance: in,
		}
		setTags(v.tags, req.tags["volume"])
		r.volumes[v.ID] = v
		in.volumes = append(in.volumes, v)
		c.sim.made(kindVolume)
	}
	in.eni = &networkInterface{resource: r.newResource(c.sim.dice.id("eni"), "network-interface", in.visible), instance: in}
	setTags(in.eni.tags, req.tags["network-interface"])
	r.interfaces[in.eni.ID] = in.eni
	c.sim.made(kindInterface)
}

type xmlAttachment struct {
	VolumeID            string    `xml:"volumeId"`
	InstanceID          string    `xml:"instanceId"`
	Device              string    `xml:"device"`
	Status              string    `xml:"status"`
	AttachTime          wire.Time `xml:"attachTime"`
	DeleteOnTermination bool      `xml:"deleteOnTermination"`
}

type xmlVolume struct {
	ID          string                  `xml:"volumeId"`
	Size        int                     `xml:"size"`
	Zone        string                  `xml:"availabilityZone"`
	Status      string                  `xml:"status"`
	CreateTime  wire.Time               `xml:"createTime"`
	Attachments wire.Set[xmlAttachment] `xml:"attachmentSet"`
	Tags        wire.Set[xmlTag]        `xml:"tagSet"`
	Type        string                  `xml:"volumeType"`
	Encrypted   bool                    `xml:"encrypted"`
}

func (v *volume) status() string {
	if v.instance == nil {
		return "available"
	}
	return "in-use"
}

func describeVolumes(c *call) (any, *wire.Error) {
	v := func(v *volume) values {
		list := map[string]string{
			"volume-id": v.ID, "status": v.status(), "size": strconv.Itoa(v.GiB), "volume-type": v.Type,
			"availability-zone": v.zone, "encrypted": strconv.FormatBool(v.Encrypted), "attachment.instance-id": "", "attachment.device": "",
		}
		if v.instance != nil {
			list["attachment.instance-id"], list["attachment.device"] = v.instance.ID, v.Device
		}
		return v.tagValues(table(list))
	}
	found, next, err := pick(c, c.region.volumes, func(v *volume) *resource { return &v.resource }, "VolumeId", v, c.noResource)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Volumes wire.Set[xmlVolume] `xml:"volumeSet"`
		Next    string              `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, v := range found {
		x := xmlVolume{
			ID: v.ID, Size: v.GiB, Zone: v.zone, Status: v.status(), CreateTime: wire.Time(v.created),
			Tags: tagSet(v.tags), Type: v.Type, Encrypted: v.Encrypted,
		}
		if v.instance != nil {
			x.Attachments = wire.SetOf(xmlAttachment{v.ID, v.instance.ID, v.Device, "attached", wire.Time(v.created), v.DeleteOnTermination})
		}
		answer.Volumes.Items = append(answer.Volumes.Items, x)
	}
	return answer, nil
}

type xmlAssociation struct {
	PublicIP      string `xml:"publicIp"`
	PublicDNSName string `xml:"publicDnsName"`
	IPOwnerID     string `xml:"ipOwnerId"`
}

type xmlPrivateIP struct {
	PrivateIP   string          `xml:"privateIpAddress"`
	Primary     bool            `xml:"primary"`
	Association *xmlAssociation `xml:"association"`
}

type xmlCardAttachment struct {
	ID                  string    `xml:"attachmentId"`
	InstanceID          string    `xml:"instanceId,omitempty"`
	DeviceIndex         int       `xml:"deviceIndex"`
	Status              string    `xml:"status"`
	AttachTime          wire.Time `xml:"attachTime"`
	DeleteOnTermination bool      `xml:"deleteOnTermination"`
}

// An xmlInterface is a network card, as it stands in lists of its own and in
// instances.
type xmlInterface struct {
	ID              string                 `xml:"networkInterfaceId"`
	SubnetID        string                 `xml:"subnetId"`
	VPCID           string                 `xml:"vpcId"`
	Zone            string                 `xml:"availabilityZone,omitempty"`
	Description     string                 `xml:"description"`
	OwnerID         string                 `xml:"ownerId"`
	Status          string                 `xml:"status"`
	PrivateIP       string                 `xml:"privateIpAddress"`
	SourceDestCheck bool                   `xml:"sourceDestCheck"`
	Groups          wire.Set[xmlGroupName] `xml:"groupSet"`
	Attachment      xmlCardAttachment      `xml:"attachment"`
	Association     *xmlAssociation        `xml:"association"`
	PrivateIPs      wire.Set[xmlPrivateIP] `xml:"privateIpAddressesSet"`
	InterfaceType   string                 `xml:"interfaceType"`
	Tags            *wire.Set[xmlTag]      `xml:"tagSet"`
}

func (n *networkInterface) xml() xmlInterface {
	in := n.instance
	x := xmlInterface{
		ID: n.ID, SubnetID: in.subnet.ID, VPCID: in.region.vpc, OwnerID: in.region.account, Status: "in-use",
		PrivateIP: in.privateIP.String(), SourceDestCheck: true, InterfaceType: "interface",
		Groups:      groupNames(in.groups),
		Attachment:  xmlCardAttachment{"eni-attach" + n.ID[len("eni"):], in.ID, 0, "attached", wire.Time(in.launched), true},
		Association: in.association(),
	}
	x.PrivateIPs = wire.SetOf(xmlPrivateIP{x.PrivateIP, true, x.Association})
	return x
}

func (in *instance) association() *xmlAssociation {
	if in.publicAddress() == "" {
		return nil
	}
	return &xmlAssociation{in.publicAddress(), dnsName("ec2", in.publicIP, in.region.Name), "amazon"}
}

func describeNetworkInterfaces(c *call) (any, *wire.Error) {
	v := func(n *networkInterface) values {
		in := n.instance
		var groups []string
		for _, g := range in.groups {
			groups = append(groups, g.ID)
		}
		return n.tagValues(tableOfLists(map[string][]string{
			"network-interface-id": {n.ID}, "attachment.instance-id": {in.ID}, "subnet-id": {in.subnet.ID}, "status": {"in-use"},
			"vpc-id": {in.region.vpc}, "availability-zone": {in.subnet.Zone.Name}, "group-id": groups,
			"private-ip-address": {in.privateIP.String()}, "association.public-ip": {in.publicAddress()},
		}))
	}
	found, next, err := pick(c, c.region.interfaces, func(n *networkInterface) *resource { return &n.resource }, "NetworkInterfaceId", v, c.noResource)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Interfaces wire.Set[xmlInterface] `xml:"networkInterfaceSet"`
		Next       string                 `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, n := range found {
		x, tags := n.xml(), tagSet(n.tags)
		x.Zone, x.Tags = n.instance.subnet.Zone.Name, &tags
		answer.Interfaces.Items = append(answer.Interfaces.Items, x)
	}
	return answer, nil
}

// dnsName is the name EC2 gives to an address. Nothing here resolves it.
func dnsName(prefix string, ip netip.Addr, region string) string {
	if !ip.IsValid() {
		return ""
	}
	a := ip.As4()
	name := prefix
	for _, b := range a {
		name += "-" + strconv.Itoa(int(b))
	}
	domain := ".compute.amazonaws.com"
	if prefix == "ip" {
		domain = ".compute.internal"
	}
	return name + "." + region + domain
}
