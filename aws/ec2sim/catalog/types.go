package catalog

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"
)

// The architectures of machines.
const (
	X86 = "x86_64"
	ARM = "arm64"
)

// A Type is a kind of machine that can be had.
type Type struct {
	Name    string // m5.large
	Arch    string
	VCPUs   int
	Memory  int64   // bytes
	Price   float64 // dollars an hour on demand in us-east-1, Linux
	Network string  // in words: Up to 10 Gigabit
	Burst   bool    // of the kind whose processor is rationed
}

// family is a series of types in which two things grow together.
type family struct {
	name   string
	arch   string
	memory float64 // GiB for each vCPU
	price  float64 // dollars an hour for each vCPU
	sizes  []string
}

const gib = 1 << 30

// sizeVCPUs are the vCPUs of each size.
var sizeVCPUs = map[string]int{
	"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "9xlarge": 36, "12xlarge": 48,
	"16xlarge": 64, "18xlarge": 72, "24xlarge": 96,
}

var (
	evenSizes = []string{"large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"}
	oddSizes  = []string{"large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "18xlarge"}
)

var families = []family{
	{"m5", X86, 4, 0.048, evenSizes},
	{"m6i", X86, 4, 0.048, evenSizes},
	{"m7i", X86, 4, 0.0504, evenSizes},
	{"m6g", ARM, 4, 0.0385, evenSizes[:7]},
	{"m7g", ARM, 4, 0.0408, evenSizes[:7]},
	{"c5", X86, 2, 0.0425, oddSizes},
	{"c5n", X86, 2.625, 0.054, oddSizes},
	{"c6i", X86, 2, 0.0425, evenSizes},
	{"c7i", X86, 2, 0.044625, evenSizes},
	{"c6g", ARM, 2, 0.034, evenSizes[:7]},
	{"c7g", ARM, 2, 0.03625, evenSizes[:7]},
	{"r5", X86, 8, 0.063, evenSizes},
	{"r6i", X86, 8, 0.063, evenSizes},
	{"r7g", ARM, 8, 0.05355, evenSizes[:7]},
}

var types = allTypes()

func allTypes() []Type {
	var all []Type
	for _, f := range families {
		for _, size := range f.sizes {
			n := sizeVCPUs[size]
			network := "Up to 10 Gigabit"
			if n > 16 {
				network = fmt.Sprintf("%d Gigabit", n/3)
			}
			all = append(all, Type{
				Name: f.name + "." + size, Arch: f.arch, VCPUs: n,
				Memory: int64(float64(n) * f.memory * gib), Price: round(float64(n) * f.price), Network: network,
			})
		}
	}
	small := []struct {
		size   string
		memory float64
		factor float64 // against the price of nano
	}{{"nano", 0.5, 1}, {"micro", 1, 2}, {"small", 2, 4}, {"medium", 4, 8}, {"large", 8, 16}, {"xlarge", 16, 32}, {"2xlarge", 32, 64}}
	for name, nano := range map[string]float64{"t3": 0.0052, "t4g": 0.0042} {
		arch := X86
		if name == "t4g" {
			arch = ARM
		}
		for _, s := range small {
			n := max(2, sizeVCPUs[s.size])
			all = append(all, Type{
				Name: name + "." + s.size, Arch: arch, VCPUs: n, Memory: int64(s.memory * gib),
				Price: round(nano * s.factor), Network: "Up to 5 Gigabit", Burst: true,
			})
		}
	}
	slices.SortFunc(all, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Types are all types, in order of their names.
func Types() []Type { return slices.Clone(types) }

// FindType finds a type by its name.
func FindType(name string) (Type, bool) {
	i, found := slices.BinarySearchFunc(types, name, func(t Type, name string) int { return strings.Compare(t.Name, name) })
	if !found {
		return Type{}, false
	}
	return types[i], true
}

// Offered reports whether a zone has the type. The last zone of a region with
// more than three is an old one, without the newest families.
func (t Type) Offered(r Region, zone string) bool {
	old := len(r.Zones) > 3 && zone == r.Zones[len(r.Zones)-1].Name
	return !old || !strings.Contains(t.Name, "7")
}

// OnDemand is the price in a region, in dollars an hour.
func (t Type) OnDemand(r Region) float64 { return round(t.Price * r.Prices) }

// spotPeriod is for how long a spot price holds.
const spotPeriod = 6 * time.Hour

// A SpotPrice is a price and since when it holds.
type SpotPrice struct {
	Price float64 // dollars an hour
	Since time.Time
}

// Spot is the spot price in a zone at a time: 30 to 45 percent of the price on
// demand, another one every six hours, always the same for the same time.
func (t Type) Spot(r Region, zone string, at time.Time) SpotPrice {
	since := at.UTC().Truncate(spotPeriod)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", t.Name, zone, since.Unix())
	share := 0.30 + 0.15*float64(h.Sum64()%1000)/1000
	return SpotPrice{Price: round(t.OnDemand(r) * share), Since: since}
}

// SpotHistory are the prices that held between two times, the newest first.
func (t Type) SpotHistory(r Region, zone string, from, to time.Time) []SpotPrice {
	var all []SpotPrice
	for at := to; ; at = at.Add(-spotPeriod) {
		p := t.Spot(r, zone, at)
		all = append(all, p)
		if !p.Since.After(from) || len(all) > 4*90 {
			return all
		}
	}
}

func round(price float64) float64 { return math.Round(price*1e6) / 1e6 }
