//go:build linux

// Command benchrelay measures receivers of statsd side by side: what a million
// metrics cost at a fixed rate, and the highest rate without loss. See
// scripts/bench-relay.sh, which installs them and runs it, and
// docs/benchmarks.md for how to read what it prints.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	dir      string // of the programs
	only     string
	repeat   int
	seconds  float64
	raised   int
	skipMax  bool
	skipCost bool
	realtime bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var s settings
	flag.StringVar(&s.dir, "dir", ".build/peers", "`folder` of the installed programs")
	flag.StringVar(&s.only, "only", "", "`names` of the programs to measure, with commas between; empty for all")
	flag.IntVar(&s.repeat, "repeat", 3, "measurements of each, of which the median is taken")
	flag.Float64Var(&s.seconds, "seconds", 10, "length of a measurement")
	flag.IntVar(&s.raised, "raised", 4<<20, "`bytes` asked for raised socket buffers")
	flag.BoolVar(&s.skipCost, "skip-cost", false, "don't measure the cost at a fixed rate")
	flag.BoolVar(&s.skipMax, "skip-max", false, "don't look for the highest rate")
	flag.BoolVar(&s.realtime, "realtime", false, "give sender and receivers real-time priority, against what else the machine does")
	flag.Parse()
	err := s.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchrelay:", err)
		os.Exit(1)
	}
}

// A setting is what all programs are measured under in turn.
type setting struct {
	lines  int // a packet
	buffer int // bytes asked for; 0 for the default

	realtime bool
}

func (s settings) run(ctx context.Context) error {
	var programs []program
	for _, p := range allPrograms() {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), p.name) {
			continue
		}
		if !p.installed(s.dir) {
			fmt.Printf("%s is not installed, and left out\n", p.name)
			continue
		}
		programs = append(programs, p)
	}
	for _, buffer := range []int{0, s.raised} {
		for _, lines := range []int{1, 10} {
			at := setting{lines, buffer, s.realtime}
			fmt.Printf("\n%d lines a packet, socket buffer asked for: %d bytes (0: default)\n", lines, buffer)
			if err := s.costs(ctx, programs, at); err != nil {
				return err
			}
			if err := s.highest(ctx, programs, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// costs measures at a fixed rate, the programs taking turns.
func (s settings) costs(ctx context.Context, programs []program, at setting) error {
	if s.skipCost {
		return nil
	}
	rate := 100_000.0
	if at.lines > 1 {
		rate = 30_000
	}
	found := make([][]outcome, len(programs))
	for range s.repeat {
		for i, p := range programs {
			o, err := p.measure(ctx, s.dir, at, rate, s.seconds)
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			found[i] = append(found[i], o)
		}
	}
	fmt.Printf("at %.0f packets/s: CPU-seconds per million metrics received; lost by its own count; dropped by the kernel\n", rate)
	for i, p := range programs {
		fmt.Printf("  %-16s %6.2f   %6.2f %%  %6.2f %%\n", p.name,
			median(found[i], func(o outcome) float64 { return o.cost(at.lines) }),
			100*median(found[i], outcome.lost), 100*median(found[i], outcome.dropped))
	}
	return nil
}

// highest looks for the highest rate without loss.
func (s settings) highest(ctx context.Context, programs []program, at setting) error {
	if s.skipMax {
		return nil
	}
	found := make([][]float64, len(programs))
	for range s.repeat {
		for i, p := range programs {
			rate, err := p.highest(ctx, s.dir, at, s.seconds)
			if err != nil {
				return fmt.Errorf("look for the highest rate of %s: %w", p.name, err)
			}
			found[i] = append(found[i], rate)
		}
	}
	fmt.Printf("highest rate with less than 0.1 %% lost over %.0f s, thousand packets/s; of the sink\n", s.seconds)
	identity := func(v float64) float64 { return v }
	for i, p := range programs {
		rate := median(found[i], identity)
		fmt.Printf("  %-16s %6.0f   %5.2f\n", p.name, rate/1000, rate/median(found[0], identity))
	}
	return nil
}

// median returns the median of what f says of each, of an even number the
// higher middle one.
func median[T any](all []T, f func(T) float64) float64 {
	values := make([]float64, 0, len(all))
	for _, v := range all {
		values = append(values, f(v))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// settle is how long a program may take to read what it has got.
const settle = 700 * time.Millisecond
