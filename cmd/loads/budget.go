package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
)

// budgetCommand shows or sets what the runs of a project may cost together.
type budgetCommand struct {
	*program
}

func (c *budgetCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "budget PROJECT [USD]",
		Short: "Show or set what the runs of a project may cost together",
		Long: `Budget shows how much the rented machines of a project's runs may cost together within
30 days, what they have cost, and what runs under way can still cost at the very worst;
or, with USD, sets how much they may. 0 takes the limit away. A run that could cost more
than is left does not start, and one under way is ended two minutes before the money is
used up. PROJECT is a uuid, the beginning of one, or a name.`,
		Example: `  loads budget "My service"
  loads budget "My service" 50`,
		Args: between(1, 2, "a project, and perhaps a sum"),
		RunE: c.run,
	}
}

func (c *budgetCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	var usd float64
	if len(args) > 1 {
		var err error
		if usd, err = strconv.ParseFloat(args[1], 64); err != nil || math.IsNaN(usd) || math.IsInf(usd, 0) {
			return usagef(cmd, "the sum is %q; give USD, such as 50 or 12.5, or 0 for no limit", args[1])
		}
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	project, err := findProject(ctx, client, args[0])
	if err != nil {
		return err
	}
	var budget *broker.Budget
	if len(args) > 1 {
		budget, err = client.SetMaxCost(ctx, project, usd)
	} else {
		budget, err = client.ProjectBudget(ctx, project)
	}
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, map[string]any{"project_uuid": project, "budget": budget})
	}
	if budget == nil {
		_, err = fmt.Fprintln(c.Stdout, "The project's runs may cost what they like.")
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "limit        %s USD in 30 days\nspent        %s USD\nrunning now  %s USD more at the very worst\nleft         %s USD\n",
		money(budget.MaxUSD), money(budget.SpentUSD), money(budget.ReservedUSD), money(budget.Left()))
	return err
}
