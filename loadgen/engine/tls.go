package engine

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/loads/loads/loadgen/benchmark"
)

// tlsConfig returns how TLS is spoken to an endpoint; nil if it isn't. What can't
// be used is told to fault.
func tlsConfig(cfg *Config, spec *benchmark.Endpoint, fault func(field, what, want string)) *tls.Config {
	if spec.Protocol != "https" {
		return nil
	}
	// Servers under test often have certificates that nobody has signed: they are
	// accepted unless the file says which are.
	t := &tls.Config{ServerName: spec.Host, InsecureSkipVerify: spec.Trust == nil, DynamicRecordSizingDisabled: true}
	if k := spec.Trust; k != nil {
		if store := storeOf(cfg, k, "trustManager", fault); store != nil {
			t.RootCAs = x509.NewCertPool()
			for _, cert := range store.certificates {
				t.RootCAs.AddCert(cert)
			}
			if len(store.certificates) == 0 {
				fault("trustManager", "has no certificate in its file", "give a file of certificates in PEM as certFile, or a key store as storeFile")
			}
		}
	}
	if k := spec.KeyManager; k != nil {
		if pair := clientPair(cfg, k, fault); pair != nil {
			t.Certificates = []tls.Certificate{*pair}
		}
	}
	return t
}

// clientPair returns the certificate that is shown to the server, nil after a
// fault.
func clientPair(cfg *Config, k *benchmark.Keys, fault func(field, what, want string)) *tls.Certificate {
	const field = "keyManager"
	if k.StoreFile != "" {
		store := storeOf(cfg, k, field, fault)
		if store == nil {
			return nil
		}
		pair, err := store.client()
		if err != nil {
			fault(field, "has a key store that can't be used: "+err.Error(), wantKeys)
		}
		return pair
	}
	cert, key := keyFile(cfg, k.CertFile, field, fault), keyFile(cfg, k.KeyFile, field, fault)
	if cert == nil || key == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		fault(field, "has no certificate that can be used: "+err.Error(), "give certFile and keyFile in PEM, without a password")
		return nil
	}
	return &pair
}

const wantKeys = "give certFile, and keyFile for a key, in PEM, or storeFile with its password"

// storeOf reads a key store, or a file of certificates.
func storeOf(cfg *Config, k *benchmark.Keys, field string, fault func(field, what, want string)) *keyStore {
	file := k.StoreFile
	if file == "" {
		file = k.CertFile
	}
	data := keyFile(cfg, file, field, fault)
	if data == nil {
		return nil
	}
	store, err := readKeyStore(data, k)
	if err != nil {
		fault(field, "has a file that can't be used: "+err.Error(), wantKeys)
		return nil
	}
	return store
}

// keyFile reads a file of certificates or keys.
func keyFile(cfg *Config, file benchmark.File, field string, fault func(field, what, want string)) []byte {
	switch {
	case file == "":
		fault(field, "names no file", wantKeys)
		return nil
	case cfg.Read == nil:
		fault(field, "reads the file "+string(file)+", and there are no files", wantKeys)
		return nil
	}
	data, err := cfg.Read(string(file))
	if err != nil {
		fault(field, "reads a file that can't be read: "+err.Error(), "names of files are relative to the benchmark's folder")
		return nil
	}
	return data
}

// alpn returns the same TLS, in which only these protocols are offered.
func alpn(t *tls.Config, protocols ...string) *tls.Config {
	if t != nil {
		t = t.Clone()
		t.NextProtos = protocols
	}
	return t
}
