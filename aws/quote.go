package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// upByExperience is how long a machine takes to be up, until one was measured.
// It is what is told of others' machines on EC2, and was not measured there.
const upByExperience = 2 * time.Minute

// standard are the families of types that share the quotas below.
const standard = "acdhimrtz"

// Codes of the quotas of vCPUs of standard machines.
const (
	quotaOnDemand = "L-1216C47A"
	quotaSpot     = "L-34B43A08"
)

// Quote asks for types, images, prices and quotas. A price that can't be had is
// a note; it makes nothing.
func (p *Pool) Quote(ctx context.Context, reqs []broker.MachineRequest) (broker.Quote, error) {
	var q broker.Quote
	regions, err := p.regionNames(ctx)
	if err != nil {
		return broker.Quote{}, err
	}
	slices.Sort(regions)
	needs := map[need]float64{}
	for _, step := range bySteps(reqs) {
		if req := step[0]; !slices.Contains(regions, cmp.Or(req.Region, p.sdk.Region)) {
			q.Faults = append(q.Faults, fmt.Sprintf("Step %s: %s is no region that the account has enabled; these are %s.",
				req.StepName, req.Region, strings.Join(regions, ", ")))
			reqs = slices.DeleteFunc(slices.Clone(reqs), func(r broker.MachineRequest) bool { return r.Step == req.Step })
			continue
		}
		line, err := p.line(ctx, step, &q, needs)
		if err != nil {
			return broker.Quote{}, err
		}
		q.Lines = append(q.Lines, line)
	}
	asked := map[string]int{} // calls, by region: those of all steps wait for each other
	for _, line := range q.Lines {
		asked[line.Region] += (line.Count + boot.MaxServers - 1) / boot.MaxServers
	}
	for i := range q.Lines {
		q.Lines[i].Up += asking(asked[q.Lines[i].Region])
	}
	if err := p.quotas(ctx, needs, &q); err != nil {
		return broker.Quote{}, err
	}
	p.ruleQuotas(ctx, reqs, &q)
	return q, nil
}

func bySteps(reqs []broker.MachineRequest) [][]broker.MachineRequest {
	var out [][]broker.MachineRequest
	for _, req := range reqs {
		if n := len(out); n > 0 && out[n-1][0].Step == req.Step {
			out[n-1] = append(out[n-1], req)
			continue
		}
		out = append(out, []broker.MachineRequest{req})
	}
	return out
}

// A need is of so many vCPUs in a region, on one of two quotas.
type need struct {
	region string
	spot   bool
}

// line quotes the machines of one step. What is wrong with it is a fault of
// the quote, an error that EC2 could not be asked.
func (p *Pool) line(ctx context.Context, step []broker.MachineRequest, q *broker.Quote, needs map[need]float64) (broker.QuoteLine, error) {
	req := step[0]
	r := p.in(req.Region)
	line := broker.QuoteLine{
		Step: req.Step, Name: req.StepName, Region: r.name, Type: req.Type, Count: len(step), Spot: req.Spot, Alternatives: req.Alternatives,
		// Its own launch, and those that come to nothing before it.
		Beyond: (bootTries+1)*p.cfg.BootLimit + boot.Overrun, Up: r.up(),
	}
	if p.cfg.Idle > 0 { // while it waits for a run that doesn't come
		line.Beyond += p.cfg.Idle + idleGrace
	}
	fault := func(err error) error {
		if broker.CodeOf(err) != broker.EInvalid {
			return err
		}
		q.Faults = append(q.Faults, fmt.Sprintf("Step %s: %v", req.StepName, err))
		return nil
	}
	if _, err := r.subnets(ctx, p.cfg.Subnets); err != nil {
		if err := fault(err); err != nil {
			return line, err
		}
	}
	vcpus, counted := 0, false
	for i, name := range typesOf(req) {
		t, err := r.machineType(ctx, name)
		if err != nil {
			if err := fault(err); err != nil {
				return line, err
			}
			continue
		}
		img, err := r.image(ctx, cmp.Or(req.Image, p.cfg.Image), t.arch)
		if err != nil {
			if err := fault(err); err != nil {
				return line, err
			}
		}
		if i == 0 {
			line.Image, line.Architecture, line.Zones = img.id, dockerArch(t.arch), t.zones
		} else if arch := dockerArch(t.arch); line.Architecture != "" && arch != line.Architecture {
			q.Notes = append(q.Notes, fmt.Sprintf("Step %s: machines of type %s are %s, and those of type %s are %s; its container's image must be for both.",
				req.StepName, req.Type, line.Architecture, name, arch))
		}
		if strings.ContainsRune(standard, rune(name[0])) {
			vcpus, counted = max(vcpus, t.vcpus), true
		}
		p.price(ctx, r, req, name, &line, q)
	}
	if counted {
		needs[need{r.name, req.Spot != strategies.SpotNever}] += float64(vcpus * len(step))
	} else {
		q.Notes = append(q.Notes, fmt.Sprintf("Step %s: the quota for machines of type %s is not looked at.", req.StepName, req.Type))
	}
	return line, nil
}

