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
		if pem := keyFile(cfg, k, k.CertFile, "trustManager", fault); pem != nil {
			t.RootCAs = x509.NewCertPool()
			if !t.RootCAs.AppendCertsFromPEM(pem) {
				fault("trustManager", "has no certificate in its file", "give a file of certificates in PEM as certFile")
			}
		}
	}
	if k := spec.KeyManager; k != nil {
		cert, key := keyFile(cfg, k, k.CertFile, "keyManager", fault), keyFile(cfg, k, k.KeyFile, "keyManager", fault)
		if cert == nil || key == nil {
			return t
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			fault("keyManager", "has no certificate that can be used: "+err.Error(), "give certFile and keyFile in PEM, without a password")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t
}

// keyFile reads a file of certificates or keys; one store may have both.
func keyFile(cfg *Config, k *benchmark.Keys, file benchmark.File, field string, fault func(field, what, want string)) []byte {
	const want = "give certFile, and keyFile for a key, in PEM"
	switch {
	case file == "" && k.StoreFile != "" && k.StoreType == "PEM":
		file = k.StoreFile
	case k.StoreFile != "":
		fault(field, "has a key store of the type "+k.StoreType+", which the generator can't read", want)
		return nil
	}
	switch {
	case file == "":
		fault(field, "names no file", want)
		return nil
	case cfg.Read == nil:
		fault(field, "reads the file "+string(file)+", and there are no files", want)
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
