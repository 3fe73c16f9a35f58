package dockerctl_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
)

func TestOpen_RefusesBadEndpoints(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		ep   broker.Endpoint
		says string
	}{
		{"nothing", broker.Endpoint{}, "must begin with unix://, tcp:// or ssh://"},
		{"a path", broker.Endpoint{Host: "/var/run/docker.sock"}, "must begin with unix://"},
		{"http", broker.Endpoint{Host: "http://127.0.0.1:2375"}, "must begin with unix://"},
		{"a socket by a relative path", broker.Endpoint{Host: "unix://docker.sock"}, "absolute path"},
		{"tcp without a port", broker.Endpoint{Host: "tcp://127.0.0.1"}, "must be tcp://host:port"},
		{"tcp on the network without TLS", broker.Endpoint{Host: "tcp://192.0.2.1:2375"}, "needs ca, cert and key"},
		{"tcp with a name without TLS", broker.Endpoint{Host: "tcp://docker.example:2375"}, "needs ca, cert and key"},
		{"TLS without a client certificate", broker.Endpoint{Host: "tcp://192.0.2.1:2376", CA: "/etc/hosts"}, "needs cert"},
		{"TLS with a file that is not there", broker.Endpoint{Host: "tcp://192.0.2.1:2376", CA: "/none", Cert: "/none", Key: "/none"}, "ca file that can't be read: /none"},
		{"TLS with a file that is no certificate", broker.Endpoint{Host: "tcp://192.0.2.1:2376", CA: "/etc/hosts", Cert: "/etc/hosts", Key: "/etc/hosts"}, "can't be used"},
		{"certificates for a socket", broker.Endpoint{Host: "unix:///x.sock", CA: "/etc/hosts"}, "only tcp:// endpoints use"},
		{"a server name without certificates", broker.Endpoint{Host: "tcp://127.0.0.1:2375", ServerName: "m.example"}, "only endpoints with certificates use"},
		{"ssh with a password", broker.Endpoint{Host: "ssh://me:secret@host"}, "not a valid ssh:// endpoint"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := dockerctl.Open(row.ep, dockerctl.Options{})
			wantCode(t, err, broker.EInvalid)
			if err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %q, want %q in it", err, row.says)
			}
			if e, err := dockerctl.NewDialer(dockerctl.Options{})(row.ep); err == nil || e != nil {
				t.Errorf("dialer: got %v, %v; want nil and an error", e, err)
			}
		})
	}
}

func TestEngine_IsUnavailableWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, row := range []struct{ name, host string }{
		{"no socket", "unix:///nowhere/docker.sock"},
		{"no listener", "tcp://127.0.0.1:1"},
		{"a listener that says nothing", "tcp://" + silent.Addr().String()},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, err := dockerctl.Open(broker.Endpoint{Host: row.host}, dockerctl.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err = e.Info(ctx)
			wantCode(t, err, broker.EUnavailable)
			if err != nil && !strings.Contains(err.Error(), row.host) {
				t.Errorf("got %q, want it to name %s", err, row.host)
			}
			_, err = e.List(ctx, nil)
			wantCode(t, err, broker.EUnavailable)
			wantCode(t, e.Wait(ctx, "x"), broker.EUnavailable)
			wantCode(t, e.Logs(ctx, "x", broker.LogOptions{Follow: true}, nil, nil), broker.EUnavailable)
		})
	}
}

// Loopback addresses are never reached by a proxy, so the engine has another name
// here, as rented machines have.
func TestEngine_IsReachedWithoutTheProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	ep := secured(t)
	ep.ServerName = "example.com" // which is in the certificate
	e, err := dockerctl.Open(ep, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Info(t.Context()); err != nil {
		t.Error(err)
	}
	if n := proxied.Load(); n > 0 {
		t.Errorf("%d calls went to the proxy, want none", n)
	}
}

func TestInfo_MeasuresTheClock(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	info, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || info.Architecture != "amd64" && info.Architecture != "arm64" {
		t.Errorf("got version %q and architecture %q, want both", info.Version, info.Architecture)
	}
	// The engine's clock is ours, so that it is off by no more than the error.
	if info.Error <= 0 || info.Error > time.Minute || info.Offset.Abs() > info.Error {
		t.Errorf("got offset %v, error %v; want the offset within the error", info.Offset, info.Error)
	}
}

func TestEngine_SpeaksThroughSSH(t *testing.T) {
	// In place of ssh, a program that notes what it is asked, and joins us to
	// the engine here, as "docker system dial-stdio" does on the other host.
	dir := t.TempDir()
	noted := filepath.Join(dir, "arguments")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" > %s\nexec %s dial /var/run/docker.sock\n", noted, probe)
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	e, err := dockerctl.Open(broker.Endpoint{Host: "ssh://loads@gen.example:2222"}, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	args, err := os.ReadFile(noted)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BatchMode=yes", "ServerAliveInterval=15", "-l loads", "-p 2222", "gen.example", "docker system dial-stdio"} {
		if !strings.Contains(string(args), want) {
			t.Errorf("got ssh %q, want %q in it", args, want)
		}
	}
	if strings.Contains(string(args), "StrictHostKeyChecking") {
		t.Errorf("got ssh %q, want host keys checked as the user's own ssh does", args)
	}
}
