package main

import (
	"context"
	"fmt"
	"time"
)

// runSleep prints a text, counts the seconds in sleep.ticks, and ends with the
// status it was told; with 0 when it is told to end early.
func runSleep(ctx context.Context, p program, args []string) error {
	fs := p.flags("sleep")
	status := fs.Int("exit", 0, "exit `status` at the end")
	text := fs.String("print", "", "`text` to print at the start")
	positional, err := p.parse(fs, args, 1)
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(positional[0])
	if err != nil || length < 0 {
		return fmt.Errorf("duration is %q, want for example 5s", positional[0])
	}
	statsd, err := p.statsd()
	if err != nil {
		return err
	}
	if *text != "" {
		fmt.Fprintln(p.stdout, *text)
	}
	slept := sleep(ctx, length, func() { statsd.Count("sleep.ticks", 1) })
	if err := statsd.Close(); err != nil {
		fmt.Fprintf(p.stderr, "loads-node sleep: metrics are incomplete: %v\n", err)
	}
	if slept && *status != 0 {
		return exitError(*status)
	}
	return nil
}

// sleep calls tick at the end of each whole second, and reports whether it
// slept to the end.
func sleep(ctx context.Context, length time.Duration, tick func()) bool {
	for ; length >= time.Second; length -= time.Second {
		if !pause(ctx, time.Second) {
			return false
		}
		tick()
	}
	return pause(ctx, length)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
