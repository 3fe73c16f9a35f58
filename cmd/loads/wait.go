package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// waitCommand follows a run to its end.
type waitCommand struct {
	*program
	timeout time.Duration
	junit   string
}

func (c *waitCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait RUN",
		Short: "Follow a run to its end; the exit code is its verdict",
		Long: `Wait shows a run live until it is over, prints its summary, and gives the verdict as exit
code. RUN is a uuid, the beginning of one, or last.

` + interruptHelp + `

` + exitHelp,
		Example: `  loads wait last
  loads wait 1f0c --timeout 10m --json | tail -n 1 | jq .summary`,
		Args:              between(1, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().DurationVar(&c.timeout, "timeout", 0, "give up after this time, for example 10m, and leave the run as it is (default: never)")
	cmd.Flags().StringVar(&c.junit, "junit", "", junitUsage)
	return cmd
}

func (c *waitCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if c.timeout < 0 {
		return usagef(cmd, "--timeout is %v; give a time of 0 or more", c.timeout)
	}
	signals, stop := c.interrupts()
	defer stop()
	f, err := interruptible(ctx, signals, func(ctx context.Context) (*following, error) { return c.find(ctx, args[0]) })
	if err != nil {
		return err
	}
	f.signals, f.timeout, f.junit = signals, c.timeout, c.junit
	end, err := f.follow(ctx)
	if err != nil {
		return err
	}
	if end == endLeft {
		c.say("Run %s goes on; %s", f.run.UUID, followHint(f.run.UUID, f.client.BaseURL))
	}
	return f.finish(ctx, end)
}

// find returns what is needed to follow the run that arg means.
func (c *waitCommand) find(ctx context.Context, arg string) (*following, error) {
	client, id, err := c.connectRun(ctx, arg)
	if err != nil {
		return nil, err
	}
	run, err := client.Run(ctx, id)
	return &following{program: c.program, client: client, run: run}, err
}

// followHint says how to see a run's end later.
func followHint(run, url string) string {
	return fmt.Sprintf("follow it by: loads wait %s --broker %s", run, url)
}

const interruptHelp = `Ctrl-C on a terminal asks whether to leave the run running or to stop it, while the run
goes on; a second Ctrl-C means stop. Stopping waits for the end of the run, which is
then ABORTED. Without a terminal the first SIGINT or SIGTERM means stop. A run that is
left running has no verdict yet, so the exit code is 0.`