func dockerArch(a types.ArchitectureType) string {
	if a == types.ArchitectureTypeArm64 {
		return "arm64"
	}
	return "amd64"
}

// price widens the line's range by what a machine of the type can cost.
func (p *Pool) price(ctx context.Context, r *region, req broker.MachineRequest, name string, line *broker.QuoteLine, q *broker.Quote) {
	usd, err := p.onDemand(ctx, r.name, name)
	if err != nil {
		q.Notes = append(q.Notes, fmt.Sprintf("Step %s: the price of %s in %s is not known: %v", req.StepName, name, r.name, err))
		return
	}
	low := usd
	if req.Spot != strategies.SpotNever {
		least, most, err := r.spotRange(ctx, name)
		switch {
		case err != nil:
			q.Notes = append(q.Notes, fmt.Sprintf("Step %s: spot prices of %s in %s are not known: %v", req.StepName, name, r.name, err))
		case most > 0:
			low = min(low, least)
			q.Notes = append(q.Notes, fmt.Sprintf("Step %s: spot machines of type %s cost %.4f to %.4f USD an hour in the last day; they may come to cost %.4f.",
				req.StepName, name, least, most, usd))
		}
	}
	low, usd = low+besides(req), usd+besides(req)
	if line.LowUSD == 0 || low < line.LowUSD {
		line.LowUSD = low
	}
	line.HighUSD = max(line.HighUSD, usd)
}

// quotas compares what is needed with what the account has left.
func (p *Pool) quotas(ctx context.Context, needs map[need]float64, q *broker.Quote) error {
	all := make([]need, 0, len(needs))
	for n := range needs {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b need) int {
		return cmp.Or(cmp.Compare(a.region, b.region), boolInt(a.spot)-boolInt(b.spot))
	})
	for _, n := range all {
		r := p.in(n.region)
		code := quotaOnDemand
		if n.spot {
			code = quotaSpot
		}
		quota, err := r.quota(ctx, "ec2", code)
		if err != nil {
			q.Notes = append(q.Notes, fmt.Sprintf("The quota of vCPUs in %s is not known: %v", n.region, err))
			continue
		}
		if quota.Used, err = r.used(ctx, n.spot, p.resting()); err != nil {
			return err
		}
		quota.Needed = needs[n]
		q.Quotas = append(q.Quotas, quota)
		if left := quota.Limit - quota.Used; quota.Needed > left {
			q.Faults = append(q.Faults, fmt.Sprintf(
				"The machines need %.0f vCPUs in %s, and of the account's quota of %.0f there are %.0f left; ask for more of %q in the Service Quotas console, or take fewer or smaller machines.",
				quota.Needed, n.region, quota.Limit, left, quota.Name))
		}
	}
	return nil
}

func (r *region) quota(ctx context.Context, service, code string) (broker.Quota, error) {
	out, err := r.quotasAPI.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: sdk.String(service), QuotaCode: sdk.String(code)})
	if err != nil {
		return broker.Quota{}, failed("look up a quota of "+r.name, err)
	}
	return broker.Quota{
		Name: sdk.ToString(out.Quota.QuotaName), Region: r.name, Limit: sdk.ToFloat64(out.Quota.Value), Unit: "vCPU",
	}, nil
}

// resting are the ids of idle machines, which are used again or make room.
func (p *Pool) resting() map[string]bool {
	out := map[string]bool{}
	for _, e := range p.ledger.resting() {
		out[e.read().Instance] = true
	}
	return out
}

// used counts the vCPUs of the account's standard machines that run, but for
// those passed over.
func (r *region) used(ctx context.Context, spot bool, passedOver map[string]bool) (float64, error) {
	found, err := r.find(ctx, filter("instance-state-name", "pending", "running"))
	if err != nil {
		return 0, err
	}
	used := 0
	for _, in := range found {
		name := string(in.InstanceType)
		if passedOver[sdk.ToString(in.InstanceId)] || (in.InstanceLifecycle == types.InstanceLifecycleTypeSpot) != spot || !strings.ContainsRune(standard, rune(name[0])) {
			continue
		}
		t, err := r.machineType(ctx, name)
		if err != nil {
			return 0, err
		}
		used += t.vcpus
	}
	return float64(used), nil
}

// asking is how long it takes until so many calls have been made.
func asking(calls int) time.Duration {
	return time.Duration(float64(max(calls-launchBurst, 0)) / launchPerSecond * float64(time.Second))
}

// up is how long the last machine took from its launch until it was up.
func (r *region) up() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.lastUp, upByExperience)
}

func (r *region) noteUp(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastUp = took
}
