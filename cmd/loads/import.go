package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/strategies"
)

// importCommand brings plan files to the broker.
type importCommand struct {
	*program
	keep bool
}

func (c *importCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Bring plan files to the broker",
		Long: `Import brings projects and their plans to the broker. They are matched by name: a plan
that differs is replaced, or forked when it has been run. Importing a file twice
changes nothing. The benchmark files that steps name are brought with their plan. FILE
may be -, for standard input.`,
		Example: `  loads import examples/quickstart.yaml
  loads import --keep projects/*.json`,
		Args: between(1, -1, "a plan file"),
		RunE: c.run,
	}
	cmd.Flags().BoolVar(&c.keep, "keep", false, "leave plans that exist as they are")
	return cmd
}

func (c *importCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	for _, file := range args {
		data, err := c.readFile(file)
		if err != nil {
			return err
		}
		// A file with faults goes as it is: the broker names them.
		if plans, err := readWhole(file, data); err == nil {
			data = plans.data
		} else if _, parseErr := strategies.ParseFile(file, data); parseErr == nil {
			return err // a benchmark can't be read
		}
		project, err := client.Import(ctx, file, data, !c.keep)
		if err != nil {
			return err
		}
		if c.json {
			if err := writeJSON(c.Stdout, project); err != nil {
				return err
			}
			continue
		}
		for _, plan := range project.Plans {
			fmt.Fprintf(c.Stdout, "%s  %s / %s\n", plan.UUID, project.Name, plan.Name)
		}
	}
	return nil
}
