package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/loadgen"
	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// The exit statuses of gen.
const (
	exitFailed  = exitError(1) // a phase has failed, nothing could be measured, or a file not be written
	exitUsage   = exitError(2) // flags or the file are wrong
	exitInvalid = exitError(3) // the generator itself was at fault: don't trust the numbers
)

// genFlags are the flags of gen. Those that have a variable of the environment
// may be given there too; the flag wins.
type genFlags struct {
	check   checkFlags
	url     urlFlags
	file    string
	text    string // of a benchmark, in the environment
	runID   string
	json    bool
	quiet   bool
	patient bool
	threads int
	grain   time.Duration
	seed    uint64
	start   time.Time
	machine int
	of      int
	maxLag  time.Duration
	maxLate time.Duration
	steal   float64
	core    float64
	hgrm    string
	hlog    string
	series  string
}

// maxGrain is the longest time for which loops may not be spoken to.
const maxGrain = 100 * time.Millisecond

// runGen carries out a benchmark file, or a load of one request.
func runGen(ctx context.Context, p program, args []string) error {
	f, err := p.genFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return p.usageError(err)
	case f.check.file != "" || f.check.schema:
		return checkBenchmark(ctx, p, f.check)
	}
	cfg, err := f.config()
	var faults benchmark.Faults
	if errors.As(err, &faults) {
		for _, fault := range faults {
			fmt.Fprintln(p.stderr, fault)
		}
		return exitUsage
	}
	if err != nil {
		return p.usageError(err)
	}
	for _, w := range cfg.Benchmark.Warnings {
		fmt.Fprintf(p.stderr, "warning: %s\n", w)
	}
	if err := p.hooks(ctx, "pre", cfg.Benchmark.Pre, f.file, cfg); err != nil {
		return err
	}
	err = p.generate(ctx, f, cfg)
	// The run is over: what comes after it is done even if it was ended early.
	if hookErr := p.hooks(context.WithoutCancel(ctx), "post", cfg.Benchmark.Post, f.file, cfg); hookErr != nil {
		fmt.Fprintf(p.stderr, "loads-node gen: %v\n", hookErr)
	}
	return err
}

func (p program) usageError(err error) error {
	var shown exitError
	if !errors.As(err, &shown) {
		fmt.Fprintf(p.stderr, "loads-node gen: %v\n", err)
	}
	return exitUsage
}

