package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

func TestHandshake(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := mustStart(t, dir), mustStart(t, t.TempDir())
	until := time.Now().Add(2 * time.Hour)
	one := mustMint(t, ours, "one", until)
	for _, row := range []struct {
		name    string
		machine machine
		client  client
		refused bool
	}{
		{"the broker and its machine", machine{server: one}, client{trust: ours}, false},
		{"another machine of the broker", machine{server: mustMint(t, ours, "two", until)}, client{trust: ours}, true},
		{"a machine of another authority", machine{server: mustMint(t, theirs, "one", until)}, client{trust: ours}, true},
		{"a client of another authority that believes us", machine{server: one}, client{trust: ours, as: mustEndpoint(t, theirs)}, true},
		{"no client certificate", machine{server: one}, client{trust: ours, nobody: true}, true},
		{"a machine in the place of the broker", machine{server: one}, client{trust: ours, pair: mustPair(t, mustMint(t, ours, "two", until))}, true},
		{"the machine's last hour", machine{server: one}, client{trust: ours, ahead: 25 * time.Hour}, false},
		{"a machine that should have gone long ago", machine{server: one}, client{trust: ours, ahead: 27 * time.Hour}, true},
		{"a machine whose clock is months behind", machine{server: one, ahead: -300 * day}, client{trust: ours}, false},
		{"a machine whose clock is years behind", machine{server: one, ahead: -2 * year}, client{trust: ours}, true},
		{"a machine whose clock is years ahead", machine{server: one, ahead: 9 * year}, client{trust: ours}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := handshake(t, row.machine, row.client)
			if (err != nil) != row.refused {
				t.Errorf("got %v, want refused: %v", err, row.refused)
			}
		})
	}
}

func TestMachinesOfBrokersBefore_StayReachableUntilForgotten(t *testing.T) {
	dir := t.TempDir()
	until := time.Now().Add(time.Hour)
	first := mustStart(t, dir)
	old := mustMint(t, first, "old", until)
	second := mustStart(t, dir)
	older := mustMint(t, second, "older", until)
	now := mustStart(t, dir)
	mustMint(t, now, "new", until)

	if err := now.Forget([]string{first.ID()}); err != nil {
		t.Fatal(err)
	}
	ep, err := now.Endpoint(first.ID(), "old", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := handshakeAs(t, machine{server: old}, clientConfig(t, ep), 0); err != nil {
		t.Errorf("the machine in use: got %v, want it reached", err)
	}
	if _, err := now.Endpoint(second.ID(), "older", "192.0.2.2"); broker.CodeOf(err) != broker.ENotFound {
		t.Errorf("the machine not in use: got %v, want it not found", err)
	}
	if err := handshakeAs(t, machine{server: older}, clientConfig(t, mustEndpoint(t, now)), 0); err == nil {
		t.Error("another authority's client certificate was taken")
	}
	if _, err := now.Endpoint(now.ID(), "new", "192.0.2.3"); err != nil {
		t.Errorf("its own authority: got %v, want it kept", err)
	}
	for _, id := range []string{"", "..", "../..", "none"} {
		if _, err := now.Endpoint(id, "x", "192.0.2.4"); broker.CodeOf(err) != broker.ENotFound {
			t.Errorf("authority %q: got %v, want it not found", id, err)
		}
	}
}

func TestStart_KeepsFilesToItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "trust")
	if err := os.MkdirAll(filepath.Join(dir, ".new-half"), 0o755); err != nil { // a broker was killed here
		t.Fatal(err)
	}
	ours := mustStart(t, dir)
	mustMint(t, ours, "one", time.Now().Add(time.Hour))
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files = append(files, d.Name())
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Neither the authority's key nor the machine's is among them.
	if want := []string{"ca.pem", "client-key.pem", "client.pem"}; !slices.Equal(files, want) {
		t.Errorf("got files %v, want %v", files, want)
	}
}

func TestStart_SaysWhatIsWrongWithTheFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := trust.Start(file)
	if err == nil || !strings.Contains(err.Error(), "keep the client certificate") || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want what failed, and where", err)
	}
}

