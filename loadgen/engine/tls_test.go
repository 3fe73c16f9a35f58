package engine_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// secure is a benchmark of one request of each of ten users.
const secure = `
name: b
http: {host: HOST, sharedConnections: 4, allowHttp2: false EXTRA}
phases:
- main: {atOnce: {users: 10, scenario: [{s: [{httpRequest: {POST: /, body: hello, sla: {blockedRatio: 1}}}]}]}}
`

// secureServer is an HTTPS server; set changes it before it starts.
func secureServer(t *testing.T, f http.HandlerFunc, set ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, s := range set {
		s(server)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func certificate(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// files reads what is in a map, as engine.Config.Read does.
func files(list map[string][]byte) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if data, ok := list[name]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("open %s: %w", name, os.ErrNotExist)
	}
}

// mainCell returns what was counted of a metric of phase main.
func mainCell(r *engine.Result, metric string) *stats.Cell {
	if cell := r.Totals.Find(stats.Key{Phase: "main", Metric: metric}); cell != nil {
		return cell
	}
	return &stats.Cell{}
}

func TestHTTPS(t *testing.T) {
	var versions atomic.Int64
	server := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.TLS != nil && r.ProtoMajor == 1 && string(body) == "hello" {
			versions.Add(1)
		}
	})
	r := mustRun(t, t.Context(), config(t, server.URL, strings.Replace(secure, "EXTRA", "", 1)))
	cell := mainCell(r, "s")
	if cell.Responses != 10 || cell.Class(2) != 10 || versions.Load() != 10 || r.Failed() {
		t.Errorf("got %+v, %d right requests, want 10", cell.Counts, versions.Load())
	}
	if cell.Service.Count() != 10 || cell.Service.Max() > cell.Latency.Max() || cell.BytesOut < 10*50 || cell.BytesIn < 10*50 {
		t.Errorf("got %+v, %v service times", cell.Counts, cell.Service.Count())
	}
}

func TestServersThatAreNotTrusted(t *testing.T) {
	server, other := secureServer(t, ok), secureServer(t, ok, func(s *httptest.Server) { s.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}} })
	for _, c := range []struct {
		name   string
		server *httptest.Server
		want   int64
	}{{"its own certificate", server, 10}, {"another certificate", other, 0}} {
		t.Run(c.name, func(t *testing.T) {
			file := strings.Replace(secure, "EXTRA", ", trustManager: {certFile: ca.pem}", 1)
			cfg := config(t, c.server.URL, strings.Replace(file, "sharedConnections: 4", "sharedConnections: {core: 0, max: 4}", 1))
			cfg.Read, cfg.Patient = files(map[string][]byte{"ca.pem": certificate(server)}), true
			r := mustRun(t, t.Context(), cfg)
			cell := mainCell(r, "s")
			if cell.Responses != c.want || cell.Connections != 10-c.want {
				t.Errorf("got %+v, want %d answers, and errors of the connection otherwise", cell.Counts, c.want)
			}
			if c.want == 0 && (len(r.Failures) == 0 || !strings.Contains(r.Failures[0].What, "certificate")) {
				t.Errorf("got failures %+v, want that the certificate is named", r.Failures)
			}
		})
	}
}

func TestClientsShowTheirCertificate(t *testing.T) {
	pair := selfSigned(t)
	var shown atomic.Int64
	server := secureServer(t, func(_ http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 1 && string(r.TLS.PeerCertificates[0].Raw) == string(pair.Certificate[0]) {
			shown.Add(1)
		}
	}, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} })
	cfg := config(t, server.URL, strings.Replace(secure, "EXTRA", ", keyManager: {certFile: me.pem, keyFile: me.key}", 1))
	cert, key := inPEM(t, pair)
	cfg.Read = files(map[string][]byte{"me.pem": cert, "me.key": key})
	r := mustRun(t, t.Context(), cfg)
	if cell := mainCell(r, "s"); cell.Responses != 10 || shown.Load() != 10 {
		t.Errorf("got %+v, %d with the certificate, want 10", cell.Counts, shown.Load())
	}
}

