package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
)

// hookLimit is how long a command before or after the phases may take.
const hookLimit = 10 * time.Minute

// hooks runs the commands that a benchmark has before or after its phases, in the
// order of their names, until one fails. What they print goes to standard error.
func (p program) hooks(ctx context.Context, when string, hooks benchmark.Hooks, file string, cfg engine.Config) error {
	for _, h := range hooks {
		if err := p.hook(ctx, h, file, cfg); err != nil {
			return fmt.Errorf("run the %s command %s: %w", when, h.Name, err)
		}
	}
	return nil
}

func (p program) hook(ctx context.Context, h benchmark.Hook, file string, cfg engine.Config) error {
	ctx, cancel := context.WithTimeout(ctx, hookLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", h.Exec)
	cmd.Stdout, cmd.Stderr = p.stderr, p.stderr
	cmd.Env = append(os.Environ(), "RUN_ID="+cfg.RunID, "BENCHMARK="+cfg.Benchmark.Name, "BENCHMARK_PATH="+file)
	return cmd.Run()
}
