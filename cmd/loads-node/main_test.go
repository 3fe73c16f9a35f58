package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
)

// binary is the program, built once as the image has it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "loads-node-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "loads-node")
	build := exec.Command("go", "build", "-o", file, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if file, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(status)
}

// process is the program under test.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *text
}

// text is output that can be read while it grows.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(file, args...), stdout: &text{}, stderr: &text{}}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil { // not ended by the test
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// end waits for the process and returns its exit status.
func (p *process) end() int {
	killer := time.AfterFunc(5*time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	_ = p.cmd.Wait() // its error is the status
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) terminate(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	return p.end()
}

// await waits until the output matches, and returns the first group.
func await(t *testing.T, out *text, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	if !waittest.Holds(5*time.Minute, func() bool { found = re.FindStringSubmatch(out.String()); return found != nil }) {
		t.Fatalf("no %q in %q", pattern, out)
	}
	return found[1]
}

func startRelay(t *testing.T, args ...string) (p *process, statsd string) {
	t.Helper()
	for {
		p = start(t, nil, append([]string{"relay", "--listen", "127.0.0.1:0"}, args...)...)
		statsd = await(t, p.stderr, `statsd is received.* address=(\S+)`)
		// A port that is free for UDP need not be so for TCP.
		taken := func() bool { return strings.Contains(p.stderr.String(), "address already in use") }
		waittest.Until(t, "a frame", 5*time.Minute, func() bool { return p.stdout.String() != "" || taken() })
		if !taken() {
			return p, statsd
		}
	}
}

// endRelay ends the relay, checks its frames' numbers and returns the summary
// and the ledger of the final frame.
func endRelay(t *testing.T, p *process, sig os.Signal) (map[string]metrics.MetricSummary, metrics.Received) {
	t.Helper()
	if status := p.terminate(t, sig); status != 0 {
		t.Fatalf("relay: got exit status %d, want 0: %s", status, p.stderr)
	}
	series := metrics.NewSeries()
	var last metrics.Frame
	for i, line := range strings.Split(strings.TrimSuffix(p.stdout.String(), "\n"), "\n") {
		f, err := metrics.Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if f.Seq != uint64(i+1) || last.Final {
			t.Fatalf("got frame %d after %d, final %v", f.Seq, last.Seq, last.Final)
		}
		series.Add("a", 0, f)
		last = f
	}
	if !last.Final {
		t.Error("the last frame is not final")
	}
	byName := make(map[string]metrics.MetricSummary)
	for _, m := range series.Summary().Metrics {
		byName[m.Name] = m
	}
	return byName, last.Ledger
}

func environment(statsd string) []string {
	host, port, _ := net.SplitHostPort(statsd)
	return []string{"STATSD_HOST=" + host, "STATSD_PORT=" + port}
}

func TestRelayProcessLosesNothing(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			relay, statsd := startRelay(t)
			conn, err := net.Dial("udp", statsd)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			const packets = 1000
			begun := time.Now()
			for i := range packets {
				if _, err := fmt.Fprintf(conn, "hits:1|c\nlat:%d|ms|@0.5|#a:b", i); err != nil {
					t.Fatal(err)
				}
				if i%100 == 99 && time.Since(begun) < 1500*time.Millisecond {
					<-time.After(150 * time.Millisecond) // so that it takes more than a frame
				}
			}
			got, ledger := endRelay(t, relay, sig)
			if got["hits"].Count != packets || got["lat"].Count != 2*packets || got["lat"].Max != packets-1 {
				t.Errorf("got %v hits, %v latencies up to %v, want %d, %d, %d", got["hits"].Count, got["lat"].Count,
					got["lat"].Max, packets, 2*packets, packets-1)
			}
			if want := (metrics.Received{Datagrams: packets, Values: 2 * packets}); ledger != want {
				t.Errorf("ledger: got %+v, want %+v", ledger, want)
			}
		})
	}
}

