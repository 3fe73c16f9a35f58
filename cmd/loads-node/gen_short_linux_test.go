package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/internal/waittest"
)

// alone moves this test, with the processes that it starts, to a network of its
// own that has a loopback interface and so many ports to connect from. The
// thread ends with the test.
func alone(t *testing.T, ports int) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace, which needs root: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	const first = 20000
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", first, first+ports-1), 0); err != nil {
		t.Fatal(err)
	}
}

// holding accepts connections until the test ends, and does nothing with them.
func holding(t *testing.T, listen string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// shortOf is a benchmark of three users at once, with a step and settings of its endpoint.
func shortOf(t *testing.T, address, settings, step string) string {
	t.Helper()
	return writeFile(t, fmt.Sprintf("name: short\nhttp: {host: %s, sharedConnections: {core: 0, max: 3}%s}\n"+
		"phases: [{main: {atOnce: {users: 3, scenario: [{s: [%s]}]}}}]\n", address, settings, step))
}

// TestGenNamesTheLackOfPorts takes all ports that there are to connect from. No
// protocol can make a connection then, which is no fault of the server.
func TestGenNamesTheLackOfPorts(t *testing.T) {
	const ports = 4
	alone(t, ports)
	address := holding(t, "127.0.0.1:7")
	for left := ports; ; left-- {
		c, err := net.Dial("tcp", address)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
		if err != nil || left == 0 {
			t.Fatalf("got %v after %d connections, want no port to be left", err, ports-left)
		}
		defer func() { _ = c.Close() }()
	}
	health, err := filepath.Abs("../../examples/benchmarks/health.pb")
	if err != nil {
		t.Fatal(err)
	}
	get := "httpRequest: {GET: /, sla: {blockedRatio: 1}}"
	for name, file := range map[string]string{
		"HTTP/1.1":       shortOf(t, "http://"+address, "", "{"+get+"}"),
		"HTTP/2":         shortOf(t, "http://"+address, ", directHttp2: true", "{"+get+"}"),
		"TLS":            shortOf(t, "https://"+address, "", "{"+get+"}"),
		"WebSocket":      shortOf(t, "http://"+address, ", name: chat", "{webSocket: {endpoint: chat, connect: /}}"),
		"TCP":            shortOf(t, "http://"+address, "", "{tcp: {connect: '"+address+"'}}"),
		"gRPC":           shortOf(t, "http://"+address, ", directHttp2: true", "{grpc: {method: grpc.health.v1.Health/Check, descriptors: "+health+", message: '{}'}}"),
		"from the start": strings.Replace(shortOf(t, "http://"+address, "", "{"+get+"}"), "core: 0", "core: 3", 1),
	} {
		// Subtests would run on threads of their own.
		gen := start(t, nil, "gen", file, "--json", "--quiet", "--max-lag=-1s", "--max-steal=-1")
		if status := gen.end(); status != 3 || !strings.Contains(gen.stdout.String()+gen.stderr.String(), "since this machine had no port left") {
			t.Errorf("%s: got exit status %d, %s%s, want 3 and what is lacking", name, status, gen.stdout, gen.stderr)
		}
		if name == "from the start" {
			continue
		}
		var s summary
		if err := json.Unmarshal([]byte(gen.stdout.String()), &s); err != nil || s.Verdict != "INVALID" || s.Generator.Ports != 3 || s.Generator.Sockets != 0 {
			t.Errorf("%s: got %v, %+v, want INVALID for 3 ports", name, err, s)
		}
	}
}

// TestGenNamesTheLackOfSockets runs it with fewer descriptors than it has users,
// none of whom gets an answer.
func TestGenNamesTheLackOfSockets(t *testing.T) {
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	const users, files = 100, 60
	file := writeFile(t, fmt.Sprintf("name: short\nhttp: {host: 'http://%s', requestTimeout: 1s, sharedConnections: {core: 0, max: %d}}\n"+
		"phases: [{main: {atOnce: {users: %[2]d, scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]}}}]\n", holding(t, "127.0.0.1:0"), users))
	cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec %s gen %s --json --quiet --threads 1 --max-lag=-1s --max-steal=-1", files, program, file))
	out, err := cmd.Output()
	var s summary
	if bad := json.Unmarshal(out, &s); bad != nil {
		t.Fatalf("%v, %v: %s", err, bad, out)
	}
	if code := cmd.ProcessState.ExitCode(); code != 3 || s.Generator.Sockets < users-files || s.Generator.Ports != 0 {
		t.Errorf("got exit status %d, %v, %+v, want 3 and at least %d sockets", code, err, s.Generator, users-files)
	}
	if !one(s.Invalid, "had no socket left: raise the limit of open files") {
		t.Errorf("got %q", s.Invalid)
	}
}

// one reports whether a list has one text, in which there is another.
func one(list []string, part string) bool { return len(list) == 1 && strings.Contains(list[0], part) }

// TestGenIsInvalidWhenItGotNoProcessor stops the process for part of its time,
// as a busy computer does.
func TestGenIsInvalidWhenItGotNoProcessor(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	gen := start(t, nil, "gen", writeFile(t, fmt.Sprintf("name: stopped\nhttp: {host: %s, sharedConnections: 10}\n"+
		"usersPerSec: 100\nduration: 20s\nvariance: false\nscenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]\n", server.URL)),
		"--json", "--quiet", "--max-steal=-1")
	waittest.Until(t, "requests come", 5*time.Minute, func() bool { return asked.Load() > 0 })
	stopProcess(t, gen)
	<-time.After(500 * time.Millisecond) // is what it lacks
	before := asked.Load()
	sendSignal(t, gen, syscall.SIGCONT)
	waittest.Until(t, "those come that were due", 5*time.Minute, func() bool { return asked.Load() > before+60 })
	status := gen.terminate(t, syscall.SIGTERM)
	var s summary
	if err := json.Unmarshal([]byte(gen.stdout.String()), &s); err != nil {
		t.Fatal(err)
	}
	if status != 3 || len(s.Invalid) == 0 || !strings.HasPrefix(s.Invalid[0], "the generator started users late") || s.Generator.LagMS < 200 {
		t.Errorf("got exit status %d, %q, %+v, want 3 and that users were started late", status, s.Invalid, s.Generator)
	}
}

// TestGenSaysHowLateItBegan has it come up after the time at which it was to begin.
func TestGenSaysHowLateItBegan(t *testing.T) {
	for _, tt := range []struct {
		name    string
		late    time.Duration
		args    []string
		status  int
		invalid bool
	}{
		{"later than may be", 5 * time.Second, nil, 3, true},
		{"less than may be", 5 * time.Second, []string{"--max-late=1h"}, 0, false},
		{"no limit", 5 * time.Second, []string{"--max-late=-1s"}, 0, false},
		{"no limit of being late at all", 5 * time.Second, []string{"--max-lag=-1s"}, 0, false},
		{"in time", -200 * time.Millisecond, []string{"--max-lag=-1s"}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			relay, statsd := startRelay(t)
			env := append(environment(statsd), "STATSD_SOCKET=/run/loads/statsd.sock", fmt.Sprint("LOADS_START_AT=", time.Now().Add(-tt.late).UnixMilli()))
			args := append([]string{"gen", benchmarkFile(t, "{blockedRatio: 1}", ""), "--json", "--quiet", "--max-steal=-1", "--max-core=-1"}, tt.args...)
			if len(tt.args) == 0 || !strings.HasPrefix(tt.args[0], "--max-lag") {
				args = append(args, "--max-lag=1h")
			}
			gen := start(t, env, args...)
			status := gen.end()
			var s summary
			if err := json.Unmarshal([]byte(gen.stdout.String()), &s); err != nil || status != tt.status {
				t.Fatalf("got exit status %d, %v: %s%s, want %d", status, err, gen.stdout, gen.stderr, tt.status)
			}
			all, _ := endRelay(t, relay, syscall.SIGTERM)
			if tt.late < 0 {
				if s.Generator.LateMS > 0 && all["gen.late"].Count == 0 {
					t.Errorf("it was %v ms late, and nothing was told", s.Generator.LateMS)
				}
				return
			}
			ms := float64(tt.late.Milliseconds())
			if s.Generator.LateMS < ms || all["gen.late"].Value != s.Generator.LateMS {
				t.Errorf("it was %v ms late by its summary, %v by its frames, want %v or more by both", s.Generator.LateMS, all["gen.late"].Value, ms)
			}
			said, note := s.Notes, all["gen.note"].Count
			if tt.invalid {
				said, note = s.Invalid, all["gen.invalid"].Count
			}
			if !one(said, "this machine began ") || note != 1 {
				t.Errorf("got notes %q, invalid %q, and frames with %v of them, want how late it began", s.Notes, s.Invalid, note)
			}
		})
	}
}
