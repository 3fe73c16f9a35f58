// Command loads-node is the program that Loads brings to each machine: the
// metric relay with its name server, and, for plans and examples, a small HTTP
// service, the load generator and a sleeper. It is static and needs
// nothing else in its image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // a from-scratch image has no CA certificates
)

// version is set by the linker.
var version string

// program is what a command works with.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
}

// command is one of the program's commands. run returns an exitError for a
// status of its own; other errors end the program with status 1.
type command struct {
	usage, summary string
	run            func(ctx context.Context, p program, args []string) error
}

// exitError ends the program with a status, saying nothing more.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// errUsage says that the usage was shown already.
const errUsage = exitError(1)

func main() {
	// As process 1 of a container we get no default action for signals.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	p := program{os.Stdout, os.Stderr, os.Getenv}
	status := p.main(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

func commands() map[string]command {
	return map[string]command{
		"relay":   {"relay --listen ADDR:8125 [--unix PATH] [--dns ADDR:53 --names FILE] [--containers FILE --log-metrics FILE --logs FOLDER]", "receive statsd, read containers' output, write a frame a second to standard output", runRelay},
		"serve":   {"serve [--listen :8000] [--delay 2ms] [--jitter 3ms] [--error-rate 0]", "answer HTTP requests", runServe},
		"gen":     {"gen FILE | --url URL [--rate N] [--duration D] [--connections 50] | --check FILE", "generate load as a benchmark file says, or by one request, or look at a file", runGen},
		"import":  {"import [--curl] FILE.har | 'curl …' [--rate 1] [--duration 1m]", "make a benchmark file of a HAR file or a command of curl", runImport},
		"images":  {"images serve --address ADDR --seed DIGEST | images get [--order FILE]", "bring images from machine to machine", runImages},
		"sleep":   {"sleep DURATION [--exit N] [--print TEXT [--repeat N]]", "do nothing for a while", runSleep},
		"survey":  {"survey", "look at a machine between two runs: its disk, and what containers have left", runSurvey},
		"version": {"version", "print the version", runVersion},
	}
}

// main runs the command that args name and returns the exit status.
func (p program) main(ctx context.Context, args []string) int {
	cmds := commands()
	if len(args) == 0 {
		p.help(p.stderr, cmds)
		return 1
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		p.help(p.stdout, cmds)
		return 0
	}
	cmd, known := cmds[args[0]]
	if !known {
		fmt.Fprintf(p.stderr, "loads-node: unknown command %q\n\n", args[0])
		p.help(p.stderr, cmds)
		return 1
	}
	return p.status(args[0], cmd.run(ctx, p, args[1:]))
}

// status reports the error of a command and returns its exit status.
func (p program) status(name string, err error) int {
	var status exitError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &status):
		return int(status)
	default:
		fmt.Fprintf(p.stderr, "loads-node %s: %v\n", name, err)
		return 1
	}
}

func (p program) help(w io.Writer, cmds map[string]command) {
	var text strings.Builder
	text.WriteString("loads-node works on the machines of a load test.\n\nCommands:\n")
	for _, name := range []string{"relay", "serve", "gen", "images", "import", "sleep", "survey", "version"} {
		fmt.Fprintf(&text, "  loads-node %s\n        %s\n", cmds[name].usage, cmds[name].summary)
	}
	text.WriteString("\n\"loads-node COMMAND -h\" lists the flags of a command.\n")
	_, _ = io.WriteString(w, text.String())
}

// flags returns the flag set of a command.
func (p program) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet("loads-node "+name, flag.ContinueOnError)
	fs.SetOutput(p.stderr)
	fs.Usage = func() {
		fmt.Fprintf(p.stderr, "Usage: loads-node %s\n", commands()[name].usage)
		fs.PrintDefaults()
	}
	return fs
}

// parse reads flags that may stand before and after the wanted number of
// arguments, which it returns.
func (p program) parse(fs *flag.FlagSet, args []string, want int) ([]string, error) {
	return p.parseSome(fs, args, want, want)
}

// parseUpTo is parse for arguments that need not be there.
func (p program) parseUpTo(fs *flag.FlagSet, args []string, most int) ([]string, error) {
	return p.parseSome(fs, args, 0, most)
}

func (p program) parseSome(fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var positional []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errUsage // the flag package has shown it
		}
		if fs.NArg() == 0 {
			break
		}
		positional, args = append(positional, fs.Arg(0)), fs.Args()[1:]
	}
	if len(positional) < least || len(positional) > most {
		fmt.Fprintf(p.stderr, "%s: got %d arguments %q, want %d\n", fs.Name(), len(positional), positional, most)
		fs.Usage()
		return nil, errUsage
	}
	return positional, nil
}

func runVersion(_ context.Context, p program, args []string) error {
	if _, err := p.parse(p.flags("version"), args, 0); err != nil {
		return err
	}
	v := version
	if info, ok := debug.ReadBuildInfo(); v == "" && ok {
		v = info.Main.Version
	}
	_, err := fmt.Fprintf(p.stdout, "loads-node %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
