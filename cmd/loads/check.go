package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// checkCommand finds every fault of plan files, without a broker.
type checkCommand struct {
	*program
	variables variables
	provider  string
	region    string
}

func (c *checkCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find every fault of plan files",
		Long: `Check reads plan files, JSON or YAML, and prints every fault at once, as
file:line:column: field: what is wrong and what would be right. A variable that no
step, -e or --env-file sets is a fault, and so is all that is wrong with a benchmark file
that a step names. No broker is needed. FILE may be -, for
standard input. It exits with 1 when there is a fault.

With --provider ec2 it also asks AWS, by the credentials of the environment, what a run of
each plan could cost at most, whether its machines are offered, and what is left of the
quotas. Nothing is made. That they can't be had, or can cost more than max_cost, is a
fault.`,
		Example: `  loads check examples/*.yaml
  loads check -e RATE=200 plan.yaml
  loads check --json plan.yaml | jq .faults
  loads check --provider ec2 plan.yaml`,
		Args: between(1, -1, "a plan file"),
		RunE: c.run,
	}
	c.variables.flags(cmd.Flags())
	cmd.Flags().StringVar(&c.provider, "provider", "", "where machines would be rented: ec2")
	cmd.Flags().StringVar(&c.region, "ec2-region", "", regionUsage)
	return cmd
}

// checkResult is what check found in one file.
type checkResult struct {
	File   string            `json:"file"`
	Valid  bool              `json:"valid"`
	Plans  int               `json:"plans"`
	Steps  int               `json:"steps"`
	Faults strategies.Faults `json:"faults"`
	Costs  []planCost        `json:"costs,omitempty"` // with --provider, of valid plans
}

// planCost is what a run of a plan can cost.
type planCost struct {
	Plan string `json:"plan"`
	broker.Cost
}

func (c *checkCommand) run(cmd *cobra.Command, args []string) error {
	if c.provider != "" && c.provider != "ec2" {
		return usagef(cmd, "--provider is %q; give ec2", c.provider)
	}
	env, err := c.variables.environment(c.Getenv)
	if err != nil {
		return err
	}
	var renter broker.Renter
	if c.provider != "" {
		rented, closeRenter, err := c.openEC2(cmd.Context(), c.region)
		if err != nil {
			return err
		}
		defer closeRenter()
		renter = rented
	}
	faults := 0
	for _, file := range args {
		result, err := c.check(cmd.Context(), file, env, renter)
		if err != nil {
			return err
		}
		faults += len(result.Faults)
		for _, cost := range result.Costs {
			faults += len(cost.Faults)
		}
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

func (c *checkCommand) check(ctx context.Context, file string, env strategies.Environment, renter broker.Renter) (checkResult, error) {
	result := checkResult{File: file, Faults: strategies.Faults{}}
	data, err := c.readFile(file)
	if err != nil {
		return result, err
	}
	plans, err := readPlans(file, data, env)
	project := plans.project
	if errors.As(err, &result.Faults) {
		return result, nil
	}
	if err != nil {
		return result, err
	}
	result.Valid, result.Plans = true, len(project.Plans)
	for _, p := range project.Plans {
		result.Steps += len(p.Steps)
		if renter == nil {
			continue
		}
		cost, err := broker.Estimate(ctx, renter, p, broker.Terms{})
		if err != nil {
			return result, fmt.Errorf("plan %s: %w", p.Name, err)
		}
		result.Valid = result.Valid && len(cost.Faults) == 0
		result.Costs = append(result.Costs, planCost{p.Name, cost})
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
	for _, cost := range r.Costs {
		fmt.Fprintf(c.Stdout, "%s: plan %s\n", r.File, cost.Plan)
		if err := writeCost(c.Stdout, cost.Cost); err != nil {
			return err
		}
	}
	if r.Valid {
		fmt.Fprintf(c.Stdout, "%s: ok, %s, %s\n", r.File, countOf(r.Plans, "plan"), countOf(r.Steps, "step"))
	}
	return nil
}

// readPlans parses the file and finds all its faults, which are its error.
func readPlans(file string, data []byte, env strategies.Environment) (planFile, error) {
	var faults, more strategies.Faults
	checked := strategies.Check(file, data, env)
	if checked != nil && !errors.As(checked, &faults) {
		return planFile{}, checked
	}
	project, err := strategies.ParseFile(file, data)
	if err != nil {
		return planFile{}, checked // which says the same, and more
	}
	p, err := embedBenchmarks(file, data, project)
	if err != nil {
		if !errors.As(err, &more) {
			return planFile{}, err
		}
		return planFile{}, append(faults, more...)
	}
	for _, plan := range p.project.Plans {
		if checked != nil {
			plan.Steps = slices.DeleteFunc(slices.Clone(plan.Steps), func(s strategies.Step) bool { return !hasParams(s, env) })
		}
		if err := checkBenchmarks(filepath.ToSlash(filepath.Dir(file)), plan, env); errors.As(err, &more) {
			faults = append(faults, more...)
		}
	}
	return p, faults.Err()
}

// hasParams reports whether the step's benchmark has all its parameters: what is
// not set has been told with the plan's own faults.
func hasParams(s strategies.Step, env strategies.Environment) bool {
	if s.Benchmark == nil {
		return false
	}
	_, err := s.SampleParams(env)
	return err == nil
}

// readWhole parses the file, and puts its benchmarks into it.
func readWhole(file string, data []byte) (planFile, error) {
	project, err := strategies.ParseFile(file, data)
	if err != nil {
		return planFile{}, err
	}
	return embedBenchmarks(file, data, project)
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