func TestMint_RefusesWhatCanNotWork(t *testing.T) {
	ours := mustStart(t, t.TempDir())
	hour := time.Now().Add(time.Hour)
	for _, row := range []struct {
		name, token string
		until       time.Time
	}{
		{"no token", "", hour},
		{"a token with a dot", "a.b", hour},
		{"a token with a capital", "A", hour},
		{"a token that is too long", strings.Repeat("a", 64), hour},
		{"a life that is over", "a", time.Now().Add(-time.Second)},
		{"a life longer than the authority's", "a", time.Now().Add(10 * year)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := ours.Mint(row.token, row.until); broker.CodeOf(err) != broker.EInvalid {
				t.Errorf("got %v, want it refused as invalid", err)
			}
		})
	}
}

func TestEndpoint_IsUnderstoodByTheDockerClient(t *testing.T) {
	ours := mustStart(t, t.TempDir())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"ServerVersion": "20.10", "Architecture": "x86_64", "SystemTime": time.Now().Format(time.RFC3339Nano),
		})
	}))
	server.TLS = serverConfig(t, machine{server: mustMint(t, ours, "one", time.Now().Add(time.Hour))})
	server.StartTLS()
	defer server.Close()
	for token, want := range map[string]broker.Code{"one": "", "two": broker.EUnavailable} {
		ep, err := ours.Endpoint(ours.ID(), token, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if ep.Host != "tcp://127.0.0.1:2376" {
			t.Errorf("got host %s, want Docker's TLS port", ep.Host)
		}
		ep.Host = "tcp://" + server.Listener.Addr().String()
		engine, err := dockerctl.Open(ep, dockerctl.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Info(t.Context()); broker.CodeOf(err) != want {
			t.Errorf("machine one asked for as %s: got %v, want code %q", token, err, want)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A machine is the server's side of a handshake, as Docker makes it.
type machine struct {
	server trust.Server
	ahead  time.Duration // of its clock
}

// A client is the broker's side, talking to machine one.
type client struct {
	trust  *trust.Trust
	as     broker.Endpoint  // whose certificate it shows, if not its own
	pair   *tls.Certificate // likewise
	nobody bool             // shows none
	ahead  time.Duration    // of its clock
}

func handshake(t *testing.T, m machine, c client) error {
	t.Helper()
	config := clientConfig(t, mustEndpoint(t, c.trust))
	switch {
	case c.nobody:
		config.Certificates = nil
	case c.pair != nil:
		config.Certificates = []tls.Certificate{*c.pair}
	case c.as.Cert != "":
		config.Certificates = clientConfig(t, c.as).Certificates
	}
	return handshakeAs(t, m, config, c.ahead)
}

// handshakeAs joins both sides and sends a byte each way: with TLS 1.3 a
// client hears only then that it was refused.
func handshakeAs(t *testing.T, m machine, config *tls.Config, ahead time.Duration) error {
	t.Helper()
	config.Time = func() time.Time { return time.Now().Add(ahead) }
	a, b := net.Pipe()
	limit := time.Now().Add(5 * time.Minute)
	for _, end := range []net.Conn{a, b} {
		if err := end.SetDeadline(limit); err != nil {
			t.Fatal(err)
		}
		defer end.Close()
	}
	far := make(chan error, 1)
	go func() {
		far <- talk(tls.Server(b, serverConfig(t, m)))
		_ = b.Close()
	}()
	err := talk(tls.Client(a, config))
	_ = a.Close()
	return errors.Join(err, <-far)
}

func talk(c *tls.Conn) error {
	if err := c.Handshake(); err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte{1})
		wrote <- err
	}()
	_, err := c.Read(make([]byte, 1))
	return errors.Join(err, <-wrote)
}

func serverConfig(t *testing.T, m machine) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(m.server.CA) {
		t.Fatal("the machine's CA is no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*mustPair(t, m.server)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool,
		Time: func() time.Time { return time.Now().Add(m.ahead) },
	}
}

func clientConfig(t *testing.T, ep broker.Endpoint) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(ep.CA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(ep.Cert, ep.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: ep.ServerName}
}

func mustStart(t *testing.T, dir string) *trust.Trust {
	t.Helper()
	tr, err := trust.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustMint(t *testing.T, tr *trust.Trust, token string, until time.Time) trust.Server {
	t.Helper()
	s, err := tr.Mint(token, until)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPair(t *testing.T, s trust.Server) *tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

func mustEndpoint(t *testing.T, tr *trust.Trust) broker.Endpoint {
	t.Helper()
	ep, err := tr.Endpoint(tr.ID(), "one", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	return ep
}
