package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// statusCommand shows where a run stands.
type statusCommand struct {
	*program
}

func (c *statusCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "status [RUN]",
		Short: "Show where a run stands, with its metrics so far",
		Long: `Status shows a run: its state, steps, machines, metrics so far, and, once it is over, its
verdict. RUN is a uuid, the beginning of one, or last; without it, every run that is not
over is listed. It exits with 0 whatever the verdict; loads wait gives it as exit code.`,
		Example: `  loads status
  loads status last
  loads status 1f0c --json | jq .ledger`,
		Args:              between(0, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
}

func (c *statusCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		runs, err := client.Runs(ctx, api.RunQuery{State: "active", Limit: manyRuns})
		switch {
		case err != nil:
			return err
		case c.json:
			return writeLines(c.Stdout, runs)
		case len(runs) == 0:
			_, err = fmt.Fprintln(c.Stdout, "Nothing runs; loads runs lists what has run.")
			return err
		}
		return writeRuns(c.Stdout, runs)
	}
	id, err := findRun(ctx, client, args[0])
	if err != nil {
		return err
	}
	report, err := client.Report(ctx, id)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, report)
	}
	return writeReport(c.Stdout, report)
}
