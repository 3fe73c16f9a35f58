// Package trust is the broker's certificate authority for the machines it
// rents: Docker on them answers only who holds a client certificate of the
// authority, and the broker talks only to a machine that holds the key made
// for it.
//
// Each start of the broker has an authority of its own. Its private key is
// never on disk, so it signs nothing once the broker has ended. What is kept
// is what it takes to reach the machines that were booted under it: the
// authority's certificate and the broker's client key. Forget removes those
// that no machine needs any more.
//
// A machine's address is not known before its launch, and is another one after
// a stop and a start. So its certificate is for a name, made of its token,
// that no name server knows, and the broker asks for that name wherever the
// machine may be.
package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loads/loads/broker"
)

// Port is where Docker on a machine listens.
const Port = 2376

// How long certificates are valid.
const (
	// backdated is how far in the past certificates begin to be valid. A
	// machine whose clock is behind by less answers, so that the broker can
	// tell by how much its clock is wrong.
	backdated = 365 * 24 * time.Hour
	// lifetime of an authority and of its client certificate: longer than a
	// broker runs, and than a machine's clock may be ahead.
	lifetime = 10 * 365 * 24 * time.Hour
	// margin is how long a machine's certificate outlives the machine, for a
	// broker whose clock is ahead, and for reading what is left there.
	margin = 24 * time.Hour
)

// The files of an authority, in a folder that has its id as name.
const (
	caFile   = "ca.pem"
	certFile = "client.pem"
	keyFile  = "client-key.pem"
)

// unfinished begins the names of folders that are still being written.
const unfinished = ".new-"

// A Trust is the authority of one start of the broker, and the remains of
// those before it. Its methods may be called concurrently.
type Trust struct {
	dir  string
	id   string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// signed counts the certificates, for their serial numbers.
	signed atomic.Int64
}

// A Server is what a machine gets to prove what it is: PEM blocks. Key is the
// only secret among them.
type Server struct {
	CA, Cert, Key []byte
	// Until is when the machine must be gone, or it can't be talked to any
	// more: it may be used again up to then.
	Until time.Time
}

// Start makes a new authority and keeps what has to outlive the process in the
// folder, which it makes if need be. When it returns without an error, that is
// on disk. A folder belongs to one process at a time.
func Start(dir string) (*Trust, error) {
	t := &Trust{dir: dir, id: strings.ToLower(rand.Text())}
	if err := t.makeAuthority(); err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	cert, key, err := t.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "loads broker"},
		NotAfter:    t.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("make a client certificate: %w", err)
	}
	if err := t.keep(map[string][]byte{caFile: certPEM(t.cert.Raw), certFile: cert, keyFile: key}); err != nil {
		return nil, fmt.Errorf("keep the client certificate: %w", err)
	}
	return t, nil
}

// ID is the authority's id. Whoever launches a machine stores it with the
// machine: Endpoint and Forget want it.
func (t *Trust) ID() string { return t.id }

// ServerName is the name in the certificate of the machine with the token.
func ServerName(token string) string { return token + ".loads.internal" }

// label is what a DNS name is made of.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Mint makes a key and a certificate for the machine with the token, valid
// until the machine must be gone, and a day more. It keeps nothing of it. Those
// for tokens of equal length have all in common at the same places that they
// have in common, so that many of them compress well.
func (t *Trust) Mint(token string, until time.Time) (Server, error) {
	if !label.MatchString(token) {
		return Server{}, broker.Errorf(broker.EInvalid,
			"the machine token %q can't be part of a host name: it takes up to 63 lower-case letters, digits and hyphens", token)
	}
	notAfter := until.Add(margin)
	if notAfter.After(t.cert.NotAfter) || !until.After(time.Now()) {
		return Server{}, broker.Errorf(broker.EInvalid,
			"a machine can't live until %s: that must be in the future, and before this broker's certificates end on %s",
			until.UTC().Format(time.RFC3339), t.cert.NotAfter.Add(-margin).UTC().Format(time.RFC3339))
	}
	name := ServerName(token)
	cert, key, err := t.sign(&x509.Certificate{
		NotAfter:    notAfter,
		DNSNames:    []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return Server{}, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	return Server{CA: certPEM(t.cert.Raw), Cert: cert, Key: key, Until: until}, nil
}

// Endpoint returns where, and by which certificates, to reach the machine that
// was booted with the token under the authority with the id. ENotFound says
// that the authority has been forgotten, or was another broker's: the machine
// can't be talked to, only terminated.
func (t *Trust) Endpoint(id, token, address string) (broker.Endpoint, error) {
	dir := filepath.Join(t.dir, id)
	if !label.MatchString(id) || !isFolder(dir) {
		return broker.Endpoint{}, broker.Errorf(broker.ENotFound,
			"the certificates for the machine at %s, of authority %q, are not in %s", address, id, t.dir)
	}
	return broker.Endpoint{
		Host:       "tcp://" + net.JoinHostPort(address, strconv.Itoa(Port)),
		CA:         filepath.Join(dir, caFile),
		Cert:       filepath.Join(dir, certFile),
		Key:        filepath.Join(dir, keyFile),
		ServerName: ServerName(token),
	}, nil
}

// Forget removes the authorities that are not in use, except for this one.
func (t *Trust) Forget(inUse []string) error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("forget old certificates: %w", err)
	}
	for _, e := range entries {
		id := e.Name()
		if id == t.id || slices.Contains(inUse, id) || !e.IsDir() || !label.MatchString(id) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(t.dir, id)); err != nil {
			return fmt.Errorf("forget old certificates: %w", err)
		}
	}
	return nil
}

func (t *Trust) makeAuthority() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "loads " + t.id},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	t.key = key
	t.cert, err = x509.ParseCertificate(der)
	return err
}

// sign makes a key, completes the template, and returns certificate and key as PEM.
func (t *Trust) sign(template *x509.Certificate) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.NotBefore = t.cert.NotBefore
	template.SerialNumber = big.NewInt(firstSerial + t.signed.Add(1))
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, t.cert, &k.PublicKey, t.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := marshalKey(k)
	if err != nil {
		return nil, nil, err
	}
	return certPEM(der), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), nil
}

// firstSerial is such that all serial numbers are of the same length.
const firstSerial = 1 << 30

// marshalKey writes a key of P-256 as RFC 5915 has it, without the public key,
// which is in the certificate.
func marshalKey(k *ecdsa.PrivateKey) ([]byte, error) {
	secret, err := k.Bytes()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		Version int
		Secret  []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, secret, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}})
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
