// Command engine is what the build's scripts need of a Docker engine: is it
// there, what carries a label, build an image, run one. It uses the standard
// library alone and speaks the engine's API, so that a machine without
// docker's command line and without curl can build and test Loads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

const usage = `usage: engine VERB

  ping [-wait 60s]            print the engine's version as soon as it answers
  labelled LABEL[=VALUE]      list containers and networks with the label
  build TAG[,TAG...] FOLDER PATH...
                              build the image by FOLDER/Dockerfile, out of the
                              paths in FOLDER
  run IMAGE [ARGUMENT...]     run a container, print its output, remove it

The engine is the one of DOCKER_HOST, else unix:///var/run/docker.sock.
`

// errUsage is for arguments that name no verb.
var errUsage = errors.New("wrong arguments")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "engine: %v\n", err)
		if errors.Is(err, errUsage) {
			fmt.Fprint(os.Stderr, usage)
		}
		stop()
		os.Exit(1)
	}
}

// run carries out one verb and writes what it answers to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	engine, err := dial(os.Getenv("DOCKER_HOST"))
	if err != nil {
		return err
	}
	engine.out = out
	switch verb, rest := args[0], args[1:]; {
	case verb == "ping":
		return ping(ctx, engine, rest)
	case verb == "labelled" && len(rest) == 1:
		return engine.labelled(ctx, rest[0])
	case verb == "build" && len(rest) > 2:
		return engine.build(ctx, strings.Split(rest[0], ","), rest[1], rest[2:])
	case verb == "run" && len(rest) > 0:
		return engine.run(ctx, rest[0], rest[1:])
	}
	return errUsage
}

// ping asks for the engine's version until it answers or the time is over.
func ping(ctx context.Context, e *engine, args []string) error {
	flags := flag.NewFlagSet("ping", flag.ContinueOnError)
	wait := flags.Duration("wait", 0, "how long to ask again")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *wait+5*time.Second)
	defer cancel()
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(*wait); ; {
		version, err := e.version(ctx)
		if err == nil {
			fmt.Fprintf(e.out, "Docker engine %s answers at %s.\n", version, e.host)
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}
