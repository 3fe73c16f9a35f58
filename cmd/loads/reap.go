package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
)

// How long reap goes on, and the pause between two looks: a machine takes up to
// minutes to be gone, and only then what it used can be deleted.
const (
	reapLimit = 5 * time.Minute
	reapPause = 2 * time.Second
)

// reapCommand ends rented machines without a broker.
type reapCommand struct {
	*program
	brokerID string
	all      bool
	yes      bool
	region   string
}

func (c *reapCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reap --broker-id ID | reap --all",
		Short: "End what brokers have rented, without one",
		Long: `Reap ends machines on EC2, and deletes what belongs to them, that carry Loads' tags: those of
the broker of an id, which loads info shows and the tag loads:broker has, or with --all
those of every broker in the account, in all regions. It needs the credentials for AWS in
the environment, and neither broker nor database. It lists what it has found and asks
before it ends anything, unless --yes is given; runs in progress lose their machines.

A broker does the same by itself, at its start and every minute, for what it has made and
no run owns. It exits with 1 when something is left.`,
		Example: `  loads reap --broker-id 0d6c1f9e-4a8d-4f1e-9a43-2f6f0a1f5a11
  loads reap --all --yes`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
	f := cmd.Flags()
	f.StringVar(&c.brokerID, "broker-id", "", "id of the broker whose machines to end")
	f.BoolVar(&c.all, "all", false, "end those of every broker in the account")
	f.BoolVar(&c.yes, "yes", false, "don't ask")
	f.StringVar(&c.region, "ec2-region", "", regionUsage)
	return cmd
}

// reaped is what reap prints in JSON.
type reaped struct {
	Ended []string `json:"ended"`
	Left  []string `json:"left"`
}

func (c *reapCommand) run(cmd *cobra.Command, _ []string) error {
	if c.all == (c.brokerID != "") {
		return usagef(cmd, "give either --broker-id ID or --all")
	}
	ctx := cmd.Context()
	pool, closePool, err := c.openEC2(ctx, c.region)
	if err != nil {
		return err
	}
	defer closePool()
	found, err := pool.Owned(ctx, c.brokerID)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return c.show(reaped{Ended: []string{}, Left: []string{}})
	}
	if err := c.list(found); err != nil {
		return err
	}
	if agreed, err := c.agreed(len(found)); err != nil || !agreed {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reapLimit) // not for the answer
	defer cancel()
	result, err := reap(ctx, pool, c.brokerID, found)
	if err := errors.Join(err, c.show(result)); err != nil {
		return err
	}
	if len(result.Left) > 0 {
		return exited(exitUsage)
	}
	return nil
}

// agreed asks whether to go on.
func (c *reapCommand) agreed(n int) (bool, error) {
	if c.yes {
		return true, nil
	}
	if c.terminal() == nil {
		return false, broker.Errorf(broker.EInvalid, "There is no terminal to ask at; give --yes to end all of that.")
	}
	fmt.Fprintf(c.Stdout, "End %s? [y/N] ", these(n))
	answer, err := bufio.NewReader(c.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word == "y" || word == "yes" {
		return true, nil
	}
	fmt.Fprintln(c.Stdout, "Nothing was ended.")
	return false, nil
}

func these(n int) string {
	if n == 1 {
		return "this"
	}
	return fmt.Sprintf("these %d", n)
}

// list shows what was found. In JSON the result alone is printed.
func (c *reapCommand) list(found []broker.Owned) error {
	if c.json {
		return nil
	}
	var t table
	t.row("ID", "KIND", "STATE", "TYPE", "ADDRESS", "BROKER", "RUN")
	for _, o := range found {
		t.row(o.ProviderID, orDash(o.Kind), orDash(o.State), orDash(o.Type), orDash(o.Address), orDash(o.BrokerID), orDash(o.RunUUID))
	}
	return t.write(c.Stdout)
}

// reap ends what was found and what comes to light when that is gone, until the
// provider says that nothing is left or ctx ends.
func reap(ctx context.Context, pool broker.Renter, brokerID string, found []broker.Owned) (reaped, error) {
	result := reaped{Ended: []string{}, Left: []string{}}
	ended, runs := map[string]bool{}, map[string]bool{}
	for {
		var faults []error
		for _, o := range found {
			runs[o.RunUUID] = true
			if err := pool.Discard(ctx, o); err != nil {
				faults = append(faults, fmt.Errorf("end %s: %w", o.ProviderID, err))
			} else if !ended[o.ProviderID] {
				ended[o.ProviderID] = true
				result.Ended = append(result.Ended, o.ProviderID)
			}
		}
		left, err := leftOf(ctx, pool, runs)
		if err == nil && len(left) == 0 && len(faults) == 0 {
			result.Left = left
			return result, nil
		}
		select {
		case <-time.After(reapPause):
		case <-ctx.Done():
			result.Left = left
			return result, errors.Join(append(faults, err)...)
		}
		if again, err := pool.Owned(ctx, brokerID); err == nil {
			found = again
		}
	}
}

// leftOf lists what the provider still has of the runs.
func leftOf(ctx context.Context, pool broker.Renter, runs map[string]bool) ([]string, error) {
	left := []string{}
	for run := range runs {
		if run == "" {
			continue
		}
		receipt, err := pool.Receipt(ctx, run)
		if err != nil {
			return left, err
		}
		for _, r := range receipt.Left {
			left = append(left, r.Kind+" "+r.ID)
		}
	}
	return left, nil
}

func (c *reapCommand) show(r reaped) error {
	if c.json {
		return writeJSON(c.Stdout, r)
	}
	for _, id := range r.Ended {
		fmt.Fprintln(c.Stdout, "ended "+id)
	}
	for _, left := range r.Left {
		fmt.Fprintln(c.Stdout, "LEFT: "+left)
	}
	if len(r.Ended)+len(r.Left) == 0 {
		fmt.Fprintln(c.Stdout, "There is nothing to end.")
	}
	return nil
}
