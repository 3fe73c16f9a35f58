package web_test

import (
	"context"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

// A renter quotes a dollar an hour, and has no machines.
type renter struct{ pool }

func (*renter) LeaseEvery() time.Duration { return time.Hour }

func (*renter) Renew(context.Context, broker.Machine, broker.Engine, time.Duration) error { return nil }

func (*renter) Admit(context.Context, []broker.Machine) error { return nil }

func (*renter) Notices(context.Context, []broker.Machine) ([]broker.Notice, error) { return nil, nil }

func (*renter) Quote(_ context.Context, reqs []broker.MachineRequest) (broker.Quote, error) {
	line := broker.QuoteLine{Name: "one", Region: "eu-west-1", Type: "c7i.large " + evil, Count: len(reqs), LowUSD: 0.5, HighUSD: 1, Up: 90 * time.Second}
	return broker.Quote{Lines: []broker.QuoteLine{line}, Notes: []string{"Spot machines are rare today."}}, nil
}

func (*renter) Receipt(context.Context, string) (broker.Receipt, error) {
	return broker.Receipt{At: time.Now(), Launched: 2, Terminated: 2}, nil
}

func TestPagesShowWhatMachinesCost(t *testing.T) {
	t.Parallel()
	s := mustServeFrom(t, nil, &renter{pool{held: true}})
	plan := s.mustPlan()
	page := s.get("/plan/" + plan.Plan.UUID)
	s.has("plan", page, 200, "Ask what a run can cost")
	s.hasNot("plan", page, "Worst possible bill")
	page = s.get("/plan/" + plan.Plan.UUID + "?cost")
	s.has("plan with its cost", page, 200, "Worst possible bill: ", "eu-west-1", "0.5000 USD to 1.00 USD", "1:30", "Spot machines are rare today.")
	s.hasNot("plan with its cost", page, evil, "A run would not start")

	if _, err := s.broker.SetMaxCost(t.Context(), plan.ProjectUUID, 0.5); err != nil {
		t.Fatal(err)
	}
	s.has("plan whose project has too little", s.get("/plan/"+plan.Plan.UUID+"?cost"), 200, "A run would not start", "Its project", "0.5000 USD")

	run, err := s.store.CreateRun(t.Context(), broker.Run{PlanUUID: plan.Plan.UUID, Cost: &broker.Cost{WorstUSD: 4.2, MaxUSD: 5}})
	if err != nil {
		t.Fatal(err)
	}
	launched := time.Now().Add(-time.Hour)
	m := broker.Machine{State: broker.MachinePrepared, Pool: "ec2", Type: "c7i.large", Region: "eu-west-1", Spot: true, HourUSD: 2, LaunchedAt: &launched}
	if err := s.store.SaveMachine(t.Context(), &run, &m); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "?part=now"} {
		s.has("run under way"+path, s.get("/run/"+run.UUID+path), 200, "Spent until now, about", "2.00 USD", "Worst possible bill", "4.20 USD", "It may cost", "5.00 USD")
	}
	s.has("its machines", s.get("/run/"+run.UUID), 200, "c7i.large", "spot")
	s.has("project", s.get("/project/"+plan.ProjectUUID), 200, "Its runs may cost in 30 days", "What runs under way can still cost at the very worst", "2.20 USD")

	run.State, run.Cleanup = broker.Completed, broker.CleanupDone
	run.Receipts = []broker.Receipt{{At: time.Now(), Pool: "ec2", Launched: 2, Terminated: 2}}
	if err := s.store.SaveRun(t.Context(), &run); err != nil {
		t.Fatal(err)
	}
	s.has("run that is over", s.get("/run/"+run.UUID), 200, "Spent, about", "ec2 says: 2 machines launched, 2 terminated; nothing else is left.")
	s.hasNot("run of nothing rented", s.get("/run/"+s.mustRun(s.mustPlan()).UUID), "Cost of the machines")
}
