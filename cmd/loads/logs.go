package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// logsCommand prints the logs of a run.
type logsCommand struct {
	*program
	query   broker.LogQuery
	machine int
}

func (c *logsCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Print the output of a run's containers",
		Long: `Logs prints what the containers of a run wrote, by step and machine, each line after
step/machine. --follow goes on until they have ended, also over a restart of the
broker. RUN is a uuid, the beginning of one, or last.`,
		Example: `  loads logs last --follow
  loads logs 1f0c --step web --machine 0 --tail 100
  loads logs last --relay`,
		Args:              between(1, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	f := cmd.Flags()
	f.StringVar(&c.query.Step, "step", "", "only this step, by its name")
	f.IntVar(&c.machine, "machine", -1, "only this machine of each step, from 0 (default: all)")
	f.Lookup("machine").DefValue = "0" // which is not shown beside that
	f.BoolVar(&c.query.Relay, "relay", false, "the log of the metric relays instead")
	f.BoolVarP(&c.query.Follow, "follow", "f", false, "go on until the containers have ended")
	f.IntVar(&c.query.Tail, "tail", 0, "only the last lines of each container (default: all)")
	return cmd
}

func (c *logsCommand) run(cmd *cobra.Command, args []string) error {
	if c.query.Tail < 0 {
		return usagef(cmd, "--tail is %d; give the number of lines, 0 or more", c.query.Tail)
	}
	if c.machine < -1 {
		return usagef(cmd, "--machine is %d; give the number of a machine, from 0", c.machine)
	}
	if c.machine >= 0 {
		c.query.Machine = &c.machine
	}
	ctx := cmd.Context()
	client, id, err := c.connectRun(ctx, args[0])
	if err != nil {
		return err
	}
	return c.logs(ctx, client, id)
}

// logs prints the lines. Followed ones go on when the broker is back.
func (c *logsCommand) logs(ctx context.Context, client *api.Client, id string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var since time.Time // when the broker stopped answering
	patient := *client
	patient.Retrying = func(err error, _ time.Duration) {
		switch {
		case since.IsZero():
			since = time.Now()
			fmt.Fprintln(c.Stderr, "The broker does not answer; asking it again.") // apart from the lines
		case time.Since(since) > patience:
			cancel(err)
		}
	}
	err := patient.Logs(ctx, id, c.query, func(l api.LogLine) error {
		since = time.Time{}
		return c.line(l)
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *logsCommand) line(l api.LogLine) error {
	if c.json {
		return writeJSON(c.Stdout, l)
	}
	_, err := fmt.Fprintf(c.Stdout, "%s/%d: %s\n", l.Step, l.Machine, l.Text)
	return err
}