// Keys and certificates come from key stores as well.
func TestKeyStores(t *testing.T) {
	pair := selfSigned(t)
	var shown atomic.Int64
	server := secureServer(t, func(_ http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 && string(r.TLS.PeerCertificates[0].Raw) == string(pair.Certificate[0]) {
			shown.Add(1)
		}
	}, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} })
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := pkcs12.Modern.Encode(pair.PrivateKey, leaf, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	turned, err := pkcs12.Modern.Encode(pair.PrivateKey, server.Certificate(), []*x509.Certificate{leaf}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{server.Certificate()}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	cert, keyPEM := inPEM(t, pair)
	read := files(map[string][]byte{
		"key.pfx": key, "trust.pfx": trust, "me.pem": append(cert, keyPEM...), "trust.pem": certificate(server),
		"key.jks": keyInJKS(t, pair), "turned.pfx": turned,
		"trust.jks": javaStore(t, func(s keystore.KeyStore) error {
			return s.SetTrustedCertificateEntry("server", keystore.TrustedCertificateEntry{
				CreationTime: time.Now(), Certificate: keystore.Certificate{Type: "X509", Content: server.Certificate().Raw},
			})
		}),
	})
	for _, c := range []struct{ key, trust string }{
		{"{storeType: PFX, storeFile: key.pfx, password: secret}", "{storeType: PFX, storeFile: trust.pfx, password: secret}"},
		{"{storeType: JKS, storeFile: key.jks, password: secret, alias: My KEY}", "{storeFile: trust.jks, password: secret}"},
		{"{storeFile: turned.pfx, password: secret}", "{storeFile: trust.jks, password: secret}"},
		{"{storeType: JKS, storeFile: key.pfx, password: secret}", "{storeType: PEM, storeFile: trust.pem}"},
		{"{storeType: PEM, storeFile: me.pem}", "{certFile: trust.pem}"},
	} {
		shown.Store(0)
		cfg := config(t, server.URL, strings.Replace(secure, "EXTRA", ", keyManager: "+c.key+", trustManager: "+c.trust, 1))
		cfg.Read = read
		r := mustRun(t, t.Context(), cfg)
		if cell := mainCell(r, "s"); cell.Responses != 10 || shown.Load() != 10 {
			t.Errorf("%+v: got %+v, %d with the certificate, want 10; %+v", c, cell.Counts, shown.Load(), r.Failures)
		}
	}
}

func keyInJKS(t *testing.T, pair tls.Certificate) []byte {
	t.Helper()
	return javaStore(t, func(s keystore.KeyStore) error {
		der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			return err
		}
		var chain []keystore.Certificate
		for _, cert := range pair.Certificate {
			chain = append(chain, keystore.Certificate{Type: "X509", Content: cert})
		}
		return s.SetPrivateKeyEntry("my key", keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: der, CertificateChain: chain}, []byte("secret"))
	})
}

// hugeJKS begins as a key store whose only key has 4 billion certificates.
const hugeJKS = "\xfe\xed\xfe\xed" + "\x00\x00\x00\x02" + "\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x00\x02me" + "\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x01k" + "\xff\xff\xff\xff"

// javaStore is a key store as Java has written them before PKCS#12.
func javaStore(t *testing.T, fill func(keystore.KeyStore) error) []byte {
	t.Helper()
	store, out := keystore.New(), &bytes.Buffer{}
	if err := errors.Join(fill(store), store.Store(out, []byte("secret"))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct{ keys, want string }{
		{"trustManager: {storeType: JKS, storeFile: bad.pem}", "has a file that can't be used: read PKCS#12"},
		{"trustManager: {storeType: PFX, storeFile: trust.pfx, password: wrong}", "password"},
		{"keyManager: {storeType: PFX, storeFile: trust.pfx, password: secret}", "there is no key in it"},
		{"keyManager: {storeFile: key.jks, password: secret, alias: other}", "there is no key other in it"},
		{"keyManager: {storeFile: bare.jks, password: secret}", "the key my key has no certificate"},
		{"keyManager: {storeFile: huge.jks, password: secret}", "read JKS: it is cut short"},
		{"trustManager: {certFile: gone.pem}", "reads a file that can't be read: open gone.pem"},
		{"trustManager: {certFile: empty.pem}", "has no certificate in its file"},
		{"keyManager: {certFile: bad.pem, keyFile: bad.pem}", "has no certificate that can be used"},
		{"keyManager: {certFile: bad.pem}", "names no file"},
	} {
		cfg := config(t, "https://a.test", strings.Replace(secure, "EXTRA", ", "+c.keys, 1))
		trust, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{secureServer(t, ok).Certificate()}, "secret")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Read = files(map[string][]byte{
			"key.jks": keyInJKS(t, selfSigned(t)), "bare.jks": keyInJKS(t, tls.Certificate{PrivateKey: selfSigned(t).PrivateKey}), "huge.jks": []byte(hugeJKS),
			"bad.pem": []byte("no"), "empty.pem": []byte("-----BEGIN X-----\n-----END X-----\n"), "trust.pfx": trust,
		})
		if faults := engine.Check(cfg); len(faults) == 0 || !strings.Contains(faults.Error(), c.want) {
			t.Errorf("got %v, want %q", faults, c.want)
		}
	}
}
