package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/loads/loads/loadgen"
)

// runGen sends requests on a timetable. Each flag can be given in the
// environment too; the flag wins.
func runGen(ctx context.Context, p program, args []string) (err error) {
	var check checkFlags
	cfg, err := p.genConfig(args, &check)
	if err != nil {
		return err
	}
	if check.file != "" || check.schema {
		return checkBenchmark(ctx, p, check)
	}
	if cfg.Statsd, err = p.statsd(); err != nil {
		return err
	}
	result, err := loadgen.Run(ctx, cfg)
	if closeErr := cfg.Statsd.Close(); closeErr != nil {
		fmt.Fprintf(p.stderr, "loads-node gen: metrics are incomplete: %v\n", closeErr)
	}
	if err != nil {
		return err
	}
	summarize(p.stderr, result)
	return verdict(result)
}

func (p program) genConfig(args []string, check *checkFlags) (loadgen.Config, error) {
	var cfg loadgen.Config
	fs := p.flags("gen")
	fs.StringVar(&cfg.URL, "url", p.getenv("URL"), "address to ask for with GET ($URL)")
	rate := fs.String("rate", p.env("RATE", "10"), "requests a second ($RATE)")
	duration := fs.String("duration", p.env("DURATION", "10s"), "length of the timetable ($DURATION)")
	connections := fs.String("connections", p.env("CONNECTIONS", "50"), "most requests under way at once ($CONNECTIONS)")
	timeout := fs.String("timeout", p.env("TIMEOUT", "5s"), "limit for one request ($TIMEOUT)")
	check.params = params{}
	fs.StringVar(&check.file, "check", "", "print the phases of this benchmark `file`, or all its faults, and send nothing")
	fs.BoolVar(&check.json, "json", false, "with --check: print JSON")
	fs.BoolVar(&check.schema, "schema", false, "print a JSON Schema of benchmark files, for editors")
	fs.Var(check.params, "param", "with --check: `NAME=VALUE` of a !param in the file")
	if _, err := p.parse(fs, args, 0); err != nil {
		return cfg, err
	}
	if check.file != "" || check.schema {
		return cfg, nil
	}
	var errs [5]error
	cfg.Rate, errs[0] = strconv.ParseFloat(*rate, 64)
	cfg.Duration, errs[1] = time.ParseDuration(*duration)
	cfg.Connections, errs[2] = strconv.Atoi(*connections)
	cfg.Timeout, errs[3] = time.ParseDuration(*timeout)
	cfg.Start, errs[4] = startAt(p.getenv("LOADS_START_AT"))
	return cfg, errors.Join(errs[:]...)
}

// startAt reads the common start of all machines, Unix ms; empty is none.
func startAt(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("LOADS_START_AT is %q, want Unix ms", text)
	}
	return time.UnixMilli(ms), nil
}

func summarize(w io.Writer, r loadgen.Result) {
	q := r.Latency.Quantiles(0.5, 0.9, 0.99)
	ended := ""
	if r.Stopped {
		ended = ", stopped early"
	}
	fmt.Fprintf(w, "%d of %d requests sent in %.1f s (%d failed, %d unsent%s), latency from intended start in ms: p50 %.3g, p90 %.3g, p99 %.3g, max %.3g\n",
		r.Sent, r.Planned, r.Elapsed.Seconds(), r.Failed, r.Unsent, ended, q[0], q[1], q[2], r.Latency.Max())
}

// verdict says whether the timetable was carried out: failed requests are the
// service's affair, unless nothing else came.
func verdict(r loadgen.Result) error {
	switch {
	case r.Unsent > 0:
		return fmt.Errorf("%d requests could not be sent in time: more connections or a lower rate are needed", r.Unsent)
	case r.Sent > 0 && r.Failed == r.Sent && !r.Stopped:
		return errors.New("all requests failed")
	default:
		return nil
	}
}
