package engine

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/loads/loads/loadgen/benchmark"
)

// Whatever is in a file, it is read or it is not, and takes no more memory than
// its size lets expect. PKCS#12 is the library's affair.
func FuzzKeyStore(f *testing.F) {
	server := httptest.NewTLSServer(nil)
	f.Cleanup(server.Close)
	cert := server.Certificate().Raw
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		f.Fatal(err)
	}
	store, out := keystore.New(), &bytes.Buffer{}
	chain := []keystore.Certificate{{Type: "X509", Content: cert}}
	if err := store.SetPrivateKeyEntry("me", keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: key, CertificateChain: chain}, []byte("secret")); err != nil {
		f.Fatal(err)
	}
	if err := store.SetTrustedCertificateEntry("ca", keystore.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: chain[0]}); err != nil {
		f.Fatal(err)
	}
	if err := store.Store(out, []byte("secret")); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add(append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := &benchmark.Keys{Password: "secret"}
		for name, read := range map[string]func() (*keyStore, error){
			"JKS": func() (*keyStore, error) { return readJKS(data, k) },
			"PEM": func() (*keyStore, error) { return readPEM(data) },
		} {
			if s, err := read(); (s == nil) == (err == nil) || s != nil && s.pair != nil && len(s.pair.Certificate) == 0 {
				t.Errorf("%s: got %+v, %v", name, s, err)
			}
		}
	})
}
