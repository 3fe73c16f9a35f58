package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// plansCommand lists the plans that the broker has.
type plansCommand struct {
	*program
	project string
}

func (c *plansCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plans [PLAN]",
		Short: "List plans, or show one",
		Long: `Plans lists the plans that the broker has, the newest first, or shows the steps of one.
A frozen plan has been run, so it never changes; loads fork makes a changed copy.
PLAN is a uuid, the beginning of one, or a name.`,
		Example: `  loads plans --project "My service"
  loads plans quickstart --json`,
		Args:              between(0, 1, "one plan"),
		RunE:              c.run,
		ValidArgsFunction: c.completePlans,
	}
	cmd.Flags().StringVar(&c.project, "project", "", "only plans of this project: uuid, beginning of it, or name")
	return cmd
}

func (c *plansCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		id, err := findPlan(ctx, client, args[0])
		if err != nil {
			return err
		}
		plan, err := client.Plan(ctx, id)
		if err != nil {
			return err
		}
		return c.show(plan)
	}
	project, err := findProject(ctx, client, c.project)
	if err != nil {
		return err
	}
	plans, err := client.Plans(ctx, project)
	if err != nil {
		return err
	}
	return c.list(plans)
}

func (c *plansCommand) list(plans []api.Plan) error {
	if c.json {
		return writeLines(c.Stdout, plans)
	}
	if len(plans) == 0 {
		_, err := fmt.Fprintln(c.Stdout, "There are no plans; loads import FILE brings some.")
		return err
	}
	var t table
	t.row("PLAN", "PROJECT", "NAME", "STEPS", "RUNS", "FROZEN", "FORK OF")
	for _, p := range plans {
		t.row(p.UUID, orDash(p.ProjectName), p.Name, fmt.Sprint(len(p.Steps)), fmt.Sprint(len(p.Runs)), yesNo(p.Frozen), orDash(p.Parent))
	}
	return t.write(c.Stdout)
}

func (c *plansCommand) show(p api.Plan) error {
	if c.json {
		return writeJSON(c.Stdout, p)
	}
	fmt.Fprintf(c.Stdout, "plan     %s\nname     %s\nproject  %s\nfrozen   %s\n", p.UUID, p.Name, orDash(p.ProjectName), yesNo(p.Frozen))
	if p.Parent != "" {
		fmt.Fprintf(c.Stdout, "fork of  %s\n", p.Parent)
	}
	if p.Description != "" {
		fmt.Fprintf(c.Stdout, "\n%s\n", p.Description)
	}
	fmt.Fprintln(c.Stdout)
	var t table
	t.row("STEP", "MACHINES", "DELAY", "MAX TIME", "IMAGE")
	for _, s := range p.Steps {
		t.row(s.Name, fmt.Sprint(s.InstanceCount), fmt.Sprintf("%ds", s.RunDelay), fmt.Sprintf("%ds", s.RunMaxTime), orDash(s.ContainerName))
	}
	return t.write(c.Stdout)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
