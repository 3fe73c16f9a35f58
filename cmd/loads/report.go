package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// reportCommand writes what came of a run, in a form for other programs.
type reportCommand struct {
	*program
	format string
	output string
}

func (c *reportCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Write the verdict of a run for CI, as JUnit XML",
		Long: `Report writes the verdict of a run that is over as JUnit XML: a test case for the run itself,
and one for each criterion. RUN is a uuid, the beginning of one, or last. It exits with 0
whatever the verdict; loads wait gives it as exit code.`,
		Example: `  loads report last --format junit
  loads report 1f0c --format junit --output results.xml`,
		Args:              between(1, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().StringVar(&c.format, "format", "junit", "form of the report: junit")
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "file to write to (default: standard output)")
	return cmd
}

func (c *reportCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if c.format != "junit" {
		return usagef(cmd, "--format is %q; the forms are: junit", c.format)
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	id, err := findRun(ctx, client, args[0])
	if err != nil {
		return err
	}
	if c.output != "" {
		return saveJUnit(ctx, client, id, c.output)
	}
	text, err := client.JUnit(ctx, id)
	if err != nil {
		return err
	}
	_, err = c.Stdout.Write(text)
	return err
}

const junitUsage = "write the verdict to this file as JUnit XML when the run is over"

// saveJUnit writes the run's verdict to the file.
func saveJUnit(ctx context.Context, client *api.Client, run, path string) error {
	text, err := client.JUnit(ctx, run)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	return nil
}
