//go:build linux

// Command benchgen measures HTTP load generators side by side: what a request
// costs the generator, in a closed loop and at given rates, against one nginx.
// See scripts/bench-gen.sh, which installs them and runs it, and
// docs/benchmarks.md for how to read what it prints.
//
// "benchgen way NAME" is one of the clients that it measures itself: the ways
// that decision 42 chooses from.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/loads/loads/loadgen/engine"
)

// settings are the flags.
type settings struct {
	dir            string // of the programs
	only           string
	repeat         int
	seconds        int
	connections    string
	rates          string
	generatorCores string
	serverCores    string
	realtime       bool
	grain          time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 2 && os.Args[1] == "way" {
		err = runWay(ctx, os.Args[2], os.Args[3:])
	} else {
		err = parse().run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchgen:", err)
		os.Exit(1)
	}
}

func parse() settings {
	var s settings
	flag.StringVar(&s.dir, "dir", ".build/peers", "`folder` of the installed programs")
	flag.StringVar(&s.only, "only", "", "`names` of the programs to measure, with commas between; empty for all")
	flag.IntVar(&s.repeat, "repeat", 3, "measurements of each, of which the median is taken")
	flag.IntVar(&s.seconds, "seconds", 3, "length of a measurement, at least 1")
	flag.StringVar(&s.connections, "connections", "64,256", "numbers of connections for the closed loop; empty for no closed loop")
	flag.StringVar(&s.rates, "rates", "5000,20000,40000", "requests a second on a timetable, by 64 connections; empty for none")
	flag.StringVar(&s.generatorCores, "generator-cores", "0,1", "`list` of cores for generators, which have as many threads")
	flag.StringVar(&s.serverCores, "server-cores", "2,3", "`list` of cores for the server, which has as many workers")
	flag.BoolVar(&s.realtime, "realtime", false, "give generators and server real-time priority, against what else the machine does")
	flag.DurationVar(&s.grain, "grain", engine.DefaultGrain, "of loads and loads-h1 on a timetable: how far apart users may be due who start together")
	flag.Parse()
	return s
}

// run measures all programs under each load.
func (s settings) run(ctx context.Context) error {
	if s.seconds < 1 || s.repeat < 1 {
		return errors.New("-seconds and -repeat are at least 1")
	}
	connections, err := numbers(s.connections)
	if err != nil {
		return err
	}
	rates, err := numbers(s.rates)
	if err != nil {
		return err
	}
	programs := s.programs()
	server, err := s.startServer(ctx)
	if err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	defer server.stop()
	for _, n := range connections {
		at := load{address: server.address, connections: int(n), seconds: s.seconds, threads: count(s.generatorCores)}
		if err := s.compare(ctx, programs, at); err != nil {
			return err
		}
	}
	for _, rate := range rates {
		at := load{address: server.address, connections: 64, rate: rate, seconds: s.seconds, threads: count(s.generatorCores), grain: s.grain}
		if err := s.compare(ctx, programs, at); err != nil {
			return err
		}
	}
	return nil
}

// programs returns those to measure, and says which are missing.
func (s settings) programs() []program {
	var programs []program
	for _, p := range allPrograms() {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), p.name) {
			continue
		}
		if _, err := p.path(s.dir); err != nil {
			fmt.Printf("%s is not installed, and left out\n", p.name)
			continue
		}
		programs = append(programs, p)
	}
	return programs
}

// compare measures the programs under a load, taking turns, and prints medians.
func (s settings) compare(ctx context.Context, programs []program, at load) error {
	programs = slices.DeleteFunc(slices.Clone(programs), func(p program) bool { return p.args(at, "") == nil })
	found := make([][]outcome, len(programs))
	for range s.repeat {
		for i, p := range programs {
			o, err := s.measure(ctx, p, at)
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			found[i] = append(found[i], o)
		}
	}
	if at.rate > 0 {
		fmt.Printf("\n%.0f requests/s on a timetable\n  %-12s %10s %10s %10s %10s %8s\n",
			at.rate, "", "reached", "CPU µs", "p50 ms", "p99 ms", "failed")
	} else {
		fmt.Printf("\nclosed loop, %d connections\n  %-12s %14s %8s %10s %10s %10s %8s\n",
			at.connections, "", "1000/CPU-s", "of wrk", "1000/s", "p50 ms", "p99 ms", "failed")
	}
	for i, p := range programs {
		of := func(f func(outcome) float64) float64 { return median(found[i], f) }
		p50, p99 := of(func(o outcome) float64 { return o.p50 }), of(func(o outcome) float64 { return o.p99 })
		failed := of(func(o outcome) float64 { return o.failed })
		perSecond := of(func(o outcome) float64 { return o.requests / float64(at.seconds) })
		if at.rate > 0 {
			cost := of(func(o outcome) float64 { return o.cpu / o.requests * 1e6 })
			fmt.Printf("  %-12s %8.2f %% %10.2f %10.3f %10.3f %8.0f\n", p.name, 100*perSecond/at.rate, cost, p50, p99, failed)
			continue
		}
		perCPU := of(outcome.perCPU)
		wrk := slices.IndexFunc(programs, func(p program) bool { return p.name == "wrk" })
		ratio := 0.0
		if wrk >= 0 {
			ratio = perCPU / median(found[wrk], outcome.perCPU)
		}
		fmt.Printf("  %-12s %14.1f %8.2f %10.1f %10.3f %10.3f %8.0f\n",
			p.name, perCPU/1000, ratio, perSecond/1000, p50, p99, failed)
	}
	return nil
}

// count returns how many cores a list such as 0,2 has.
func count(cores string) int { return 1 + strings.Count(cores, ",") }

// numbers reads a list.
func numbers(list string) ([]float64, error) {
	var all []float64
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number from 1", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// median returns the median of what f says of each, of an even number the
// higher middle one.
func median[T any, V cmp.Ordered](all []T, f func(T) V) V {
	values := make([]V, 0, len(all))
	for _, v := range all {
		values = append(values, f(v))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
