//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// port is what all programs receive on, one after the other.
const port = 8125

// mostLoss is the part of the packets that may be lost.
const mostLoss = 0.001

// counterPart is the part of counters among the lines.
const counterPart = 0.3

// outcome is one measurement.
type outcome struct {
	sent, drops float64 // packets
	counters    float64 // counted by the program itself, as sum of the counters; below 0: it doesn't say
	lines       int
	cpu         float64 // seconds
}

// cost returns CPU-seconds per million metrics that were received.
func (o outcome) cost(lines int) float64 {
	return o.cpu / ((o.sent - o.drops) * float64(lines)) * 1e6
}

// dropped returns the part of the packets that the kernel dropped.
func (o outcome) dropped() float64 { return o.drops / o.sent }

// lost returns the part of the counters that the program did not count.
func (o outcome) lost() float64 {
	if o.counters < 0 {
		return o.dropped()
	}
	return 1 - o.counters/(o.sent*float64(o.lines)*counterPart)
}

// running is a started program.
type running struct {
	cmd    *exec.Cmd
	dir    string // its own
	output string // file of its standard output
}

// pinned returns a command that runs on the given cores, before all else that
// the machine has to do there.
func (at setting) pinned(ctx context.Context, cores string, args []string) *exec.Cmd {
	priority := []string{"nice", "-n", "-20"}
	if at.realtime {
		priority = []string{"chrt", "--fifo", "10"}
	}
	all := slices.Concat(priority, []string{"taskset", "-c", cores}, args)
	return exec.CommandContext(ctx, all[0], all[1:]...)
}

// start starts the program on two cores, before all else that the machine has
// to do, and waits until its port is bound.
func (p program) start(ctx context.Context, dir string, at setting) (*running, error) {
	own, err := os.MkdirTemp("", "bench-relay-")
	if err != nil {
		return nil, err
	}
	args, err := p.command(launch{dir: dir, own: own, buffer: at.buffer})
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(own, "stdout"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := at.pinned(ctx, "2,3", args)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, own
	if at.buffer > 0 && p.preload {
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+filepath.Join(dir, "buffer.so"), "BENCH_READ_BUFFER="+strconv.Itoa(at.buffer))
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &running{cmd, own, out.Name()}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if _, err := drops(); err == nil {
			<-time.After(300 * time.Millisecond) // its start is not what we measure
			return r, nil
		}
	}
	text, _ := os.ReadFile(r.output)
	return nil, errors.Join(fmt.Errorf("its port is not bound after 15 s: %s", text), r.stop())
}

func (r *running) stop() error {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	killer := time.AfterFunc(5*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer killer.Stop()
	_ = r.cmd.Wait() // not all end with status 0
	return nil
}

// measure sends at a rate and returns what came of it.
func (p program) measure(ctx context.Context, dir string, at setting, rate, seconds float64) (o outcome, err error) {
	r, err := p.start(ctx, dir, at)
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(r.dir)
	before := cpuSeconds(r.cmd.Process.Pid)
	err = p.send(ctx, dir, at, []string{fmt.Sprintf("%.0f:%.0f", rate, seconds*1000)}, func(s step) bool {
		o.sent = s.sent
		return true
	})
	<-time.After(settle)
	o.lines, o.counters = at.lines, -1
	o.cpu = cpuSeconds(r.cmd.Process.Pid) - before
	var dropErr, countErr error
	o.drops, dropErr = drops()
	if p.ask != nil {
		o.counters, countErr = p.ask(r)
	}
	stopErr := r.stop()
	if p.read != nil {
		o.counters, countErr = p.read(r)
	}
	return o, errors.Join(err, dropErr, countErr, stopErr)
}

// highest raises the rate in steps of 0.2 s and 10 % until packets are
// lost twice running, and then holds the last good one for the whole time,
// going down by 7 % as long as it loses, twelve times at most; 0 when it loses all the same.
func (p program) highest(ctx context.Context, dir string, at setting, seconds float64) (float64, error) {
	r, err := p.start(ctx, dir, at)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(r.dir)
	var steps []string
	for rate := 20_000.0; rate < 600_000; rate *= 1.1 {
		steps = append(steps, fmt.Sprintf("%.0f:200", rate))
	}
	best, bad, before := 20_000.0, 0, 0.0
	err = p.send(ctx, dir, at, steps, func(s step) bool {
		now, err := drops()
		reached := s.sent / s.seconds
		switch lost := now - before; {
		case err != nil || reached < 0.95*s.rate: // the sender gives no more
			return false
		case lost > mostLoss*s.sent:
			bad++
		default:
			best, bad = max(best, reached), 0
		}
		before = now
		return bad < 2
	})
	if err := errors.Join(err, r.stop()); err != nil {
		return 0, err
	}
	for range 12 {
		o, err := p.measure(ctx, dir, at, best, seconds)
		if err != nil {
			return 0, err
		}
		if max(o.lost(), o.dropped()) < mostLoss {
			return o.sent / seconds, nil
		}
		best *= 0.93
	}
	return 0, nil
}

// step is what the sender says of a step that it has done.
type step struct{ rate, sent, seconds float64 }

// send runs the sender on a core of its own until it has done its steps or
// done says that it is enough.
func (p program) send(ctx context.Context, dir string, at setting, steps []string, more func(step) bool) error {
	form := "tags"
	if p.plain {
		form = "plain"
	}
	args := append([]string{filepath.Join(dir, "bench"), "send", strconv.Itoa(port), strconv.Itoa(at.lines), form}, steps...)
	cmd := at.pinned(ctx, "1", args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	enough := false
	for lines := bufio.NewScanner(out); !enough && lines.Scan(); {
		var s step
		if _, err := fmt.Sscan(lines.Text(), &s.rate, &s.sent, &s.seconds); err == nil {
			s.seconds /= 1e6
			enough = !more(s)
		}
	}
	if enough {
		_ = cmd.Process.Kill()
	}
	if err := cmd.Wait(); err != nil && !enough {
		return fmt.Errorf("send: %w", err)
	}
	return ctx.Err()
}

// drops returns how many packets the kernel has dropped on our port; an error
// when it is not bound. The last column of /proc/net/udp is the count.
func drops() (float64, error) {
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		table, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		for line := range bytes.Lines(table) {
			f := strings.Fields(string(line))
			if len(f) > 12 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				return strconv.ParseFloat(f[len(f)-1], 64)
			}
		}
	}
	return 0, errors.New("port is not bound")
}

// cpuSeconds returns what the process has used, in user and system mode; 0
// when it has ended. See proc(5): fields 14 and 15 of stat, in ticks of 10 ms.
func cpuSeconds(pid int) float64 {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}
