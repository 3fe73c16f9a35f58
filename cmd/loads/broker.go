package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
)

// idleGrace is how long an idle broker still answers those who follow a run.
const idleGrace = 10 * time.Second

// brokerCommand is the daemon.
type brokerCommand struct {
	*program
	options      daemonOptions
	logFormat    string
	exitWhenIdle bool
}

func (c *brokerCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the broker, which carries plans out",
		Long: `Broker runs until SIGTERM or SIGINT. It keeps all records in one SQLite file, takes
machines from the local Docker engine, from the hosts of a list, or with --ec2 from EC2
(docs/running-on-aws.md), and serves the REST API, and pages for a browser, at one
address. When it stops, runs stay as they are and go
on when it starts again; a second signal makes it quit at once.

It listens on loopback unless told otherwise, and on any other address only with
--tokens. Project files of --initial-db are loaded at the start; what the database has
already stays as it is.

With --influx-url the metrics of runs go to InfluxDB too, and with --grafana-url each run
gets a dashboard in Grafana. No run waits for them: what they can't take is sent later.
A monitor step has an InfluxDB and a Grafana for its run alone, made of the images of
--monitor-influxdb-image and --monitor-grafana-image.

With --archive s3://bucket/prefix, report, metrics and logs of each run are kept in S3,
by the AWS settings and credentials of the environment.`,
		Example: `  loads broker --db /var/lib/loads/loads.db
  loads broker --listen 0.0.0.0:8080 --tokens /etc/loads/tokens --hosts /etc/loads/hosts.yaml
  loads broker --initial-db project.json --log-format json
  LOADS_INFLUX_TOKEN=... loads broker --influx-url http://influxdb:8086 --influx-bucket loads`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
	f := cmd.Flags()
	c.options.sharedFlags(f)
	c.options.ec2.keepFlags(f)
	f.StringVar(&c.options.listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	f.StringArrayVar(&c.options.initial, "initial-db", nil, "project file to load at the start (repeatable)")
	f.StringVar(&c.options.tokens, "tokens", "", "file of the tokens that clients need; loads token makes its lines")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&c.exitWhenIdle, "exit-when-idle", false, "stop once no run is in progress")
	return cmd
}

func (c *brokerCommand) run(cmd *cobra.Command, _ []string) error {
	ctx := cmd.Context()
	log, err := newLogger(c.Stderr, c.logFormat)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	if c.exitWhenIdle && !cmd.Flags().Changed("ec2-idle") {
		c.options.ec2.idle = 0 // there is no next run
	}
	if err := c.options.complete(c.program); err != nil {
		return err
	}
	c.options.log = log
	if os.Getenv("GOGC") == "" {
		// What is done to a thousand machines at once leaves as much garbage as
		// their connections take. This costs a few hundredths more processor time.
		debug.SetGCPercent(50)
	}
	signals, stop := c.interrupts()
	defer stop()
	d, err := startDaemon(ctx, c.options)
	if err != nil {
		return err
	}
	if err := c.announce(d); err != nil {
		return fmt.Errorf("say where it listens: %w", err)
	}
	cause := c.until(ctx, d, signals)
	return c.close(d, signals, cause)
}

func (c *brokerCommand) announce(d *daemon) error {
	if c.json {
		return writeJSON(c.Stdout, map[string]string{"kind": "listening", "url": d.url, "broker_id": d.broker.ID()})
	}
	_, err := fmt.Fprintf(c.Stdout, "loads broker listens on %s\n", d.url)
	return err
}

// until waits for a reason to stop: a signal, the end of ctx, the server's own
// end, or idleness. Only the server's end is an error.
func (c *brokerCommand) until(ctx context.Context, d *daemon, signals <-chan os.Signal) error {
	idle := make(chan struct{})
	watching, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	if c.exitWhenIdle {
		watch.Go(func() { waitIdle(watching, d.broker, idle) })
	}
	select {
	case s := <-signals:
		c.options.log.Info("stopping; runs go on at the next start", "signal", s.String())
	case <-idle:
		c.options.log.Info("stopping, since nothing runs")
	case <-ctx.Done():
	case err := <-d.ended:
		return err
	}
	return nil
}

// close stops the daemon, or leaves off at the next signal.
func (c *brokerCommand) close(d *daemon, signals <-chan os.Signal, cause error) error {
	closed := make(chan error, 1)
	go func() { closed <- d.close() }()
	select {
	case err := <-closed:
		if cause != nil {
			return cause
		}
		return err
	case <-signals:
		// The process ends right after this; nothing waits for the rest.
		return broker.Errorf(broker.EUnavailable, "Quit at once; the next start picks up what was left undone.")
	}
}

// waitIdle closes idle once nothing has run for idleGrace.
func waitIdle(ctx context.Context, b *broker.Broker, idle chan<- struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := time.Now()
	for {
		busy, err := busy(ctx, b)
		if busy || err != nil {
			last = time.Now()
		}
		if time.Since(last) > idleGrace {
			close(idle)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func busy(ctx context.Context, b *broker.Broker) (bool, error) {
	active := []broker.RunState{broker.Initializing, broker.Running, broker.Terminating}
	runs, err := b.Runs(ctx, broker.RunFilter{States: active, Limit: 1})
	if len(runs) > 0 || err != nil {
		return len(runs) > 0, err
	}
	return b.Archiving(ctx)
}

// newLogger makes the process's logger.
func newLogger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("--log-format is %q; give text or json", format)
}
