package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// listen returns a listener on this computer, and its address.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().String()
}

// httpsServer speaks HTTP/2 too.
func httpsServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// chatServer sends WebSocket messages back.
func chatServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// cacheServer answers lines, as Redis answers PING.
func cacheServer(t *testing.T) string {
	t.Helper()
	l, address := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if _, err := io.WriteString(c, "+PONG\r\n"); err != nil || lines.Text() != "PING" {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return address
}

// healthServer is gRPC's own service of health.
func healthServer(t *testing.T) string {
	t.Helper()
	l, address := listen(t)
	server := grpc.NewServer()
	service := health.NewServer()
	service.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, service)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + address
}

// patientExamples is a folder with the examples, whose timeouts are longer than a
// busy computer keeps answers waiting.
func patientExamples(t *testing.T) string {
	t.Helper()
	const from = "../../examples/benchmarks"
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.ReplaceAll(data, []byte("timeout: 5s"), []byte("timeout: 2m"))
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// The examples run, and the summary has what they did.
func TestGenSpeaksAllProtocols(t *testing.T) {
	examples := patientExamples(t)
	for _, c := range []struct {
		file    string
		server  string
		params  []string
		metrics []string
		status  int // of the answers, 0 for none
	}{
		{"https.yaml", "HOST=" + httpsServer(t), nil, []string{"look"}, http.StatusOK},
		{"websocket.yaml", "HOST=" + chatServer(t), nil, []string{"open", "say", "close"}, 0},
		{"tcp.yaml", "ADDRESS=" + cacheServer(t), nil, []string{"ask"}, 0},
		{"grpc.yaml", "HOST=" + healthServer(t), []string{"--param", "SERVICE=shop"}, []string{"check"}, http.StatusOK},
	} {
		t.Run(c.file, func(t *testing.T) {
			args := append([]string{
				"gen", filepath.Join(examples, c.file), "--json", "--quiet", "--max-lag=-1s", "--max-steal=-1", "--param", c.server,
				"--param", "RATE=100", "--param", "DURATION=1s",
			}, c.params...)
			status, stdout, stderr := runMain(args...)
			var s summary
			if err := json.Unmarshal([]byte(stdout), &s); err != nil || status != 0 || len(s.Failures) != 0 {
				t.Fatalf("got exit status %d, %v: %s%s", status, err, stdout, stderr)
			}
			var names []string
			for _, m := range s.Metrics {
				names = append(names, m.Metric)
				if m.Responses < 50 || m.Responses != m.Requests || m.Invalid != 0 || m.Latency.Count != float64(m.Requests) || m.Latency.Max < m.Service.Max {
					t.Errorf("%s: got %+v", m.Metric, m)
				}
				if c.status != 0 && (len(m.Statuses) != 1 || m.Statuses[0].Status != c.status || m.Statuses[0].Count != m.Requests) {
					t.Errorf("%s: got statuses %+v, want %d only", m.Metric, m.Statuses, c.status)
				}
			}
			if got, want := strings.Join(names, " "), strings.Join(c.metrics, " "); !sameWords(got, want) {
				t.Errorf("got the metrics %s, want %s", got, want)
			}
		})
	}
}

// sameWords reports whether two texts have the same words in any order.
func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
