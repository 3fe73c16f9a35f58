package ec2sim

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// ec2Actions are the calls of EC2 that are simulated.
var ec2Actions = map[string]handler{
	"AuthorizeSecurityGroupEgress":  authorizeEgress,
	"AuthorizeSecurityGroupIngress": authorizeIngress,
	"CancelSpotInstanceRequests":    cancelSpotInstanceRequests,
	"CreateSecurityGroup":           createSecurityGroup,
	"CreateTags":                    createTags,
	"DeleteSecurityGroup":           deleteSecurityGroup,
	"DeleteTags":                    deleteTags,
	"DescribeAccountAttributes":     describeAccountAttributes,
	"DescribeAvailabilityZones":     describeAvailabilityZones,
	"DescribeImages":                describeImages,
	"DescribeInstanceStatus":        describeInstanceStatus,
	"DescribeInstanceTypeOfferings": describeInstanceTypeOfferings,
	"DescribeInstanceTypes":         describeInstanceTypes,
	"DescribeInstances":             describeInstances,
	"DescribeNetworkInterfaces":     describeNetworkInterfaces,
	"DescribeRegions":               describeRegions,
	"DescribeSecurityGroups":        describeSecurityGroups,
	"DescribeSpotInstanceRequests":  describeSpotInstanceRequests,
	"DescribeSpotPriceHistory":      describeSpotPriceHistory,
	"DescribeSubnets":               describeSubnets,
	"DescribeTags":                  describeTags,
	"DescribeVolumes":               describeVolumes,
	"DescribeVpcs":                  describeVpcs,
	"GetConsoleOutput":              getConsoleOutput,
	"ModifyInstanceAttribute":       modifyInstanceAttribute,
	"RevokeSecurityGroupEgress":     revokeEgress,
	"RevokeSecurityGroupIngress":    revokeIngress,
	"RunInstances":                  runInstances,
	"StartInstances":                startInstances,
	"StopInstances":                 stopInstances,
	"TerminateInstances":            terminateInstances,
}

// selectFrom picks from a list that is always the same: by names and filters.
func selectFrom[T any](c *call, all []T, list string, name func(T) string, v func(T) values, missing string) ([]T, *wire.Error) {
	filters, err := c.filters()
	if err != nil {
		return nil, err
	}
	names := c.params.Strings(list)
	for _, want := range names {
		if !slices.ContainsFunc(all, func(item T) bool { return name(item) == want }) {
			return nil, wire.Errorf(missing, "The value '%s' of %s does not exist", want, list)
		}
	}
	var found []T
	for _, item := range all {
		if len(names) > 0 && !slices.Contains(names, name(item)) {
			continue
		}
		ok, err := admits(filters, v(item))
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, item)
		}
	}
	return found, nil
}

func describeRegions(c *call) (any, *wire.Error) {
	type item struct {
		Name     string `xml:"regionName"`
		Endpoint string `xml:"regionEndpoint"`
		OptIn    string `xml:"optInStatus"`
	}
	c.params.Get("AllRegions")
	found, err := selectFrom(c, catalog.Regions(), "RegionName",
		func(r catalog.Region) string { return r.Name },
		func(r catalog.Region) values {
			return table(map[string]string{
				"region-name": r.Name, "endpoint": "ec2." + r.Name + ".amazonaws.com", "opt-in-status": "opt-in-not-required",
			})
		}, "InvalidParameterValue")
	var answer struct {
		Regions wire.Set[item] `xml:"regionInfo"`
	}
	for _, r := range found {
		answer.Regions.Items = append(answer.Regions.Items, item{r.Name, "ec2." + r.Name + ".amazonaws.com", "opt-in-not-required"})
	}
	return answer, err
}

func describeAvailabilityZones(c *call) (any, *wire.Error) {
	type item struct {
		State  string `xml:"zoneState"`
		OptIn  string `xml:"optInStatus"`
		Region string `xml:"regionName"`
		Name   string `xml:"zoneName"`
		ID     string `xml:"zoneId"`
		Group  string `xml:"groupName"`
		Border string `xml:"networkBorderGroup"`
		Type   string `xml:"zoneType"`
	}
	c.params.Get("AllAvailabilityZones")
	ids := c.params.Strings("ZoneId")
	found, err := selectFrom(c, c.region.Zones, "ZoneName",
		func(z catalog.Zone) string { return z.Name },
		func(z catalog.Zone) values {
			return table(map[string]string{
				"zone-name": z.Name, "zone-id": z.ID, "region-name": c.region.Name, "state": "available",
				"zone-type": "availability-zone", "opt-in-status": "opt-in-not-required", "group-name": c.region.Name,
			})
		}, "InvalidParameterValue")
	var answer struct {
		Zones wire.Set[item] `xml:"availabilityZoneInfo"`
	}
	for _, z := range found {
		if len(ids) == 0 || slices.Contains(ids, z.ID) {
			answer.Zones.Items = append(answer.Zones.Items, item{
				"available", "opt-in-not-required", c.region.Name, z.Name, z.ID, c.region.Name, c.region.Name, "availability-zone",
			})
		}
	}
	return answer, err
}

