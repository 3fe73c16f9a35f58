package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// abortCommand stops a run.
type abortCommand struct {
	*program
	terminate bool
}

func (c *abortCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "abort RUN",
		Short: "Stop a run",
		Long: `Abort asks a run to stop and returns at once; loads wait RUN waits for its end. With
--terminate it waits for the end and ends the run's machines as well, instead of
keeping them for the next run. RUN is a uuid, the beginning of one, or last.`,
		Example: `  loads abort last
  loads abort 1f0c --terminate`,
		Args:              between(1, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().BoolVar(&c.terminate, "terminate", false, "end the machines of the run as well")
	return cmd
}

// abortResult is what abort prints as JSON.
type abortResult struct {
	Run        string   `json:"run"`
	WasRunning bool     `json:"was_running"`
	Terminated []string `json:"terminated,omitempty"`
}

func (c *abortCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	client, id, err := c.connectRun(ctx, args[0])
	if err != nil {
		return err
	}
	result := abortResult{Run: id}
	if c.terminate {
		var deleted api.DeletedRun
		deleted, err = client.DeleteRun(ctx, id, false, true)
		result.WasRunning, result.Terminated = deleted.StoppedRunning, deleted.Terminated
	} else {
		result.WasRunning, err = client.Abort(ctx, id)
	}
	if err != nil {
		return err
	}
	return c.show(result)
}

func (c *abortCommand) show(r abortResult) error {
	switch {
	case c.json:
		return writeJSON(c.Stdout, r)
	case !r.WasRunning:
		fmt.Fprintf(c.Stdout, "Run %s was not running.\n", r.Run)
	case c.terminate:
		fmt.Fprintf(c.Stdout, "Run %s is stopped, %s ended.\n", r.Run, countOf(len(r.Terminated), "machine"))
	default:
		fmt.Fprintf(c.Stdout, "Run %s is being stopped.\n", r.Run)
	}
	return nil
}