func (p program) genFlags(args []string) (*genFlags, error) {
	f := &genFlags{}
	fs := p.flags("gen")
	fs.StringVar(&f.url.url, "url", p.getenv("URL"), "address to ask for with GET, without a file ($URL)")
	fs.StringVar(&f.url.rate, "rate", p.getenv("RATE"), "with --url: requests a second; without it each connection is always busy ($RATE)")
	fs.StringVar(&f.url.duration, "duration", p.env("DURATION", "10s"), "with --url: how long requests start ($DURATION)")
	fs.StringVar(&f.url.connections, "connections", p.env("CONNECTIONS", "50"), "with --url: most connections ($CONNECTIONS)")
	fs.StringVar(&f.url.timeout, "timeout", p.env("TIMEOUT", "5s"), "with --url: limit for one request ($TIMEOUT)")
	fs.BoolVar(&f.json, "json", false, "print the summary, or with --check the phases, as JSON")
	fs.BoolVar(&f.quiet, "quiet", false, "show nothing while it runs")
	fs.BoolVar(&f.patient, "patient", false, "with a file: begin though servers can't be reached yet; requests fail until they can")
	fs.IntVar(&f.threads, "threads", 0, "loops that generate load; 0 is as the file says, or one for each processor")
	fs.DurationVar(&f.grain, "grain", engine.DefaultGrain, "how far apart users may be due who start together, and how long an answer may lie for which nobody waits; it is in no latency; 0 is none")
	fs.Uint64Var(&f.seed, "seed", 0, "of random arrivals, to repeat them; 0 is another each time")
	fs.DurationVar(&f.maxLag, "max-lag", 0, "how late the generator itself may start users at p99, and how long it may pause to collect garbage, before the run is invalid; 0 is 100ms with a file and no limit without, negative no limit")
	fs.Float64Var(&f.steal, "max-steal", 0, "share of the machine's time that its host may take before the run is invalid; 0 is 0.2 with a file and no limit without, negative no limit")
	fs.DurationVar(&f.maxLate, "max-late", 0, "how long after LOADS_START_AT this machine may begin before the run is invalid; 0 is 1s, or no limit where --max-lag has none, negative no limit")
	fs.Float64Var(&f.core, "max-core", 0, "share of a processor that a loop may use over ten seconds before the run is invalid; 0 is 0.95, or no limit where --max-lag has none, negative no limit")
	fs.StringVar(&f.hgrm, "hgrm", "", "write the distribution of each metric to `PREFIX`phase.metric.hgrm, in HdrHistogram's format")
	fs.StringVar(&f.hlog, "hlog", "", "write a log of HdrHistogram to `FILE`, a histogram for each metric and second")
	fs.StringVar(&f.series, "series", "", "write what was counted in each second to `FILE`, a line of JSON each")
	machine := fs.String("machine", p.env("LOADS_MACHINE", "0"), "number of this machine, from 0 ($LOADS_MACHINE)")
	of := fs.String("machines", p.env("LOADS_MACHINES", "1"), "machines among which the load is divided ($LOADS_MACHINES)")
	f.check.params = params{}
	fs.StringVar(&f.check.file, "check", "", "print the phases of this benchmark `file`, or all its faults, and send nothing")
	fs.BoolVar(&f.check.schema, "schema", false, "print a JSON Schema of benchmark files, for editors")
	fs.Var(f.check.params, "param", "`NAME=VALUE` of a !param in the file")
	rest, err := p.parseUpTo(fs, args, 1)
	if err != nil {
		return nil, err
	}
	f.check.json, f.runID, f.text = f.json, p.getenv("RUN_ID"), p.getenv("LOADS_BENCHMARK")
	if len(rest) > 0 {
		f.file = rest[0]
	}
	var errs [4]error
	f.machine, errs[0] = number("--machine", *machine)
	f.of, errs[1] = number("--machines", *of)
	if errs[0] == nil && errs[1] == nil {
		errs[0] = checkMachine(f.machine, f.of)
	}
	if f.grain < 0 || f.grain > maxGrain {
		errs[3] = fmt.Errorf("--grain is %v, want a time from 0 to %v", f.grain, maxGrain)
	}
	f.start, errs[2] = startAt(p.getenv("LOADS_START_AT"))
	if f.file != "" && f.check.file != "" {
		return nil, errors.New("a file is given beside --check: give one of them")
	}
	return f, errors.Join(errs[:]...)
}

// checkMachine wants the number of one of the machines.
func checkMachine(machine, of int) error {
	switch {
	case of < 1:
		return fmt.Errorf("--machines is %d, want 1 or more", of)
	case machine < 0 || machine >= of:
		return fmt.Errorf("--machine is %d, want a number from 0 to %d", machine, of-1)
	}
	return nil
}

func number(flag, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, want a whole number", flag, text)
	}
	return n, nil
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

// config reads the benchmark, and says all that is wrong with it.
func (f *genFlags) config() (engine.Config, error) {
	cfg := engine.Config{
		Machine: f.machine, Machines: f.of, Threads: f.threads, Grain: f.grain, Seed: f.seed, Start: f.start,
		Limits: engine.Limits{Lag: f.maxLag, Pause: f.maxLag, Steal: f.steal, Late: f.maxLate, Core: f.core}, Name: f.file, Patient: f.patient,
	}
	if cfg.Grain == 0 {
		cfg.Grain = -1
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	var data []byte
	var err error
	switch {
	case f.file != "":
		if data, err = os.ReadFile(f.file); err != nil {
			return cfg, fmt.Errorf("read the benchmark: %w", err)
		}
	case f.text != "" && f.url.url == "":
		cfg.Name, data = "LOADS_BENCHMARK", []byte(f.text)
	default:
		// A first try on a busy computer is no fault of the generator's, so
		// how late it was is told, and judged only when asked for.
		cfg.Name, cfg.Patient = "gen", true
		if f.maxLag == 0 {
			cfg.Limits.Lag, cfg.Limits.Pause = -1, -1
		}
		if f.steal == 0 {
			cfg.Limits.Steal = -1
		}
		if data, err = f.url.benchmark(); err != nil {
			return cfg, err
		}
	}
	cfg.Benchmark, cfg.Phases, err = readBenchmark(cfg.Name, data, f.check.params)
	if err != nil {
		return cfg, err
	}
	cfg.Read, cfg.RunID = readerBeside(f.file), f.runID
	return cfg, nil
}

// readerBeside reads files whose names are relative to the benchmark's folder.
func readerBeside(file string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		return os.ReadFile(name)
	}
}

