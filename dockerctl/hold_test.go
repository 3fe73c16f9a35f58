package dockerctl_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

func TestStartAt(t *testing.T) {
	b := mustBench(t)
	for _, row := range []struct {
		name string
		ep   broker.Endpoint
	}{
		{"by the socket", dockertest.Endpoint()},
		{"by mutual TLS", secured(t)},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, err := dockerctl.Open(row.ep, dockerctl.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			part := strings.ReplaceAll(row.name, " ", "-")

			// A held start that is given up does not happen, and the next does.
			id := b.create(b.spec(part, "exit", "0"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			wantCode(t, e.StartAt(ctx, id, time.Now().Add(time.Hour)), broker.EUnavailable)
			at := time.Now().Add(time.Second)
			if c := b.inspect(id); c.Started() {
				t.Fatalf("got a start at %v, want none as it was given up", c.StartedAt)
			}
			if err := e.StartAt(t.Context(), id, at); err != nil {
				t.Fatal(err)
			}
			if c := b.inspect(id); c.StartedAt.Before(at.Add(-slack)) {
				t.Errorf("got a start at %v, %v early", c.StartedAt, at.Sub(c.StartedAt))
			}
			if err := b.Wait(t.Context(), id); err != nil {
				t.Fatal(err)
			}

			// What has ended stays as it is.
			ended := b.inspect(id)
			if err := e.StartAt(t.Context(), id, time.Now()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ended, b.inspect(id)); diff != "" {
				t.Errorf("started again (-want +got):\n%s", diff)
			}

			// A time that has passed is now.
			late := b.create(b.spec(part+"-late", "exit", "0"))
			if err := e.StartAt(t.Context(), late, time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			if !b.inspect(late).Started() {
				t.Error("got no start of what was due before")
			}
		})
	}
}

// slack is how much earlier a start may be than its time: half of what a packet
// takes to go around this computer when it is busy.
const slack = 100 * time.Millisecond

// secured is the engine of this computer behind mutual TLS.
func secured(t *testing.T) broker.Endpoint {
	t.Helper()
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(dockertest.Endpoint().Host, "unix://"))
		}},
	})
	front.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	front.StartTLS()
	t.Cleanup(front.Close)
	key, err := x509.MarshalPKCS8PrivateKey(front.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	save := func(name, kind string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	certificate := save("cert.pem", "CERTIFICATE", front.Certificate().Raw)
	return broker.Endpoint{
		Host: "tcp://" + front.Listener.Addr().String(), CA: certificate, Cert: certificate, Key: save("key.pem", "PRIVATE KEY", key),
	}
}