func describeVpcs(c *call) (any, *wire.Error) {
	type item struct {
		ID      string           `xml:"vpcId"`
		Owner   string           `xml:"ownerId"`
		State   string           `xml:"state"`
		CIDR    string           `xml:"cidrBlock"`
		DHCP    string           `xml:"dhcpOptionsId"`
		Tenancy string           `xml:"instanceTenancy"`
		Default bool             `xml:"isDefault"`
		Tags    wire.Set[xmlTag] `xml:"tagSet"`
	}
	cidr := divide(c.sim.host.Addresses(), 2)[0].String()
	vpc := item{ID: c.region.vpc, Owner: c.account, State: "available", CIDR: cidr, DHCP: "default", Tenancy: "default", Default: true}
	found, err := selectFrom(c, []item{vpc}, "VpcId",
		func(i item) string { return i.ID },
		func(i item) values {
			return resource{}.tagValues(table(map[string]string{
				"vpc-id": i.ID, "state": i.State, "cidr": i.CIDR, "is-default": "true", "isDefault": "true", "owner-id": i.Owner,
			}))
		}, "InvalidVpcID.NotFound")
	if err != nil {
		return nil, err
	}
	items, next, err := page(c, found, func(i item) string { return i.ID }, usualPages)
	return struct {
		VPCs wire.Set[item] `xml:"vpcSet"`
		Next string         `xml:"nextToken,omitempty"`
	}{wire.SetOf(items...), next}, err
}

func describeSubnets(c *call) (any, *wire.Error) {
	type item struct {
		ID      string           `xml:"subnetId"`
		ARN     string           `xml:"subnetArn"`
		State   string           `xml:"state"`
		Owner   string           `xml:"ownerId"`
		VPCID   string           `xml:"vpcId"`
		CIDR    string           `xml:"cidrBlock"`
		Free    int              `xml:"availableIpAddressCount"`
		Zone    string           `xml:"availabilityZone"`
		ZoneID  string           `xml:"availabilityZoneId"`
		Default bool             `xml:"defaultForAz"`
		Public  bool             `xml:"mapPublicIpOnLaunch"`
		Tags    wire.Set[xmlTag] `xml:"tagSet"`
	}
	var all []item
	for i, s := range c.region.subnets {
		all = append(all, item{
			ID: s.ID, ARN: "arn:aws:ec2:" + c.region.Name + ":" + c.account + ":subnet/" + s.ID, State: "available", Owner: c.account,
			VPCID: c.region.vpc, CIDR: s.CIDR.String(), Free: c.sim.addresses.zones[i].free(),
			Zone: s.Zone.Name, ZoneID: s.Zone.ID, Default: true, Public: true,
		})
	}
	found, err := selectFrom(c, all, "SubnetId",
		func(i item) string { return i.ID },
		func(i item) values {
			return resource{}.tagValues(table(map[string]string{
				"subnet-id": i.ID, "vpc-id": i.VPCID, "availability-zone": i.Zone, "availabilityZone": i.Zone, "availability-zone-id": i.ZoneID,
				"state": i.State, "default-for-az": "true", "defaultForAz": "true", "cidr-block": i.CIDR, "owner-id": i.Owner,
				"map-public-ip-on-launch": "true",
			}))
		}, "InvalidSubnetID.NotFound")
	if err != nil {
		return nil, err
	}
	items, next, err := page(c, found, func(i item) string { return i.Zone }, usualPages)
	return struct {
		Subnets wire.Set[item] `xml:"subnetSet"`
		Next    string         `xml:"nextToken,omitempty"`
	}{wire.SetOf(items...), next}, err
}