// generate runs the benchmark, shows how it goes, and prints the summary.
func (p program) generate(ctx context.Context, f *genFlags, cfg engine.Config) (err error) {
	sink, receiver, err := p.statistics()
	if err != nil {
		return err
	}
	if sink != nil {
		cfg.Sinks = append(cfg.Sinks, sink)
	}
	files, err := f.openSinks(&cfg)
	if err != nil {
		return err
	}
	accord, err := p.agree(&cfg)
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(p.stderr, nil))
	live := newLive(p.stderr, f.quiet)
	cfg.Live = live.show
	// The loops have as many processors as there are, and what runs beside them one more: see loop.Run.
	cfg.Processors = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(max(cfg.Processors, cfg.Threads, cfg.Benchmark.Threads) + 1)
	result, err := engine.Run(ctx, cfg)
	live.end()
	var unwritten error // which must not cost the summary
	for _, file := range files {
		unwritten = errors.Join(unwritten, file.Close())
	}
	lack := engine.Exhausted(err)
	var s *summary
	if result != nil {
		s = summarize(cfg, result)
	}
	if points, ok := sink.(*stats.Points); ok {
		switch { // that it was lost is told by Close
		case s != nil:
			_ = points.Verdict(s.Invalid, s.whyFailed(), s.Notes)
		case lack != "":
			_ = points.Verdict([]string{lack}, nil, nil)
		}
	}
	if accord != nil {
		if lost := accord.Close(); lost != nil && s != nil {
			s.spoil(lost.Error())
		}
	}
	if receiver != nil {
		if lost := receiver.Close(); lost != nil && s != nil {
			s.spoil(fmt.Sprintf("metrics are incomplete: %v", lost))
		}
	}
	if lack != "" {
		fmt.Fprintf(p.stderr, "invalid: %s\n", lack)
		return exitInvalid
	}
	if err != nil {
		return errors.Join(err, unwritten)
	}
	if f.hgrm != "" {
		unwritten = errors.Join(unwritten, writeDistributions(f.hgrm, result))
	}
	if f.json {
		err = writeJSON(p.stdout, s)
	} else {
		err = s.print(p.stdout, result)
	}
	status := s.status()
	if unwritten != nil {
		fmt.Fprintf(p.stderr, "loads-node gen: %v\n", unwritten)
		if status == nil {
			status = exitFailed
		}
	}
	return errors.Join(err, status)
}

// agree joins the other machines of a plan that agree on phases, if there are
// any.
func (p program) agree(cfg *engine.Config) (*loadgen.Accord, error) {
	if cfg.Machines < 2 || p.getenv("STATSD_SOCKET") == "" {
		return nil, nil
	}
	accord, err := loadgen.NewAccord(p.statsdAddress(), agreement.File)
	if accord != nil {
		cfg.Others, cfg.Until = accord, accord.Until()
	}
	return accord, err
}

// openSinks makes the files that are written while it runs.
func (f *genFlags) openSinks(cfg *engine.Config) (files []io.Closer, err error) {
	if f.hlog != "" {
		file, err := os.Create(f.hlog)
		if err != nil {
			return nil, fmt.Errorf("make the log of histograms: %w", err)
		}
		files = append(files, file)
		start := cfg.Start
		if start.IsZero() {
			start = time.Now()
		}
		sink, err := stats.NewHDRLog(file, start)
		if err != nil {
			return nil, err
		}
		cfg.Sinks = append(cfg.Sinks, sink)
	}
	if f.series != "" {
		file, err := os.Create(f.series)
		if err != nil {
			return nil, fmt.Errorf("make the file for each second: %w", err)
		}
		files = append(files, file)
		cfg.Sinks = append(cfg.Sinks, stats.NewJSONLines(file))
	}
	return files, nil
}
