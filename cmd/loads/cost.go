package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/broker"
)

const regionUsage = "region for what no plan has a say in (default $AWS_REGION, or that of the AWS profile)"

// openEC2 opens the pool of machines from EC2 with nothing but credentials, for
// what asks and ends but makes nothing.
func (p *program) openEC2(ctx context.Context, region string) (_ *aws.Pool, closePool func(), err error) {
	dir, err := os.MkdirTemp("", "loads-ec2-")
	if err != nil {
		return nil, nil, fmt.Errorf("make folder: %w", err)
	}
	remove := func() { _ = os.RemoveAll(dir) }
	pool, err := aws.Open(ctx, aws.Config{Dir: dir, Region: region, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		remove()
		return nil, nil, err
	}
	return pool, remove, nil
}

// costLine is what run prints of the cost in JSON.
type costLine struct {
	Kind string      `json:"kind"` // "cost"
	Cost broker.Cost `json:"cost"`
}

// writeCost prints what the machines of a run can cost, for people.
func writeCost(w io.Writer, c broker.Cost) error {
	var t table
	t.row("step", "machines", "region", "type", "boots", "zones", "USD/h each", "at most USD")
	most := 0.0
	for _, l := range c.Lines {
		kind := l.Type
		if l.Architecture != "" {
			kind += " " + l.Architecture
		}
		if len(l.Alternatives) > 0 {
			kind += " or " + strings.Join(l.Alternatives, ", ")
		}
		if l.Spot != "" {
			kind += ", spot " + string(l.Spot)
		}
		t.row(l.Name, fmt.Sprint(l.Count), l.Region, kind, orDash(l.Image), orDash(strings.Join(l.Zones, " ")), prices(l.LowUSD, l.HighUSD), money(l.WorstUSD))
		most = max(most, l.UpSeconds)
	}
	if len(c.Lines) > 0 {
		if err := t.write(w); err != nil {
			return err
		}
	}
	for _, q := range c.Quotas {
		fmt.Fprintf(w, "Quota in %s: %s: %g of %g %s used, %g left, %g needed\n", q.Region, q.Name, q.Used, q.Limit, q.Unit, max(q.Limit-q.Used, 0), q.Needed)
	}
	for _, note := range c.Notes {
		fmt.Fprintln(w, "Note: "+note)
	}
	for _, fault := range c.Faults {
		fmt.Fprintln(w, "Fault: "+fault)
	}
	if most > 0 {
		fmt.Fprintf(w, "Machines are up in about %s.\n", time.Duration(most*float64(time.Second)).Round(time.Second))
	}
	bill := money(c.WorstUSD) + " USD"
	switch {
	case c.Partial && c.WorstUSD == 0:
		bill = "not known, since no price is"
	case c.Partial:
		bill += ", without what has no known price"
	}
	limit := ""
	if c.MaxUSD > 0 {
		limit = fmt.Sprintf("; the limit is %s USD", money(c.MaxUSD))
	}
	if b := c.Project; b != nil {
		fmt.Fprintf(w, "Of the %s USD that the project may cost in 30 days, %s are spent, and runs under way can cost %s more at the very worst.\n",
			money(b.MaxUSD), money(b.SpentUSD), money(b.ReservedUSD))
	}
	_, err := fmt.Fprintf(w, "Worst possible bill: %s, if every machine lives as long as it can, whatever fails%s.\n", bill, limit)
	return err
}

// prices is the range of a price, or the price where there is only one.
func prices(low, high float64) string {
	switch {
	case high <= 0:
		return "not known"
	case low == high || low <= 0:
		return money(high)
	}
	return money(low) + "–" + money(high)
}

// money writes a sum with so many digits that small ones can be told apart.
func money(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.4f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
