//go:build linux

// Command benchscale measures a broker at scale: a broker process rents light
// machines from a simulated EC2, another process, and takes a plan to its end
// on them. See docs/benchmarks.md for how to read what it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// settings are the flags.
type settings struct {
	bin      string
	machines string
	seconds  int
	boot     time.Duration
	metrics  int
	throttle bool
	keep     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "`folder` of the programs")
	flag.StringVar(&s.machines, "machines", "10,100,1000,3000", "`numbers` of machines to measure with, with commas between")
	flag.IntVar(&s.seconds, "seconds", 60, "how long each container runs")
	flag.DurationVar(&s.boot, "boot", 20*time.Second, "time that a machine takes from its launch until it runs")
	flag.IntVar(&s.metrics, "metrics", 9, "metrics of each machine")
	flag.BoolVar(&s.throttle, "throttle", true, "limit calls as EC2 does")
	flag.StringVar(&s.keep, "keep", "", "`folder` for databases and logs, which are kept then")
	flag.Parse()
	err := s.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchscale:", err)
		os.Exit(1)
	}
}

func (s settings) run(ctx context.Context) error {
	for _, text := range strings.Split(s.machines, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-machines has %q; give numbers with commas between", text)
		}
		if err := s.measure(ctx, n); err != nil {
			return fmt.Errorf("measure with %d machines: %w", n, err)
		}
	}
	return nil
}

// measure takes a run on n machines to its end, and prints what it took.
func (s settings) measure(ctx context.Context, n int) (err error) {
	dir := s.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "loads-scale-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if dir = filepath.Join(dir, strconv.Itoa(n)); os.MkdirAll(dir, 0o755) != nil {
		return fmt.Errorf("can't make the folder %s", dir)
	}
	cloud, err := s.startCloud(ctx, dir, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cloud.stop()) }()
	b, err := s.startBroker(ctx, dir, cloud)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	m := measurement{settings: s, n: n, cloud: cloud, broker: b, client: &api.Client{BaseURL: b.url}}
	if err := m.take(ctx); err != nil {
		return err
	}
	return m.print(ctx, os.Stdout)
}

// plan runs a container on each machine for a while.
const plan = `name: scale
steps:
- {name: load, instance_type: m5.large, instance_count: %d, container_name: loads/node,
   additional_command_args: "sleep %ds", run_max_time: %d}
`

// A usage is what a process has used at some time.
type usage struct {
	at  time.Time
	cpu time.Duration
	rss int64 // bytes, at most so far
}

// A measurement is one run on n machines.
type measurement struct {
	settings
	n      int
	cloud  *process
	broker *process
	client *api.Client

	run                            string
	idle, ready, started, over, at usage // at is the run's end
}

// take runs the plan and looks at the broker between its phases.
func (m *measurement) take(ctx context.Context) error {
	text := fmt.Sprintf(plan, m.n, m.seconds, m.seconds+120)
	project, err := m.client.Import(ctx, "scale.yaml", []byte(text), true)
	if err != nil {
		return err
	}
	if m.idle, err = m.broker.usage(); err != nil {
		return err
	}
	if m.run, err = m.client.Start(ctx, project.Plans[0].UUID, api.StartOptions{}); err != nil {
		return err
	}
	for _, phase := range []struct {
		into *usage
		come func(api.Run) bool
	}{
		{&m.ready, func(r api.Run) bool { return r.State >= broker.Running }},
		{&m.started, func(r api.Run) bool { return r.StepRecords[0].StartedAt != nil || r.State > broker.Running }},
		{&m.over, func(r api.Run) bool { return r.State > broker.Running }},
		{&m.at, func(r api.Run) bool { return r.Completed() }},
	} {
		if err := m.await(ctx, phase.come); err != nil {
			return err
		}
		if *phase.into, err = m.broker.usage(); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the run has come so far.
func (m *measurement) await(ctx context.Context, come func(api.Run) bool) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := m.client.Run(ctx, m.run)
		if err != nil {
			return err
		}
		if come(r) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
