//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is a broker or a simulator.
type process struct {
	cmd   *exec.Cmd
	url   string
	env   []string // simulator: for the broker
	token string   // simulator: of its admin calls
}

// drill has machines that take a while to boot, and quotas for all of them.
const drill = `delays: {pending: %v}
limits: {throttle: %v, on_demand_vcpus: %d, spot_vcpus: 0}
`

func (s settings) startCloud(ctx context.Context, dir string, n int) (*process, error) {
	faults, env := filepath.Join(dir, "drill.yaml"), filepath.Join(dir, "cloud.env")
	if err := os.WriteFile(faults, fmt.Appendf(nil, drill, s.boot, s.throttle, 2*n+1920), 0o600); err != nil {
		return nil, err
	}
	p := &process{}
	err := p.start(ctx, filepath.Join(dir, "cloud.log"), nil, filepath.Join(s.bin, "loads"),
		"ec2sim", "--machines", "light", "--light-metrics", strconv.Itoa(s.metrics), "--faults", faults, "--env", env)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(env)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	for line := range strings.Lines(string(text)) {
		setting := strings.TrimPrefix(strings.TrimSpace(line), "export ")
		p.env = append(p.env, setting)
		if token, ok := strings.CutPrefix(setting, "LOADS_EC2SIM_TOKEN="); ok {
			p.token = token
		}
	}
	return p, nil
}

func (s settings) startBroker(ctx context.Context, dir string, cloud *process) (*process, error) {
	p := &process{}
	return p, p.start(ctx, filepath.Join(dir, "broker.log"), cloud.env, filepath.Join(s.bin, "loads"),
		"broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(dir, "loads.db"), "--docker", "unix:///nowhere/docker.sock",
		"--ec2", "--ec2-private", "--ec2-idle", "0", "--ec2-region", "us-west-2")
}

var listening = regexp.MustCompile(`listens on (?:http://)?(\S+)`)

// start starts a program and waits until it says where it listens.
func (p *process) start(ctx context.Context, log string, env []string, program string, args ...string) error {
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	defer file.Close() // the program has it too
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for until := time.Now().Add(time.Minute); ; {
		text, err := os.ReadFile(log)
		if err != nil {
			return errors.Join(err, p.stop())
		}
		if found := listening.FindSubmatch(text); found != nil && bytes.HasSuffix(text, []byte("\n")) {
			p.url = "http://" + string(found[1])
			return nil
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return errors.Join(fmt.Errorf("%s does not say where it listens; see %s", program, log), p.stop())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop ends the program in order.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.cmd.Wait()
}

// tick is how the kernel counts processor time: a hundredth of a second.
const tick = 10 * time.Millisecond

// usage is what the process has used so far.
func (p *process) usage() (u usage, err error) {
	u.at = time.Now()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return u, err
	}
	// The name of the program, in brackets, may have blanks.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read %sstat: %w", proc, err)
		}
		u.cpu += time.Duration(n) * tick
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				return u, fmt.Errorf("read %sstatus: %w", proc, err)
			}
			u.rss = kilobytes << 10
		}
	}
	return u, nil
}

// cloudState is what a simulator says of itself.
type cloudState struct {
	Launched int
	Alive    int
	Calls    []struct {
		Service, Action, Code string
		N                     int
	}
	Receipt map[string]struct{ Made, Left int }
}

// state asks a simulator what it has done.
func (p *process) state(ctx context.Context) (s cloudState, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/_sim/state", nil)
	if err != nil {
		return s, err
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask the simulator for its state: %s", answer.Status)
	}
	return s, json.NewDecoder(answer.Body).Decode(&s)
}
