package aws_test

import (
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

func TestQuote_SaysWhatMachinesCostAndWhetherTheyFit(t *testing.T) {
	t.Parallel()
	drill := quick()
	drill.Limits.OnDemandVCPUs = 10
	c := startCloud(t, drill)
	p := c.open(t.TempDir(), nil)
	taken := c.acquire(p, requests(1, nil))
	reqs := append(requests(2, nil), requests(3, func(r *broker.MachineRequest) {
		r.Step, r.StepName, r.Type, r.Region, r.Spot = 1, "users", "m6g.large", "eu-central-1", strategies.SpotPrefer
		r.Alternatives = []string{"m5.large"}
	})...)
	q, err := p.Quote(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Lines) != 2 || len(q.Faults) != 0 || len(q.Quotas) != 4 {
		t.Fatalf("got %+v, want two lines, four quotas and no fault", q)
	}
	first, second := q.Lines[0], q.Lines[1]
	if first.Count != 2 || first.Type != "m5.large" || first.Architecture != "amd64" || len(first.Zones) == 0 || !strings.HasPrefix(first.Image, "ami-") {
		t.Errorf("first line %+v", first)
	}
	// 0.096 USD for an m5.large in Virginia, 40 GiB and an address.
	if first.LowUSD != first.HighUSD || first.HighUSD < 0.1 || first.HighUSD > 0.12 {
		t.Errorf("the first costs %v to %v USD an hour, want about 0.11", first.LowUSD, first.HighUSD)
	}
	if second.Architecture != "arm64" || second.LowUSD >= second.HighUSD || second.LowUSD <= 0 {
		t.Errorf("second line %+v, want a range of prices", second)
	}
	if notes := strings.Join(q.Notes, "\n"); !strings.Contains(notes, "m6g.large are arm64, and those of type m5.large are amd64") {
		t.Errorf("notes %q, want one on the two architectures", notes)
	}
	if quota := q.Quotas[1]; quota.Region != virginia || quota.Limit != 10 || quota.Used != 2 || quota.Needed != 4 {
		t.Errorf("quota %+v, want 2 of 10 vCPUs used, and 4 needed", quota)
	}
	// The broker to Docker and to the port, the region's own machines, and three of the other.
	if quota := q.Quotas[3]; quota.Region != virginia || quota.Unit != "rules" || quota.Limit != 60 || quota.Needed != 6 {
		t.Errorf("quota %+v, want 6 of 60 rules needed", quota)
	}
	if m := taken[0]; m.HourUSD != first.HighUSD {
		t.Errorf("a machine costs %v USD an hour, and the quote says %v", m.HourUSD, first.HighUSD)
	}
	if n := c.sim.State().Launched; n != 1 {
		t.Errorf("launched %d machines, want the one from before", n)
	}
	c.release(p, taken...)
	c.clean(p, 1)
}

func TestQuote_NamesAllFaults(t *testing.T) {
	t.Parallel()
	drill := quick()
	drill.Limits.OnDemandVCPUs = 3
	c := startCloud(t, drill)
	p := c.open(t.TempDir(), nil)
	reqs := append(requests(2, nil), requests(1, func(r *broker.MachineRequest) { r.Step, r.Type = 1, "t1.gigantic" })...)
	reqs = append(reqs, requests(600, func(r *broker.MachineRequest) { r.Step, r.Type, r.Region = 2, "t3.micro", "eu-central-1" })...)
	reqs = append(reqs, requests(1, func(r *broker.MachineRequest) { r.Step, r.StepName, r.Region = 3, "far", "us-west2" })...)
	q, err := p.Quote(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	// 600 machines are asked for by 12 calls: 4 at once, and then 1.95 a second.
	if up := q.Lines[2].Up - q.Lines[0].Up; up.Round(100*time.Millisecond) != 4100*time.Millisecond {
		t.Errorf("the 600 machines are up %v after the others, want 4.1 s", up)
	}
	faults := strings.Join(q.Faults, "\n")
	for _, want := range []string{"no machine type t1.gigantic", "Step far: us-west2 is no region that the account has enabled; these are ", "need 4 vCPUs in us-east-1", "there are 3 left", "The 600 machines in other regions need 603 rules in a security group of us-east-1"} {
		if !strings.Contains(faults, want) {
			t.Errorf("faults %q, want %q among them", faults, want)
		}
	}
}
