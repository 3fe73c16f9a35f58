package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// runCommand runs a plan to its end.
type runCommand struct {
	*program
	variables variables
	options   daemonOptions // of a broker of its own
	inside    pflag.FlagSet // the flags that are for it
	plan      string
	planID    string
	owner     string
	set       []string
	detach    bool
	junit     string
}

func (c *runCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run FILE | run --plan-id PLAN",
		Short: "Run a plan, show it live; the exit code is its verdict",
		Long: `Run checks a plan file, brings it to the broker, starts a run of it and shows the run live
until its end: summary, verdict, and whether anything was left behind.

When --broker and LOADS_BROKER are not given and no broker answers at
` + defaultBroker + `, run starts one inside itself, with a database of its own, for
this run alone. --db does so in any case. With --influx-url and --grafana-url that broker
brings the run's metrics to these, and with --ec2 rents machines, as loads broker does.

With --set, or with --plan-id and --set, a changed copy of the plan is run. FILE may be
-, for standard input.
` + setHelp + `

` + interruptHelp + `
A run that is left running by the broker inside goes on in a broker of its own, which
ends when nothing runs any more.

` + exitHelp,
		Example: `  loads run examples/quickstart.yaml
  loads run plans.yaml --plan smoke -e RATE=200 --owner alice
  loads run plan.yaml --set steps.generator.instance_count=3
  API_TOKEN=... loads run plan.yaml -e API_TOKEN --json | tail -n 1 | jq .verdict
  loads wait $(loads run plan.yaml --detach)`,
		Args: between(0, 1, "one plan file"),
		RunE: c.run,
	}
	f := cmd.Flags()
	c.variables.flags(f)
	c.options.sharedFlags(&c.inside)
	f.AddFlagSet(&c.inside)
	f.StringVar(&c.plan, "plan", "", "which plan of the file, by its name")
	f.StringVar(&c.planID, "plan-id", "", "run a plan that the broker has: uuid, beginning of it, or name")
	f.StringVar(&c.owner, "owner", "", "whose run it is (default $USER)")
	f.StringArrayVar(&c.set, "set", nil, setUsage)
	f.BoolVar(&c.detach, "detach", false, "print the run's id and don't wait for its end")
	f.StringVar(&c.junit, "junit", "", junitUsage)
	_ = cmd.RegisterFlagCompletionFunc("plan-id", c.completePlans)
	return cmd
}

// order is what to run, read and checked before any broker is asked.
type order struct {
	file string
	data []byte
	name string // of the plan in the file
	id   string // of a plan that the broker has; then the rest is empty
	env  strategies.Environment
	set  map[string]any
}

func (c *runCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if (len(args) == 1) == (c.planID != "") {
		return usagef(cmd, "give either a plan file or --plan-id")
	}
	if c.options.db != "" && c.broker != "" {
		return usagef(cmd, "--db is for a broker inside, --broker for another; give one of them")
	}
	if c.detach && c.junit != "" {
		return usagef(cmd, "--detach does not wait for the verdict that --junit writes; give --junit to loads wait")
	}
	o, err := c.order(args)
	if err != nil {
		return err
	}
	signals, stop := c.interrupts()
	defer stop()
	client, err := interruptible(ctx, signals, c.chooseBroker)
	if err != nil {
		return err
	}
	switch {
	case client == nil && c.detach:
		return c.detached(ctx, o, signals)
	case client == nil:
		return c.embedded(ctx, o, signals)
	}
	if err := c.checkInside(client.BaseURL); err != nil {
		return err
	}
	run, err := c.start(ctx, client, o, signals)
	if err != nil {
		return err
	}
	if c.detach {
		return c.started(client, run)
	}
	end, err := c.follow(ctx, client, run, signals)
	if err == nil && end == endLeft {
		c.say("Run %s goes on; %s", run, followHint(run, client.BaseURL))
		return nil
	}
	return err
}

// checkInside refuses flags that would have no effect, since another broker is
// there: --max-cost among them.
func (c *runCommand) checkInside(url string) error {
	var given []string
	c.inside.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			given = append(given, "--"+f.Name)
		}
	})
	if len(given) == 0 {
		return nil
	}
	return broker.Errorf(broker.EInvalid, "A broker is at %s already, and this is for one inside: %s. Start that one so, or give --db as well.",
		url, strings.Join(given, ", "))
}

// order reads the file and the flags, and finds every fault of them.
func (c *runCommand) order(args []string) (order, error) {
	var o order
	var err error
	if o.env, err = c.variables.environment(c.Getenv); err != nil {
		return o, err
	}
	if o.set, err = edits(c.set); err != nil {
		return o, err
	}
	if c.planID != "" {
		o.id = c.planID
		return o, nil
	}
	o.file = args[0]
	if o.data, err = c.readFile(o.file); err != nil {
		return o, err
	}
	return o, c.check(&o)
}

// check finds the plan's name in the file, and completes the file. With edits
// the plan is checked as it will be after them.
func (c *runCommand) check(o *order) error {
	read := func() (planFile, error) { return readPlans(o.file, o.data, o.env) }
	if len(o.set) > 0 {
		read = func() (planFile, error) { return readWhole(o.file, o.data) }
	}
	file, err := read()
	if err != nil {
		return err
	}
	plan, err := choosePlan(file.project, c.plan)
	o.name, o.data = plan.Name, file.data
	if err != nil || len(o.set) == 0 {
		return err
	}
	edited, err := plan.Edit(o.set)
	if err != nil {
		return err
	}
	if err := strategies.CheckVariables(edited, o.env); err != nil {
		return err
	}
	return checkBenchmarks(filepath.ToSlash(filepath.Dir(o.file)), edited, o.env)
}

