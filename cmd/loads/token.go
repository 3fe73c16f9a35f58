package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// tokenCommand makes a token for the REST API.
type tokenCommand struct {
	*program
}

func (c *tokenCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token for a client of the broker",
		Long: `Token makes a new secret for a client, which NAME names, and prints two lines: the token,
for the client, and the line for the file that loads broker --tokens reads. The file
holds only a hash, so the token is shown this once.`,
		Example: `  loads token alice
  loads token --json ci | tee >(jq -r .line >>tokens) | jq -r .token >ci.token`,
		Args: between(1, 1, "the client's name"),
		RunE: c.run,
	}
}

func (c *tokenCommand) run(_ *cobra.Command, args []string) error {
	token, line, err := api.NewToken(args[0])
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, map[string]string{"name": args[0], "token": token, "line": line})
	}
	fmt.Fprintf(c.Stdout, "token for the client (LOADS_TOKEN or --token-file):\n  %s\n", token)
	fmt.Fprintf(c.Stdout, "line for the broker's tokens file (loads broker --tokens FILE):\n  %s\n", line)
	return nil
}
