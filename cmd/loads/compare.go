package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// compareCommand sets runs against the first of them.
type compareCommand struct {
	*program
	format string
	output string
}

func (c *compareCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compare RUN RUN...",
		Short: "Compare runs, and tell differences from noise",
		Long: `Compare sets runs against the first of them, metric by metric: both values, the
difference, and whether it is more than noise, by a bootstrap over the runs' seconds. It
warns when plans, images or versions differ. RUN is a uuid, the beginning of one, or last.
It exits with 0 whatever differs.`,
		Example: `  loads compare 1f0c last
  loads compare 1f0c 88ab --format md --output comparison.md
  loads compare 1f0c last --json | jq '.differences[] | select(.assessment == "differs")'`,
		Args:              between(2, -1, "two runs or more"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().StringVar(&c.format, "format", "text", "form of the comparison: "+strings.Join(compareFormats(), ", "))
	cmd.Flags().StringVarP(&c.output, "output", "o", "", outputUsage)
	return cmd
}

func compareFormats() []string { return []string{"text", "json", "md"} }

func (c *compareCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if c.json && !cmd.Flags().Changed("format") {
		c.format = "json"
	}
	if !slices.Contains(compareFormats(), c.format) {
		return usagef(cmd, "--format is %q; the forms are: %s", c.format, strings.Join(compareFormats(), ", "))
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	runs := make([]string, len(args))
	for i, arg := range args {
		if runs[i], err = findRun(ctx, client, arg); err != nil {
			return err
		}
	}
	file := &wholeFile{program: c.program, path: c.output}
	if err := client.WriteComparison(ctx, runs, c.format, file); err != nil {
		return err
	}
	if err := file.save(); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}
