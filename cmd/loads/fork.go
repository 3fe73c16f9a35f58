package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// forkCommand makes a changed copy of a plan.
type forkCommand struct {
	*program
	ofRun string
	name  string
	set   []string
}

func (c *forkCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fork PLAN | fork --run RUN",
		Short: "Make a changed copy of a plan, or of what a run used",
		Long: `Fork copies a plan with changes; the copy remembers its parent. A plan that has been
run never changes, so this is the way to change it. With --run the copy starts from
exactly the plan which that run used. It prints the new plan's uuid.

PLAN and RUN are a uuid, the beginning of one, or a plan's name, or last for a run.
` + setHelp,
		Example: `  loads fork quickstart --name quickstart-5 --set steps.generator.instance_count=5
  loads fork --run last --set steps.generator.environment_data.RATE=500`,
		Args:              between(0, 1, "one plan"),
		RunE:              c.run,
		ValidArgsFunction: c.completePlans,
	}
	f := cmd.Flags()
	f.StringVar(&c.ofRun, "run", "", "fork what this run used")
	f.StringVar(&c.name, "name", "", "name of the copy (default: the parent's)")
	f.StringArrayVar(&c.set, "set", nil, setUsage)
	return cmd
}

const (
	setUsage = "new value of a field, PATH=VALUE (repeatable)"
	setHelp  = `
A PATH of --set is a field of the plan, or steps.STEP.FIELD, where STEP is a step's
name or its number from 0: description, steps.web.run_max_time,
steps.generator.environment_data.RATE. The VALUE null gives back the default.`
)

func (c *forkCommand) run(cmd *cobra.Command, args []string) error {
	if (len(args) == 1) == (c.ofRun != "") {
		return usagef(cmd, "give either a plan or --run")
	}
	ctx := cmd.Context()
	set, err := edits(c.set)
	if err != nil {
		return err
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	request := api.ForkRequest{Name: c.name, Set: set}
	fork, find, arg := client.ForkPlan, findPlan, ""
	if c.ofRun != "" {
		fork, find, arg = client.ForkRun, findRun, c.ofRun
	} else {
		arg = args[0]
	}
	id, err := find(ctx, client, arg)
	if err != nil {
		return err
	}
	plan, err := fork(ctx, id, request)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, plan)
	}
	_, err = fmt.Fprintln(c.Stdout, plan.UUID)
	return err
}
