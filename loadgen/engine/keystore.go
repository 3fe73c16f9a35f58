package engine

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"golang.org/x/crypto/cryptobyte"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/loads/loads/loadgen/benchmark"
)

// keyStore is what a file has: certificates, and perhaps a key with its own.
type keyStore struct {
	certificates []*x509.Certificate
	pair         *tls.Certificate // nil without a key
	alias        string           // of the key, if a certain one was looked for
}

// magicJKS is how key stores of Java begin. Those of the type JKS are often
// PKCS#12 in truth, as Java reads both; so what they are is seen from their
// content.
var magicJKS = []byte{0xfe, 0xed, 0xfe, 0xed}

// readKeyStore reads PEM, PKCS#12 (PFX), or a key store of Java (JKS).
func readKeyStore(data []byte, k *benchmark.Keys) (*keyStore, error) {
	switch {
	case bytes.HasPrefix(data, magicJKS):
		return readJKS(data, k)
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return readPEM(data)
	}
	return readPFX(data, k.Password)
}

func readPEM(data []byte) (*keyStore, error) {
	s := &keyStore{}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if err := s.add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) && len(s.certificates) > 0 {
		pair, err := tls.X509KeyPair(data, data)
		if err != nil {
			return nil, fmt.Errorf("read its key: %w", err)
		}
		s.pair = &pair
	}
	return s, nil
}

func (s *keyStore) add(der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("read a certificate: %w", err)
	}
	s.certificates = append(s.certificates, cert)
	return nil
}

func readPFX(data []byte, password string) (*keyStore, error) {
	key, cert, others, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		trusted, trustErr := pkcs12.DecodeTrustStore(data, password)
		if trustErr != nil {
			return nil, fmt.Errorf("read PKCS#12: %w", err)
		}
		return &keyStore{certificates: trusted}, nil
	}
	s := &keyStore{certificates: append([]*x509.Certificate{cert}, others...), pair: &tls.Certificate{PrivateKey: key}}
	// The key's own certificate is shown first, wherever it is.
	slices.SortStableFunc(s.certificates, func(a, b *x509.Certificate) int { return isOf(b, key) - isOf(a, key) })
	for _, c := range s.certificates {
		s.pair.Certificate = append(s.pair.Certificate, c.Raw)
	}
	return s, nil
}

// isOf returns 1 if a certificate is that of a key, else 0.
func isOf(cert *x509.Certificate, key any) int {
	private, ok := key.(crypto.Signer)
	if !ok {
		return 0
	}
	if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(private.Public()) {
		return 1
	}
	return 0
}

// isWholeJKS reports whether all that a key store says it has is there: the
// library makes room for what it is told before it reads it.
func isWholeJKS(data []byte) bool {
	s := cryptobyte.String(data)
	var magic, version, entries, size uint32
	var text cryptobyte.String
	skip := func() bool { return s.ReadUint32(&size) && uint64(size) <= uint64(len(s)) && s.Skip(int(size)) }
	if !s.ReadUint32(&magic) || !s.ReadUint32(&version) || !s.ReadUint32(&entries) {
		return false
	}
	for range entries {
		const key, date = 1, 8
		var kind uint32
		if !s.ReadUint32(&kind) || !s.ReadUint16LengthPrefixed(&text) || !s.Skip(date) {
			return false
		}
		certificates := uint32(1)
		if kind == key && (!skip() || !s.ReadUint32(&certificates)) {
			return false
		}
		for range certificates {
			if version > 1 && !s.ReadUint16LengthPrefixed(&text) || !skip() {
				return false
			}
		}
	}
	return len(s) >= sha1.Size
}

func readJKS(data []byte, k *benchmark.Keys) (*keyStore, error) {
	if !isWholeJKS(data) {
		return nil, errors.New("read JKS: it is cut short")
	}
	store, s := keystore.New(keystore.WithOrderedAliases(), keystore.WithCaseExactAliases()), &keyStore{alias: k.Alias}
	if err := store.Load(bytes.NewReader(data), []byte(k.Password)); err != nil {
		return nil, fmt.Errorf("read JKS: %w", err)
	}
	for _, alias := range store.Aliases() {
		if trusted, err := store.GetTrustedCertificateEntry(alias); err == nil {
			if err := s.add(trusted.Certificate.Content); err != nil {
				return nil, err
			}
			continue
		}
		if s.pair != nil || k.Alias != "" && !strings.EqualFold(k.Alias, alias) { // as for Java
			continue
		}
		entry, err := store.GetPrivateKeyEntry(alias, []byte(k.Password))
		if err != nil {
			return nil, fmt.Errorf("read the key %s: %w", alias, err)
		}
		key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("read the key %s: %w", alias, err)
		}
		if len(entry.CertificateChain) == 0 {
			return nil, fmt.Errorf("the key %s has no certificate", alias)
		}
		s.pair = &tls.Certificate{PrivateKey: key}
		for _, c := range entry.CertificateChain {
			s.pair.Certificate = append(s.pair.Certificate, c.Content)
			if err := s.add(c.Content); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// client returns the certificate that is shown.
func (s *keyStore) client() (*tls.Certificate, error) {
	switch {
	case s.pair == nil && s.alias != "":
		return nil, fmt.Errorf("there is no key %s in it", s.alias)
	case s.pair == nil:
		return nil, errors.New("there is no key in it")
	}
	return s.pair, nil
}
