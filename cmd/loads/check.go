package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// checkCommand finds every fault of plan files, without a broker.
type checkCommand struct {
	*program
	variables variables
}

func (c *checkCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find every fault of plan files",
		Long: `Check reads plan files, JSON or YAML, and prints every fault at once, as
file:line:column: field: what is wrong and what would be right. A variable that no
step, -e or --env-file sets is a fault. No broker is needed. FILE may be -, for
standard input. It exits with 1 when there is a fault.`,
		Example: `  loads check examples/*.yaml
  loads check -e RATE=200 plan.yaml
  loads check --json plan.yaml | jq .faults`,
		Args: between(1, -1, "a plan file"),
		RunE: c.run,
	}
	c.variables.flags(cmd.Flags())
	return cmd
}

// checkResult is what check found in one file.
type checkResult struct {
	File   string            `json:"file"`
	Valid  bool              `json:"valid"`
	Plans  int               `json:"plans"`
	Steps  int               `json:"steps"`
	Faults strategies.Faults `json:"faults"`
}

func (c *checkCommand) run(_ *cobra.Command, args []string) error {
	env, err := c.variables.environment(c.Getenv)
	if err != nil {
		return err
	}
	faults := 0
	for _, file := range args {
		result, err := c.check(file, env)
		if err != nil {
			return err
		}
		faults += len(result.Faults)
		if err := c.show(result); err != nil {
			return err
		}
	}
	if faults == 0 {
		return nil
	}
	if !c.json {
		fmt.Fprintln(c.Stderr, "loads: "+faultsFound(faults))
	}
	return exited(exitUsage)
}

func (c *checkCommand) check(file string, env strategies.Environment) (checkResult, error) {
	result := checkResult{File: file, Faults: strategies.Faults{}}
	data, err := c.readFile(file)
	if err != nil {
		return result, err
	}
	project, err := readPlans(file, data, env)
	if errors.As(err, &result.Faults) {
		return result, nil
	}
	if err != nil {
		return result, err
	}
	result.Valid, result.Plans = true, len(project.Plans)
	for _, p := range project.Plans {
		result.Steps += len(p.Steps)
	}
	return result, nil
}

func (c *checkCommand) show(r checkResult) error {
	if c.json {
		return writeJSON(c.Stdout, r)
	}
	for _, f := range r.Faults {
		fmt.Fprintln(c.Stdout, f.String())
	}
	if r.Valid {
		fmt.Fprintf(c.Stdout, "%s: ok, %s, %s\n", r.File, countOf(r.Plans, "plan"), countOf(r.Steps, "step"))
	}
	return nil
}

// readPlans parses the file and finds all its faults, which are its error.
func readPlans(file string, data []byte, env strategies.Environment) (strategies.Project, error) {
	if err := strategies.Check(file, data, env); err != nil {
		return strategies.Project{}, err
	}
	return strategies.ParseFile(file, data)
}

// readFile reads a file named on the command line; - is standard input.
func (p *program) readFile(name string) ([]byte, error) {
	if name == "-" {
		data, err := io.ReadAll(p.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "The plan file can't be read: %v.", err)
	}
	return data, nil
}
