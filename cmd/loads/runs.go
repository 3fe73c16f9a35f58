package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// runsCommand lists runs.
type runsCommand struct {
	*program
	query api.RunQuery
}

func (c *runsCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List runs, the newest first",
		Long:  "Runs lists runs in progress and past, the newest first.",
		Example: `  loads runs --state active
  loads runs --plan quickstart --limit 5
  loads runs --json | jq -r .uuid`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
	f := cmd.Flags()
	f.StringVar(&c.query.State, "state", "", "only these states: initializing, running, terminating, completed or active, with commas between them")
	f.StringVar(&c.query.Plan, "plan", "", "only runs of this plan: uuid, beginning of it, or name")
	f.StringVar(&c.query.Project, "project", "", "only runs of this project: uuid, beginning of it, or name")
	f.StringVar(&c.query.Owner, "owner", "", "only runs of this owner")
	f.IntVar(&c.query.Limit, "limit", 20, "how many at most")
	return cmd
}

func (c *runsCommand) run(cmd *cobra.Command, _ []string) error {
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	q := c.query
	if q.Plan != "" {
		if q.Plan, err = findPlan(ctx, client, q.Plan); err != nil {
			return err
		}
	}
	if q.Project, err = findProject(ctx, client, q.Project); err != nil {
		return err
	}
	runs, err := client.Runs(ctx, q)
	if err != nil {
		return err
	}
	if c.json {
		return writeLines(c.Stdout, runs)
	}
	return writeRuns(c.Stdout, runs)
}

func writeRuns(w io.Writer, runs []api.Run) error {
	if len(runs) == 0 {
		_, err := fmt.Fprintln(w, "There are no runs.")
		return err
	}
	var t table
	t.row("RUN", "PLAN", "STATE", "VERDICT", "CREATED", "TOOK", "OWNER")
	for _, r := range runs {
		t.row(r.UUID, r.PlanName, r.State.String(), orDash(string(r.Verdict)), clock(&r.CreatedAt.Time), took(r), orDash(r.Owner))
	}
	return t.write(w)
}

// took is how long the run lasted, or has lasted so far.
func took(r api.Run) string {
	end := time.Now()
	if r.CompletedAt != nil {
		end = r.CompletedAt.Time
	}
	return seconds(end.Sub(r.CreatedAt.Time))
}

// seconds writes a duration in whole seconds.
func seconds(d time.Duration) string { return d.Round(time.Second).String() }
