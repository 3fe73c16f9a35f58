package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

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
		Short: "Write what came of a run, as a page or for other programs",
		Long: `Report writes what came of a run. The forms are:

  html   one page with plan, timeline, charts, criteria, ledger, machines and outputs, which
         needs no server and no network
  json   all that the page has, and every second of every metric
  csv    the metrics, over the whole run and second by second
  md     what fits a comment or a wiki: criteria, metrics, steps, machines, ledger
  junit  the verdict of a run that is over, for CI: a test case for the run itself, and one
         for each criterion

RUN is a uuid, the beginning of one, or last. It exits with 0 whatever the verdict; loads
wait gives it as exit code.`,
		Example: `  loads report last --output report.html
  loads report last --format md
  loads report 1f0c --format junit --output results.xml`,
		Args:              between(1, 1, "one run"),
		RunE:              c.run,
		ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().StringVar(&c.format, "format", "html", "form of the report: "+strings.Join(reportFormats(), ", "))
	cmd.Flags().StringVarP(&c.output, "output", "o", "", outputUsage)
	return cmd
}

func reportFormats() []string { return []string{"html", "json", "csv", "md", "junit"} }

func (c *reportCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if c.json && !cmd.Flags().Changed("format") {
		c.format = "json"
	}
	if !slices.Contains(reportFormats(), c.format) {
		return usagef(cmd, "--format is %q; the forms are: %s", c.format, strings.Join(reportFormats(), ", "))
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	id, err := findRun(ctx, client, args[0])
	if err != nil {
		return err
	}
	file := &wholeFile{program: c.program, path: c.output}
	if err := client.WriteReport(ctx, id, c.format, file); err != nil {
		return err
	}
	if err := file.save(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
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
