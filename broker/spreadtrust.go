package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"time"

	"github.com/loads/loads/images/order"
)

// An authority signs the certificates by which the machines of a run know each
// other while images are spread. Its key never leaves the process; a broker that
// is started again makes another, and gives all machines new certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// skew is how wrong a machine's clock may be.
const skew = 365 * 24 * time.Hour

func newAuthority(run string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for spreading images: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loads images " + run},
		NotBefore: time.Now().Add(-skew), NotAfter: time.Now().Add(skew),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{cert: template, key: key}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for spreading images: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make a certificate for spreading images: %w", err)
	}
	return a, nil
}

// files are what a machine proves itself with, as client and as server.
func (a *authority) files(m *machine) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for spreading images: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(m.ID + 2), Subject: pkix.Name{CommonName: peerName(m)}, DNSNames: []string{peerName(m)},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for spreading images: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key for spreading images: %w", err)
	}
	return map[string][]byte{
		order.CAFile:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}),
		order.CertFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		order.KeyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}

// peerName is a name that no other machine's certificate has. No name server
// knows it.
func peerName(m *machine) string { return m.Token + ".images.loads.internal" }

func peerOf(m *machine) order.Peer {
	return order.Peer{Address: net.JoinHostPort(m.Address, strconv.Itoa(order.PeerPort)), Name: peerName(m)}
}
