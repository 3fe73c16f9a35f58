package web

import (
	"fmt"
	"time"

	"github.com/loads/loads/broker"
)

// costLines say what a run's rented machines could cost, have cost, and what is
// left of them; nothing for runs that rented none.
func costLines(r broker.Report) []count {
	var list []count
	if c := r.Run.Cost; c != nil {
		now := time.Now()
		spent := count{"Spent until now, about", usd(r.SpentUSD(now))}
		if r.Run.State == broker.Completed {
			spent.Name = "Spent, about"
		}
		list = append(list, spent, count{"Worst possible bill, as known at the start", worst(*c)})
		if c.MaxUSD > 0 {
			list = append(list, count{"It may cost", usd(c.MaxUSD)})
		}
		if b := c.Project; b != nil {
			list = append(list, count{"Left of its project's money at the start", usd(b.Left())})
		}
	}
	for _, receipt := range r.Run.Receipts {
		list = append(list, count{"Receipt of " + moment(receipt.At) + " UTC", receipt.String()})
	}
	return list
}

// budgetLines say how a project's money stands; nothing when it has no limit.
func budgetLines(b *broker.Budget) []count {
	if b == nil {
		return nil
	}
	return []count{
		{"Its runs may cost in 30 days", usd(b.MaxUSD)},
		{"Spent", usd(b.SpentUSD)},
		{"What runs under way can still cost at the very worst", usd(b.ReservedUSD)},
		{"Left", usd(b.Left())},
	}
}

// worst is the worst bill in words.
func worst(c broker.Cost) string {
	switch {
	case c.Partial && c.WorstUSD == 0:
		return "not known, since no price is"
	case c.Partial:
		return usd(c.WorstUSD) + ", without what has no known price"
	}
	return usd(c.WorstUSD)
}

// usd writes a sum so that small ones can be told apart.
func usd(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.4f USD", v)
	}
	return fmt.Sprintf("%.2f USD", v)
}

// hourly is the range of what a machine costs in an hour.
func hourly(l broker.CostLine) string {
	switch {
	case l.HighUSD <= 0:
		return "not known"
	case l.LowUSD == l.HighUSD || l.LowUSD <= 0:
		return usd(l.HighUSD)
	}
	return usd(l.LowUSD) + " to " + usd(l.HighUSD)
}

// aboutSeconds writes a time to the second.
func aboutSeconds(s float64) string { return seconds(time.Duration(s * float64(time.Second))) }
