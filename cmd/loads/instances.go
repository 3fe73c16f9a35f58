package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// instancesCommand shows and ends machines.
type instancesCommand struct {
	*program
	remove bool
	all    bool
}

func (c *instancesCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "instances [ID]",
		Short: "List machines, or end them",
		Long: `Instances lists what the pools know to exist for this broker: the providers' lists, not a
memory. With --delete it ends the one of that ID, with --delete --all every one; a run
that uses a machine loses it.`,
		Example: `  loads instances
  loads instances local/loads-40b27e91-1f0c22d0-s0-m1-e903 --delete
  loads instances --delete --all`,
		Args: between(0, 1, "one id"),
		RunE: c.run,
	}
	cmd.Flags().BoolVar(&c.remove, "delete", false, "end the machine")
	cmd.Flags().BoolVar(&c.all, "all", false, "with --delete: end all machines")
	return cmd
}

func (c *instancesCommand) run(cmd *cobra.Command, args []string) error {
	if c.all && (!c.remove || len(args) > 0) || c.remove && !c.all && len(args) == 0 {
		return usagef(cmd, "--delete needs the id of one machine, or --all")
	}
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	switch {
	case c.remove && len(args) == 1:
		if err := client.DeleteInstance(ctx, args[0]); err != nil {
			return err
		}
		return c.ended(args)
	case c.remove:
		ids, err := client.DeleteInstances(ctx)
		if err != nil {
			return err
		}
		return c.ended(ids)
	case len(args) == 1:
		one, err := client.Instance(ctx, args[0])
		if err != nil {
			return err
		}
		return c.list([]api.Instance{one})
	}
	all, err := client.Instances(ctx)
	if err != nil {
		return err
	}
	var list []api.Instance
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[id])
	}
	return c.list(list)
}

func (c *instancesCommand) list(list []api.Instance) error {
	if c.json {
		return writeLines(c.Stdout, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.Stdout, "There are no machines.")
		return err
	}
	var t table
	t.row("ID", "STATE", "TYPE", "ADDRESS", "PLACEMENT", "RUN")
	for _, i := range list {
		state := orDash(i.State)
		if i.Idle {
			state += ", idle"
		}
		t.row(i.ID, state, orDash(i.InstanceType), orDash(i.IPAddress), orDash(i.Placement), orDash(i.RunUUID))
	}
	return t.write(c.Stdout)
}

func (c *instancesCommand) ended(ids []string) error {
	if c.json {
		return writeJSON(c.Stdout, map[string][]string{"terminated": append([]string{}, ids...)})
	}
	for _, id := range ids {
		fmt.Fprintf(c.Stdout, "ended %s\n", id)
	}
	if len(ids) == 0 {
		fmt.Fprintln(c.Stdout, "There are no machines.")
	}
	return nil
}