func TestRelayProcessResolvesNames(t *testing.T) {
	names := filepath.Join(t.TempDir(), "names.json")
	if err := os.WriteFile(names, []byte(`{"web": ["172.18.0.1"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	relay, _ := startRelay(t, "--dns", "127.0.0.1:0", "--names", names)
	dns := await(t, relay.stderr, `names are resolved.* address=(\S+)`)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, dns)
	}}
	if got, err := r.LookupHost(t.Context(), "web."); err != nil || len(got) != 1 || got[0] != "172.18.0.1" {
		t.Errorf("got %v, %v, want 172.18.0.1", got, err)
	}
	endRelay(t, relay, syscall.SIGTERM)
}

// The whole way of a request: to the relay's own, and as to any receiver.
func TestGeneratorAndServiceReportToTheRelay(t *testing.T) {
	for name, more := range map[string][]string{"sketches": {"STATSD_SOCKET=/run/loads/statsd.sock"}, "statsd": nil} {
		t.Run(name, func(t *testing.T) { reportToTheRelay(t, more) })
	}
}

func reportToTheRelay(t *testing.T, more []string) {
	relay, statsd := startRelay(t)
	env := append(environment(statsd), more...)
	web := start(t, env, "serve", "--listen", "127.0.0.1:0", "--delay", "5ms", "--jitter", "1ms", "--error-rate", "0.3")
	address := await(t, web.stdout, `listening on (\S+)\n`)
	startAt := time.Now().Add(500 * time.Millisecond)
	gen := start(t, append(env, fmt.Sprint("LOADS_START_AT=", startAt.UnixMilli()), "RATE=100", "URL=http://"+address),
		"gen", "--duration", "1s", "--timeout", "2m")
	if status := gen.end(); status != 0 {
		t.Errorf("gen: got exit status %d, want 0: %s", status, gen.stderr)
	}
	if took := time.Since(startAt); took < 990*time.Millisecond {
		t.Errorf("the generator ended %s after its start, want a second", took)
	}
	if status := web.terminate(t, syscall.SIGTERM); status != 0 {
		t.Errorf("serve: got exit status %d, want 0: %s", status, web.stderr)
	}
	got, ledger := endRelay(t, relay, syscall.SIGTERM)
	if got["req.count"].Count != 100 || got["req.latency"].Count != 100 || got["web.requests"].Count != 100 || ledger.Malformed != 0 {
		t.Errorf("got %v requests, %v latencies, %v served, %d malformed, want 100, 100, 100, 0",
			got["req.count"].Count, got["req.latency"].Count, got["web.requests"].Count, ledger.Malformed)
	}
	if n := got["req.errors"].Count; n < 10 || n > 60 {
		t.Errorf("got %v errors, want about 30", n)
	}
	if m := got["req.latency"]; m.Min < 5 {
		t.Errorf("least latency: got %v ms, want 5 at least", m.Min)
	}
	if want := "PASS after"; !strings.Contains(gen.stdout.String(), want) {
		t.Errorf("gen said %q, want %q in it", gen.stdout, want)
	}
}

func TestServiceAnswersItsPaths(t *testing.T) {
	web := start(t, nil, "serve", "--listen", "127.0.0.1:0")
	address := await(t, web.stdout, `listening on (\S+)\n`)
	for path, want := range map[string]int{"/": 200, "/health": 200, "/nowhere": 404} {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
			t.Fatal(err, closeErr)
		}
		if resp.StatusCode != want || len(body) == 0 {
			t.Errorf("%s: got status %d, %d bytes, want %d, some", path, resp.StatusCode, len(body), want)
		}
	}
}

func TestSleepTicksAndEndsAsTold(t *testing.T) {
	relay, statsd := startRelay(t)
	p := start(t, environment(statsd), "sleep", "2100ms", "--exit", "7", "--print", "good night")
	if status := p.end(); status != 7 || p.stdout.String() != "good night\n" {
		t.Errorf("got exit status %d, output %q, want 7, good night", status, p.stdout)
	}
	got, _ := endRelay(t, relay, syscall.SIGTERM)
	if got["sleep.ticks"].Count != 2 {
		t.Errorf("got %v ticks, want 2", got["sleep.ticks"].Count)
	}
}

func TestSleepPrintsLinesAsTold(t *testing.T) {
	p := start(t, nil, "sleep", "100ms", "--print", "line {n}", "--repeat", "3")
	if status := p.end(); status != 0 || p.stdout.String() != "line 1\nline 2\nline 3\n" {
		t.Errorf("got exit status %d, output %q, want 0 and three lines", status, p.stdout)
	}
}

func TestSleepEndsEarlyWhenTold(t *testing.T) {
	p := start(t, nil, "sleep", "--exit", "7", "--print", "sleeping", "1h")
	await(t, p.stdout, `(sleeping)`)
	if status := p.terminate(t, syscall.SIGTERM); status != 0 {
		t.Errorf("got exit status %d, want 0", status)
	}
}

func TestGeneratorEndsEarlyWhenTold(t *testing.T) {
	web := start(t, nil, "serve", "--listen", "127.0.0.1:0")
	address := await(t, web.stdout, `listening on (\S+)\n`)
	relay, statsd := startRelay(t)
	gen := start(t, environment(statsd), "gen", "--url", "http://"+address, "--rate", "50", "--duration", "1h", "--timeout", "2m")
	await(t, relay.stdout, `(req\.count)`)
	if status := gen.terminate(t, syscall.SIGTERM); status != 0 || !strings.Contains(gen.stdout.String(), "stopped early") {
		t.Errorf("got exit status %d, %q, want 0 and stopped early", status, gen.stdout)
	}
	endRelay(t, relay, syscall.SIGTERM)
}

func TestProgramRefusesBadUsage(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "Commands:"},
		{"unknown command", []string{"fly"}, `unknown command "fly"`},
		{"unknown flag", []string{"serve", "--nope"}, "-nope"},
		{"argument too many", []string{"serve", "now"}, `got 1 arguments ["now"], want 0`},
		{"relay without an address", []string{"relay"}, "--listen is missing"},
		{"relay on an address that isn't ours", []string{"relay", "--listen", "192.0.2.1:8125"}, "listen for statsd on 192.0.2.1:8125"},
		{"relay with a bad address for names", []string{"relay", "--listen", "127.0.0.1:0", "--dns", "192.0.2.1:53"}, "listen for name queries on 192.0.2.1:53"},
		{"relay with log metrics that are not there", []string{"relay", "--listen", "127.0.0.1:0", "--log-metrics", "/no/such/file"}, "read log metrics"},
		{"service with a bad rate", []string{"serve", "--error-rate", "2"}, "error rate 2"},
		{"generator without a url", []string{"gen"}, `url is ""`},
		{"generator with a bad rate", []string{"gen", "--url", "http://127.0.0.1:1", "--rate", "many"}, `"many"`},
		{"generator without a service", []string{"gen", "--url", "http://127.0.0.1:1", "--duration", "100ms"}, "all requests failed"},
		{"sleep without a duration", []string{"sleep"}, "want 1"},
		{"sleep with a bad duration", []string{"sleep", "long"}, `duration is "long"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := 1
			if strings.Contains(c.name, "generator with a bad") || c.name == "generator without a url" {
				want = 2 // 1 says that the load was generated, and a limit not kept
			}
			p := start(t, nil, c.args...)
			if status := p.end(); status != want || !strings.Contains(p.stderr.String()+p.stdout.String(), c.want) {
				t.Errorf("got exit status %d, %q%q, want %d and %q", status, p.stderr, p.stdout, want, c.want)
			}
		})
	}
}

func TestProgramHelps(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"relay", "-h"}, {"version"}} {
		p := start(t, nil, args...)
		if status := p.end(); status != 0 || p.stdout.String()+p.stderr.String() == "" {
			t.Errorf("%v: got exit status %d, %q, want 0 and a text", args, status, p.stdout)
		}
	}
}
