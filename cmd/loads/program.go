package main

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

// Main is the program: what it was given, and where its words go.
type Main struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// Signals takes the place of the process's own interrupts, in tests.
	Signals <-chan os.Signal
	Version string
}

// Run carries out the command line and returns the process's exit code. It
// waits for all that it has started, except a broker that the user chose to
// leave running.
func (m Main) Run(ctx context.Context) int {
	if m.Getenv == nil {
		m.Getenv = func(string) string { return "" }
	}
	p := &program{Main: m}
	root := p.root()
	root.SetArgs(m.Args)
	err := root.ExecuteContext(ctx)
	return p.finish(err)
}

// program is one carrying out of Main, with what the global flags say.
type program struct {
	Main
	broker    string // URL of the broker
	tokenFile string
	json      bool
}

const rootLong = `Loads runs load tests on machines that it takes for the purpose.

A plan says which containers run on how many machines, when each starts and for
how long. The broker carries plans out; every other command asks a broker, except
check, schema, reap, token, ec2sim and version, which need none. loads run FILE starts a
broker inside itself when there is none.`

const rootExample = `  loads check examples/quickstart.yaml
  loads run examples/quickstart.yaml
  loads broker --db /var/lib/loads/loads.db
  loads runs --state running
  loads logs last --follow`

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "loads",
		Short:         "Run load tests from plans",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Of a misspelt command's neighbours, those at most this far are named.
		SuggestionsMinimumDistance: 2,
		Args:                       noCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
	f := root.PersistentFlags()
	f.StringVar(&p.broker, "broker", "", "URL of the broker (default $LOADS_BROKER, or "+defaultBroker+")")
	f.StringVar(&p.tokenFile, "token-file", "", "file that holds the broker's token (default $LOADS_TOKEN, the token itself)")
	f.BoolVar(&p.json, "json", false, "print JSON, one value a line, instead of text for people")
	root.AddCommand(p.commands()...)
	return root
}

func (p *program) commands() []*cobra.Command {
	return []*cobra.Command{
		(&brokerCommand{program: p}).command(),
		(&runCommand{program: p}).command(),
		(&waitCommand{program: p}).command(),
		(&abortCommand{program: p}).command(),
		(&statusCommand{program: p}).command(),
		(&monitorCommand{program: p}).command(),
		(&runsCommand{program: p}).command(),
		(&logsCommand{program: p}).command(),
		(&reportCommand{program: p}).command(),
		(&compareCommand{program: p}).command(),
		(&plansCommand{program: p}).command(),
		(&forkCommand{program: p}).command(),
		(&importCommand{program: p}).command(),
		(&budgetCommand{program: p}).command(),
		(&checkCommand{program: p}).command(),
		(&schemaCommand{program: p}).command(),
		(&instancesCommand{program: p}).command(),
		(&reapCommand{program: p}).command(),
		(&infoCommand{program: p}).command(),
		(&tokenCommand{program: p}).command(),
		(&ec2simCommand{program: p}).command(),
		(&versionCommand{program: p}).command(),
	}
}

// wantsJSON also looks at the raw arguments: an error in the flags comes before
// --json is read.
func (p *program) wantsJSON() bool {
	return p.json || slices.Contains(p.Args, "--json")
}