// choosePlan returns the plan of that name, or the only one.
func choosePlan(project strategies.Project, name string) (strategies.Plan, error) {
	var names []string
	for _, p := range project.Plans {
		if p.Name == name || name == "" && len(project.Plans) == 1 {
			return p, nil
		}
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	has := "The file has the plans " + strings.Join(names, ", ")
	if len(names) == 1 {
		has = "The file has the plan " + names[0] + " only"
	}
	if name == "" {
		return strategies.Plan{}, broker.Errorf(broker.EInvalid, "%s; choose one with --plan NAME.", has)
	}
	return strategies.Plan{}, broker.Errorf(broker.EInvalid, "There is no plan %q. %s.", name, has)
}

// chooseBroker returns a client of the broker to use, nil to start one inside.
func (c *runCommand) chooseBroker(ctx context.Context) (*api.Client, error) {
	if c.options.db != "" {
		return nil, nil
	}
	if url := c.namedBroker(); url != "" {
		client, err := c.client(url)
		if err != nil {
			return nil, err
		}
		return client, probe(ctx, client)
	}
	return c.find(ctx)
}

// start brings the plan to the broker and starts a run of it.
func (c *runCommand) start(ctx context.Context, client *api.Client, o order, signals <-chan os.Signal) (string, error) {
	plan, err := interruptible(ctx, signals, func(ctx context.Context) (string, error) {
		plan, err := c.bring(ctx, client, o)
		if err != nil {
			return "", err
		}
		return plan, c.showCost(ctx, client, plan)
	})
	if err != nil {
		return "", err
	}
	owner := c.owner
	if owner == "" {
		owner = c.Getenv("USER")
	}
	return client.Start(ctx, plan, api.StartOptions{Owner: owner, Environment: o.env.Map()})
}

// showCost says what the run can cost at most, where its machines are rented.
func (c *runCommand) showCost(ctx context.Context, client *api.Client, plan string) error {
	cost, err := client.PlanCost(ctx, plan)
	if broker.CodeOf(err) == broker.ENotFound {
		return nil // a broker that is older than this program
	}
	if err != nil || cost == nil {
		return err
	}
	if c.json {
		return writeJSON(c.Stdout, costLine{Kind: "cost", Cost: *cost})
	}
	return writeCost(c.messages(), *cost)
}

// messages is where to talk to people: not where --detach prints the run's id.
func (c *runCommand) messages() io.Writer {
	if c.detach {
		return c.Stderr
	}
	return c.Stdout
}

// bring returns the uuid of the plan to run, imported and changed as asked.
func (c *runCommand) bring(ctx context.Context, client *api.Client, o order) (string, error) {
	plan, err := c.bringUnchanged(ctx, client, o)
	if err != nil || len(o.set) == 0 {
		return plan.UUID, err
	}
	fork, err := client.ForkPlan(ctx, plan.UUID, api.ForkRequest{Name: changedName(plan.Name, o.set), Set: o.set})
	return fork.UUID, err
}

// changedName is the name of a changed copy: the changes are in it, so that it is
// told from its parent, but no secrets, as names are shown everywhere.
func changedName(name string, set map[string]any) string {
	var env strategies.Environment
	for _, path := range slices.Sorted(maps.Keys(set)) {
		value, ok := set[path].(string)
		if !ok && set[path] != nil {
			value = "…" // a list or a map, which may have anything in it
		}
		env = append(env, strategies.Variable{Name: path, Value: value})
	}
	var changes []string
	for _, v := range env.Masked() {
		changes = append(changes, v.Name+"="+cmp.Or(v.Value, "null"))
	}
	return shorten(fmt.Sprintf("%s (%s)", name, strings.Join(changes, ", ")), 100)
}

func (c *runCommand) bringUnchanged(ctx context.Context, client *api.Client, o order) (api.Plan, error) {
	if o.id != "" {
		id, err := findPlan(ctx, client, o.id)
		if err != nil {
			return api.Plan{}, err
		}
		return client.Plan(ctx, id)
	}
	project, err := client.Import(ctx, o.file, o.data, true)
	if err != nil {
		return api.Plan{}, err
	}
	for _, p := range project.Plans {
		if p.Name == o.name {
			return p, nil
		}
	}
	return api.Plan{}, fmt.Errorf("import plan: the broker did not answer the plan %q", o.name)
}

// announce says which run is shown, first of all: its id is needed if this
// program is cut off.
func (c *runCommand) announce(client *api.Client, run api.Run) error {
	if c.json {
		return c.started(client, run.UUID)
	}
	_, err := fmt.Fprintf(c.Stdout, "Run %s of %s, at %s\n", run.UUID, run.PlanName, client.BaseURL)
	return err
}

// started says which run was started, for --detach and in JSON.
func (c *runCommand) started(client *api.Client, run string) error {
	if c.json {
		return writeJSON(c.Stdout, map[string]string{"kind": "started", "run_id": run, "broker": client.BaseURL})
	}
	fmt.Fprintf(c.Stderr, "Run %s has started; %s\n", run, followHint(run, client.BaseURL))
	_, err := fmt.Fprintln(c.Stdout, run)
	return err
}

// follow shows the run until it ends one way or another; the error gives the
// exit code.
func (c *runCommand) follow(ctx context.Context, client *api.Client, id string, signals <-chan os.Signal) (ending, error) {
	run, err := client.Run(ctx, id)
	if err != nil {
		return endOver, err
	}
	if err := c.announce(client, run); err != nil {
		return endOver, err
	}
	f := &following{program: c.program, client: client, run: run, signals: signals, junit: c.junit}
	end, err := f.follow(ctx)
	if err != nil {
		return end, err
	}
	return end, f.finish(ctx, end)
}
