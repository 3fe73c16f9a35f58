package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runSleep prints a text, counts the seconds in sleep.ticks, and ends with the
// status it was told; with 0 when it is told to end early.
func runSleep(ctx context.Context, p program, args []string) error {
	fs := p.flags("sleep")
	status := fs.Int("exit", 0, "exit `status` at the end")
	text := fs.String("print", "", "`text` to print at the start")
	times := fs.Int("repeat", 0, "`times` to print the text instead, spread over the duration; {n} in it is the number of the line, from 1")
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
	if *text != "" && *times <= 0 {
		fmt.Fprintln(p.stdout, *text)
	}
	var printing sync.WaitGroup
	var printErr error
	printing.Go(func() { printErr = printLines(ctx, p.stdout, *text, *times, length) })
	slept := sleep(ctx, length, func() { statsd.Count("sleep.ticks", 1) })
	printing.Wait()
	if err := statsd.Close(); err != nil {
		fmt.Fprintf(p.stderr, "loads-node sleep: metrics are incomplete: %v\n", err)
	}
	if printErr != nil {
		return fmt.Errorf("print: %w", printErr)
	}
	if slept && *status != 0 {
		return exitError(*status)
	}
	return nil
}

// printLines prints the text so many times, the last at the end of the time,
// unless ctx ends before.
func printLines(ctx context.Context, w io.Writer, text string, times int, length time.Duration) error {
	out := bufio.NewWriter(w)
	began := time.Now()
	for n := 1; n <= times && ctx.Err() == nil; n++ {
		due := began.Add(time.Duration(float64(length) * float64(n) / float64(times)))
		if wait := time.Until(due); wait > 0 {
			if err := out.Flush(); err != nil {
				return err
			}
			if !pause(ctx, wait) {
				break
			}
		}
		if _, err := fmt.Fprintln(out, strings.ReplaceAll(text, "{n}", strconv.Itoa(n))); err != nil {
			return err
		}
	}
	return out.Flush()
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
