package catalog

import (
	"fmt"
	"slices"
)

// A Region is a part of the world with zones.
type Region struct {
	Name     string  // us-east-1
	Location string  // as the price list names it
	Zones    []Zone  // in order of their names
	Prices   float64 // against those of us-east-1
}

// A Zone is a data centre of a region.
type Zone struct {
	Name string // us-east-1a
	ID   string // use1-az1
}

// MaxZones is the largest number of zones in a region.
const MaxZones = 6

var regions = []Region{
	region("us-east-1", "use1", "US East (N. Virginia)", 6, 1),
	region("us-east-2", "use2", "US East (Ohio)", 3, 1),
	region("us-west-1", "usw1", "US West (N. California)", 2, 1.17),
	region("us-west-2", "usw2", "US West (Oregon)", 4, 1),
	region("ca-central-1", "cac1", "Canada (Central)", 3, 1.11),
	region("eu-west-1", "euw1", "EU (Ireland)", 3, 1.11),
	region("eu-west-2", "euw2", "EU (London)", 3, 1.16),
	region("eu-central-1", "euc1", "EU (Frankfurt)", 3, 1.2),
	region("eu-north-1", "eun1", "EU (Stockholm)", 3, 1.06),
	region("ap-northeast-1", "apne1", "Asia Pacific (Tokyo)", 3, 1.29),
	region("ap-southeast-1", "apse1", "Asia Pacific (Singapore)", 3, 1.25),
	region("ap-southeast-2", "apse2", "Asia Pacific (Sydney)", 3, 1.25),
	region("ap-south-1", "aps1", "Asia Pacific (Mumbai)", 3, 1.05),
	region("sa-east-1", "sae1", "South America (Sao Paulo)", 3, 1.59),
}

func region(name, id, location string, zones int, prices float64) Region {
	r := Region{Name: name, Location: location, Prices: prices}
	for i := range zones {
		r.Zones = append(r.Zones, Zone{
			Name: fmt.Sprintf("%s%c", name, 'a'+i),
			ID:   fmt.Sprintf("%s-az%d", id, i+1),
		})
	}
	return r
}

// Regions are all regions.
func Regions() []Region { return slices.Clone(regions) }

// FindRegion finds a region by its name.
func FindRegion(name string) (Region, bool) {
	i := slices.IndexFunc(regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		return Region{}, false
	}
	return regions[i], true
}

// FindLocation finds a region by the name the price list has for it.
func FindLocation(location string) (Region, bool) {
	i := slices.IndexFunc(regions, func(r Region) bool { return r.Location == location })
	if i < 0 {
		return Region{}, false
	}
	return regions[i], true
}
