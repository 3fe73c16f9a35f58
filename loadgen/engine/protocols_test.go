package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	grpctest "google.golang.org/grpc/interop/grpc_testing"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// serveAll is the variable that has this program be a server of all protocols,
// so that what a benchmark takes is the generator's alone.
const serveAll = "LOADS_TEST_SERVE_ALL"

func TestMain(m *testing.M) {
	if os.Getenv(serveAll) != "" {
		if err := serveProtocols(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// addresses are where each protocol is served.
type addresses struct{ Plain, Secure, TCP, GRPC string }

// serveProtocols serves until its standard input ends.
func serveProtocols() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	lines, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := lines.Accept()
			if err != nil {
				return // the program ends
			}
			go echoLines(c)
		}
	}()
	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpctest.RegisterTestServiceServer(server, service{})
	go func() { _ = server.Serve(calls) }() // until the program ends
	at := addresses{plain.URL, secure.URL, lines.Addr().String(), "http://" + calls.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// mustServeProtocols starts the server, which ends with the benchmark.
func mustServeProtocols(b *testing.B) (at addresses) {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), serveAll+"=1")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	if err := json.NewDecoder(stdout).Decode(&at); err != nil {
		b.Fatal(err)
	}
	return at
}

// cost is what the program took for requests.
type cost struct{ cpu, allocations, requests float64 }

// measure runs a benchmark and returns what it took.
func measure(b *testing.B, cfg engine.Config) cost {
	b.Helper()
	var before, after unix.Rusage
	var memBefore, memAfter runtime.MemStats
	runtime.ReadMemStats(&memBefore)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	r := mustRun(b, b.Context(), cfg)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	runtime.ReadMemStats(&memAfter)
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "m"})
	if cell == nil || cell.Responses == 0 || cell.Errors() > 0 || cell.Invalid > 0 {
		b.Fatalf("got %+v, %+v", cell, r.Failures)
	}
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return cost{float64(cpu) / 1000, float64(memAfter.Mallocs - memBefore.Mallocs), float64(cell.Responses)}
}

// BenchmarkProtocols measures what a small request of each protocol costs the
// generator, relative to HTTP/1.1: of 32 users on kept connections, always busy.
func BenchmarkProtocols(b *testing.B) {
	at := mustServeProtocols(b)
	const request = "{httpRequest: {GET: /, metric: m}}"
	talk := func(connect, step string) string {
		return connect + "]}, {t: [{loop: {counterVar: i, repeats: 500, steps: [" + step + "]}}"
	}
	base := 0.0
	for _, p := range []struct{ name, host, extra, steps string }{
		{"HTTP/1.1", at.Plain, "", request},
		{"HTTP/1.1 over TLS", at.Secure, ", allowHttp2: false", request},
		{"HTTP/2 over TLS", at.Secure, ", allowHttp1x: false", request},
		{
			"WebSocket", at.Plain, "",
			talk("{webSocket: {connect: '"+at.Plain+"/echo', metric: c}}", "{webSocket: {send: hello, expect: hello, metric: m}}"),
		},
		{
			"TCP", at.Plain, "",
			talk("{tcp: {connect: '"+at.TCP+"', metric: c}}", `{tcp: {send: {text: "hello\r\n"}, expect: {until: "\r\n"}, metric: m}}`),
		},
		{"gRPC", at.GRPC, "", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb, message: '{}', metric: m}}"},
	} {
		b.Run(strings.ReplaceAll(p.name, " ", "-"), func(b *testing.B) {
			core := "core: 32, "
			if p.steps != request {
				core = "core: 0, "
			}
			cfg := config(b, p.host, "name: b\nhttp: {host: HOST, sharedConnections: {"+core+"max: 32}"+p.extra+"}\n"+
				"phases: [{main: {always: {users: 32, duration: 500ms, scenario: [{s: ["+p.steps+"]}]}}}]\n")
			cfg.Read = files(map[string][]byte{"shop.pb": descriptors(b)})
			cfg.Threads = 2
			var sum cost
			for b.Loop() {
				c := measure(b, cfg)
				sum = cost{sum.cpu + c.cpu, sum.allocations + c.allocations, sum.requests + c.requests}
			}
			if base == 0 {
				base = sum.cpu / sum.requests
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(sum.cpu/sum.requests, "µs/request")
			b.ReportMetric(sum.cpu/sum.requests/base, "of-HTTP/1.1")
			b.ReportMetric(sum.allocations/sum.requests, "allocs/request")
		})
	}
}
