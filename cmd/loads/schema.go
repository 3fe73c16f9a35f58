package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/strategies"
)

// schemaCommand prints the JSON Schema of plan files.
type schemaCommand struct {
	*program
}

func (c *schemaCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of plan files, for editors",
		Long: `Schema prints a JSON Schema (2020-12) of plan files. An editor that has it completes
field names and marks mistakes while you write. It is made from the same types that
read the files.`,
		Example: `  loads schema >loads.schema.json
  # and on the first line of a plan, for editors with the YAML language server:
  # yaml-language-server: $schema=loads.schema.json`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
}

func (c *schemaCommand) run(*cobra.Command, []string) error {
	schema, err := strategies.Schema()
	if err != nil {
		return fmt.Errorf("make schema: %w", err)
	}
	_, err = fmt.Fprintf(c.Stdout, "%s\n", bytes.TrimSpace(schema))
	return err
}