type xmlType struct {
	Name       string           `xml:"instanceType"`
	Current    bool             `xml:"currentGeneration"`
	FreeTier   bool             `xml:"freeTierEligible"`
	Usage      wire.Set[string] `xml:"supportedUsageClasses"`
	RootTypes  wire.Set[string] `xml:"supportedRootDeviceTypes"`
	BareMetal  bool             `xml:"bareMetal"`
	Hypervisor string           `xml:"hypervisor"`
	Processor  struct {
		Architectures wire.Set[string] `xml:"supportedArchitectures"`
	} `xml:"processorInfo"`
	VCPU struct {
		VCPUs   int `xml:"defaultVCpus"`
		Cores   int `xml:"defaultCores"`
		Threads int `xml:"defaultThreadsPerCore"`
	} `xml:"vCpuInfo"`
	Memory struct {
		MiB int64 `xml:"sizeInMiB"`
	} `xml:"memoryInfo"`
	Network struct {
		Performance string `xml:"networkPerformance"`
		MaxCards    int    `xml:"maximumNetworkInterfaces"`
	} `xml:"networkInfo"`
	Burst bool `xml:"burstablePerformanceSupported"`
}

func describeInstanceTypes(c *call) (any, *wire.Error) {
	found, err := selectFrom(c, catalog.Types(), "InstanceType",
		func(t catalog.Type) string { return t.Name },
		func(t catalog.Type) values {
			return table(map[string]string{
				"instance-type": t.Name, "processor-info.supported-architecture": t.Arch, "vcpu-info.default-vcpus": strconv.Itoa(t.VCPUs),
				"memory-info.size-in-mib": strconv.FormatInt(t.Memory>>20, 10), "current-generation": "true", "bare-metal": "false",
				"burstable-performance-supported": strconv.FormatBool(t.Burst), "hypervisor": "nitro",
			})
		}, "InvalidInstanceType")
	if err != nil {
		return nil, err
	}
	found, next, err := page(c, found, func(t catalog.Type) string { return t.Name }, pageSizes{5, 100})
	if err != nil {
		return nil, err
	}
	answer := struct {
		Types wire.Set[xmlType] `xml:"instanceTypeSet"`
		Next  string            `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, t := range found {
		x := xmlType{
			Name: t.Name, Current: true, Usage: wire.SetOf("on-demand", "spot"), RootTypes: wire.SetOf("ebs"), Hypervisor: "nitro", Burst: t.Burst,
		}
		x.Processor.Architectures = wire.SetOf(t.Arch)
		x.VCPU.VCPUs, x.VCPU.Threads = t.VCPUs, 2
		if t.Arch == catalog.ARM {
			x.VCPU.Threads = 1
		}
		x.VCPU.Cores = t.VCPUs / x.VCPU.Threads
		x.Memory.MiB = t.Memory >> 20
		x.Network.Performance, x.Network.MaxCards = t.Network, 3
		answer.Types.Items = append(answer.Types.Items, x)
	}
	return answer, nil
}

func describeInstanceTypeOfferings(c *call) (any, *wire.Error) {
	type item struct {
		Type     string `xml:"instanceType"`
		Kind     string `xml:"locationType"`
		Location string `xml:"location"`
	}
	kind := c.params.Default("LocationType", "region")
	var all []item
	for _, t := range catalog.Types() {
		switch kind {
		case "region":
			all = append(all, item{t.Name, kind, c.region.Name})
		case "availability-zone", "availability-zone-id":
			for _, z := range c.region.Zones {
				if t.Offered(c.region.Region, z.Name) {
					location := z.Name
					if kind == "availability-zone-id" {
						location = z.ID
					}
					all = append(all, item{t.Name, kind, location})
				}
			}
		default:
			return nil, wire.Errorf("InvalidParameterValue", "Value (%s) for parameter locationType is invalid.", kind)
		}
	}
	found, err := selectFrom(c, all, "", func(i item) string { return i.Type }, func(i item) values {
		return table(map[string]string{"instance-type": i.Type, "location": i.Location})
	}, "")
	if err != nil {
		return nil, err
	}
	items, next, err := page(c, found, func(i item) string { return i.Type + " " + i.Location }, usualPages)
	return struct {
		Offerings wire.Set[item] `xml:"instanceTypeOfferingSet"`
		Next      string         `xml:"nextToken,omitempty"`
	}{wire.SetOf(items...), next}, err
}

type xmlImage struct {
	ID             string           `xml:"imageId"`
	Location       string           `xml:"imageLocation"`
	State          string           `xml:"imageState"`
	OwnerID        string           `xml:"imageOwnerId"`
	OwnerAlias     string           `xml:"imageOwnerAlias"`
	Created        string           `xml:"creationDate"`
	Public         bool             `xml:"isPublic"`
	Architecture   string           `xml:"architecture"`
	Type           string           `xml:"imageType"`
	Name           string           `xml:"name"`
	Description    string           `xml:"description"`
	RootDeviceType string           `xml:"rootDeviceType"`
	RootDeviceName string           `xml:"rootDeviceName"`
	Virtualization string           `xml:"virtualizationType"`
	Hypervisor     string           `xml:"hypervisor"`
	ENA            bool             `xml:"enaSupport"`
	Platform       string           `xml:"platformDetails"`
	Tags           wire.Set[xmlTag] `xml:"tagSet"`
	Mappings       wire.Set[struct {
		Device string `xml:"deviceName"`
		EBS    struct {
			Size      int    `xml:"volumeSize"`
			Type      string `xml:"volumeType"`
			Delete    bool   `xml:"deleteOnTermination"`
			Encrypted bool   `xml:"encrypted"`
		} `xml:"ebs"`
	}] `xml:"blockDeviceMapping"`
}

func describeImages(c *call) (any, *wire.Error) {
	owners := c.params.Strings("Owner")
	c.params.Get("IncludeDeprecated")
	c.params.Get("ExecutableBy.1")
	found, err := selectFrom(c, catalog.Images(c.region.Name), "ImageId",
		func(i catalog.Image) string { return i.ID },
		func(i catalog.Image) values {
			return resource{}.tagValues(table(map[string]string{
				"image-id": i.ID, "name": i.Name, "architecture": i.Arch, "owner-id": i.Owner, "owner-alias": "amazon", "state": "available",
				"is-public": "true", "image-type": "machine", "root-device-type": "ebs", "virtualization-type": "hvm", "creation-date": i.Created,
			}))
		}, "InvalidAMIID.NotFound")
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(i catalog.Image) bool {
		return len(owners) > 0 && !slices.Contains(owners, i.Owner) && !slices.Contains(owners, "amazon")
	})
	found, next, err := page(c, found, func(i catalog.Image) string { return i.ID }, pageSizes{1, 1000})
	if err != nil {
		return nil, err
	}
	answer := struct {
		Images wire.Set[xmlImage] `xml:"imagesSet"`
		Next   string             `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, i := range found {
		x := xmlImage{
			ID: i.ID, Location: "amazon/" + i.Name, State: "available", OwnerID: i.Owner, OwnerAlias: "amazon", Created: i.Created, Public: true,
			Architecture: i.Arch, Type: "machine", Name: i.Name, Description: "Amazon Linux 2023", RootDeviceType: "ebs",
			RootDeviceName: catalog.RootDevice, Virtualization: "hvm", Hypervisor: "xen", ENA: true, Platform: "Linux/UNIX",
		}
		x.Mappings.Items = append(x.Mappings.Items, struct {
			Device string `xml:"deviceName"`
			EBS    struct {
				Size      int    `xml:"volumeSize"`
				Type      string `xml:"volumeType"`
				Delete    bool   `xml:"deleteOnTermination"`
				Encrypted bool   `xml:"encrypted"`
			} `xml:"ebs"`
		}{Device: catalog.RootDevice})
		x.Mappings.Items[0].EBS.Size, x.Mappings.Items[0].EBS.Type, x.Mappings.Items[0].EBS.Delete = i.RootGiB, "gp3", true
		answer.Images.Items = append(answer.Images.Items, x)
	}
	return answer, nil
}

func describeAccountAttributes(c *call) (any, *wire.Error) {
	type value struct {
		Value string `xml:"attributeValue"`
	}
	type item struct {
		Name   string          `xml:"attributeName"`
		Values wire.Set[value] `xml:"attributeValueSet"`
	}
	wanted := c.params.Strings("AttributeName")
	all := map[string]string{
		"supported-platforms": "VPC", "default-vpc": c.region.vpc, "max-instances": "1000",
		"vpc-max-security-groups-per-interface": "5", "max-elastic-ips": "5", "vpc-max-elastic-ips": "5",
	}
	var answer struct {
		Attributes wire.Set[item] `xml:"accountAttributeSet"`
	}
	for _, name := range sortedKeys(all) {
		if len(wanted) == 0 || slices.Contains(wanted, name) {
			answer.Attributes.Items = append(answer.Attributes.Items, item{name, wire.SetOf(value{all[name]})})
		}
	}
	slices.SortFunc(answer.Attributes.Items, func(a, b item) int { return cmp.Compare(a.Name, b.Name) })
	return answer, nil
}
