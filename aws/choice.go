package aws

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A choice is where a machine may be had, and as what.
type choice struct {
	Type, Zone string
	Spot       bool
}

func (c choice) String() string {
	if c.Spot {
		return fmt.Sprintf("%s in %s, spot", c.Type, c.Zone)
	}
	return fmt.Sprintf("%s in %s", c.Type, c.Zone)
}

// bootTries is how many launched machines may come to nothing before a request
// is given up.
const bootTries = 3

// fullFor is how long a zone that had no room is tried after all others.
const fullFor = time.Minute

// choices lists all choices of a request in the order to try: spot before on
// demand, the types as they were given, and zone after zone from home on.
func choices(req broker.MachineRequest, subnets []types.Subnet, home string, offered func(name string) []string) []choice {
	var out []choice
	spots := map[strategies.Spot][]bool{strategies.SpotPrefer: {true, false}, strategies.SpotOnly: {true}}[req.Spot]
	if spots == nil {
		spots = []bool{false}
	}
	first := max(0, slices.IndexFunc(subnets, func(s types.Subnet) bool { return sdk.ToString(s.AvailabilityZone) == home }))
	for _, spot := range spots {
		for _, name := range typesOf(req) {
			zones := offered(name)
			for i := range subnets {
				zone := sdk.ToString(subnets[(first+i)%len(subnets)].AvailabilityZone)
				if slices.Contains(zones, zone) {
					out = append(out, choice{name, zone, spot})
				}
			}
		}
	}
	return out
}

// byChance is a zone that is the same for all machines of a run.
func byChance(run string, subnets []types.Subnet) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(run)) // which never fails
	return sdk.ToString(subnets[sum.Sum32()%uint32(len(subnets))].AvailabilityZone)
}

// choose returns the next choice for the record; an error says why there is
// none left.
func (r *region) choose(ctx context.Context, rec record, subnets []types.Subnet, home string) (choice, error) {
	req := rec.Request
	known := map[string][]string{}
	var wrong []error
	for _, name := range typesOf(req) {
		t, err := r.machineType(ctx, name)
		known[name] = t.zones
		wrong = append(wrong, err)
	}
	all := choices(req, subnets, home, func(name string) []string { return known[name] })
	if len(all) == 0 {
		if err := summary(wrong); err != nil {
			return choice{}, err
		}
		return choice{}, broker.Errorf(broker.EInvalid, "no zone with a subnet (%s) offers machines of type %s; give another as instance_type",
			zonesOf(subnets), req.Type)
	}
	left := slices.DeleteFunc(slices.Clone(all), func(c choice) bool { return spent(rec.Tried, c) })
	booted := 0
	for _, a := range rec.Tried {
		if a.Kind == outcomeUnknown {
			booted++
		}
	}
	if booted >= bootTries && len(all) > 0 {
		left = nil
	}
	if len(left) == 0 {
		return choice{}, shortage(rec, len(all))
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(left, func(a, b choice) int {
		return boolInt(now.Before(r.full[a])) - boolInt(now.Before(r.full[b]))
	})
	return left[0], nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// spent reports whether an attempt that failed rules the choice out. A machine
// that was launched and came to nothing rules out nothing: it may have been
// that machine.
func spent(tried []attempt, c choice) bool {
	return slices.ContainsFunc(tried, func(a attempt) bool {
		switch a.Kind {
		case refusedFull:
			return a.At == c
		case refusedQuota: // of all types together, more or less
			return a.At.Type == c.Type && a.At.Spot == c.Spot
		case refusedSpot:
			return a.At.Type == c.Type && a.At.Spot && c.Spot
		}
		return false
	})
}

// shortage says why a request can't be met, after all that was tried.
func shortage(rec record, n int) error {
	last := rec.Tried[len(rec.Tried)-1]
	var reasons []string
	for _, a := range rec.Tried {
		if !slices.Contains(reasons, a.Reason) {
			reasons = append(reasons, a.Reason)
		}
	}
	var advice string
	switch last.Kind {
	case refusedQuota:
		advice = "the account's quota of vCPUs is used up; ask for more in the Service Quotas console, end other machines, or take smaller ones"
	case refusedSpot:
		advice = "no spot machines can be had; say spot: prefer to take others then, or try later"
	case refusedFull:
		advice = "EC2 has no room; give other types as instance_types, or another instance_region, or try later"
	default:
		advice = fmt.Sprintf("%d machines were launched and ended again, as their Docker did not answer; look at the image, the subnet's route to the internet, and whether --ec2-from is the address that machines see", bootTries)
	}
	return broker.Errorf(broker.EUnavailable, "no machine of type %s in %s can be had: %s (%d ways tried, %d possible: %s)",
		rec.Request.Type, rec.Region, advice, len(rec.Tried), n, strings.Join(reasons, "; "))
}

// noRoom notes that there is none for a while.
func (r *region) noRoom(c choice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full[c] = time.Now().Add(fullFor)
}
