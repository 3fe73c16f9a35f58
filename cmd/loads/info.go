package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// infoCommand shows what the broker is.
type infoCommand struct {
	*program
}

func (c *infoCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Show which broker answers, and its newest runs",
		Long:  "Info shows where the broker is, its version, the id that labels all it makes, and its newest runs.",
		Example: `  loads info
  loads info --broker https://loads.example.org --token-file ~/.loads-token`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
}

func (c *infoCommand) run(cmd *cobra.Command, _ []string) error {
	client, err := c.connect(cmd.Context())
	if err != nil {
		return err
	}
	info, err := client.Info(cmd.Context(), 10, 0)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, info)
	}
	fmt.Fprintf(c.Stdout, "broker   %s\nversion  %s\nid       %s\n\n", client.BaseURL, info.Version, info.BrokerID)
	return writeRuns(c.Stdout, info.Runs)
}
