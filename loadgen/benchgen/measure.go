//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// load is what all programs make in turn.
type load struct {
	address     netip.AddrPort
	connections int
	rate        float64 // requests a second on a timetable; 0 is a closed loop
	seconds     int
	threads     int
	grain       time.Duration
}

func (l load) url() string { return "http://" + l.address.String() + "/" }

// outcome is one measurement.
type outcome struct {
	requests, failed float64
	p50, p99         float64 // ms, as the program tells them
	cpu              float64 // seconds of user and system mode
}

// perCPU returns requests a CPU-second of the generator.
func (o outcome) perCPU() float64 { return o.requests / o.cpu }

// pinned returns a command that runs on the given cores.
func (s settings) pinned(ctx context.Context, cores string, args []string) *exec.Cmd {
	priority := []string{"nice", "-n", "-20"}
	if s.realtime {
		priority = []string{"chrt", "--rr", "10"}
	}
	all := slices.Concat(priority, []string{"taskset", "-c", cores}, args)
	return exec.CommandContext(ctx, all[0], all[1:]...)
}

// measure runs a program to its end.
func (s settings) measure(ctx context.Context, p program, at load) (o outcome, err error) {
	own, err := os.MkdirTemp("", "bench-gen-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(own)
	path, err := p.path(s.dir)
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute+2*time.Duration(at.seconds)*time.Second)
	defer cancel()
	cmd := s.pinned(ctx, s.generatorCores, append([]string{path}, p.args(at, own)...))
	cmd.Dir = own
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Go's programs take as many threads as they have cores, which they are not told by all means.
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(at.threads))
	if err := cmd.Run(); err != nil {
		return o, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	o.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if err := p.read(result{dir: s.dir, own: own, output: stdout.Bytes()}, &o); err != nil {
		return o, fmt.Errorf("read its result: %w", err)
	}
	if o.requests == 0 {
		return o, fmt.Errorf("it made no requests: %s", bytes.TrimSpace(stderr.Bytes()))
	}
	return o, nil
}

// server is a running nginx.
type server struct {
	address netip.AddrPort
	cmd     *exec.Cmd
	dir     string
}

// configuration of nginx: an answer of 18 bytes from memory, connections
// without end. Each worker has a socket of its own, or one would get most connections.
const configuration = `
worker_processes %[3]d;
daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s reuseport backlog=4096;
		location / { return 200 "hello from nginx.\n"; }
	}
}
`

// startServer starts nginx on a free port and waits until it answers.
func (s settings) startServer(ctx context.Context) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-gen-nginx-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, dir, address, count(s.serverCores)), 0o600); err != nil {
		return nil, err
	}
	nginx, err := program{binary: "nginx"}.path(s.dir)
	if err != nil {
		return nil, err
	}
	v := &server{address: address, dir: dir}
	v.cmd = s.pinned(ctx, s.serverCores, []string{nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file})
	v.cmd.Cancel = func() error { return v.cmd.Process.Signal(syscall.SIGTERM) }
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address.String()); err == nil {
			return v, c.Close()
		}
	}
	text, _ := os.ReadFile(filepath.Join(dir, "error.log"))
	v.stop()
	return nil, errors.New("it does not listen after 15 s: " + string(text))
}

func freeAddress() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

func (v *server) stop() {
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	_ = v.cmd.Wait() // SIGTERM is how it ends
	_ = os.RemoveAll(v.dir)
}
