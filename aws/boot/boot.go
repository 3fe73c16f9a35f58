// Package boot is what a rented machine is told at its birth: the user data
// that has it end by itself, tune its kernel, and open its Docker to the
// broker alone. It is about a machine's own files and programs, and knows
// nothing of the cloud that runs it.
//
// The lease comes first. A watchdog, installed before anything else, powers
// the machine off when the broker has not renewed its lease in time, or when
// the end of its term has come; a machine that was launched to terminate on
// shutdown is gone then. LeaseContainer is how a lease is renewed, through the
// machine's Docker.
package boot

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"text/template"
	"time"

	"github.com/loads/loads/aws/trust"
)

// MaxUserData is how long user data may be, in bytes, before its encoding as
// base64: EC2's limit.
const MaxUserData = 16 << 10

// MaxServers is for how many machines one call's user data has room.
const MaxServers = 50

// Overrun is how much longer than its lease, and than its term, a machine may
// run: until the watchdog looks again, and until a machine that does not shut
// down is forced to. What a run can cost at most counts it in.
const Overrun = time.Minute

// How the watchdog goes about it, unless Params says otherwise. Together they
// are less than Overrun.
const (
	defaultTick    = 5 * time.Second
	defaultOrderly = 30 * time.Second
	forced         = 10 * time.Second
)

// Params say what a machine is told. UserData refuses what can't work.
type Params struct {
	// Servers are the certificates and keys of the machines that are launched by
	// one call, in the order of their launch indexes, of one authority: the only
	// secrets in it. Of several, each machine takes its own by its launch index,
	// which it asks the metadata service for.
	Servers []trust.Server

	// Term numbers what the machine is launched for, from 0; see Renewal.
	Term uint64
	// Lease is how long the machine may live without a renewal, counted from
	// its first boot, in whole seconds.
	Lease time.Duration
	// End is how long it may live in this term, however often it is renewed,
	// counted from its first boot, in whole seconds.
	End time.Duration

	// Tick is how often the watchdog looks at the lease; 0 is 5 seconds.
	Tick time.Duration
	// Orderly is how long a shutdown may take before it is forced; 0 is 30
	// seconds.
	Orderly time.Duration
}

//go:embed userdata.sh
var userDataText string

//go:embed watchdog.sh
var watchdog string

var userData = template.Must(template.New("userdata.sh").Parse(userDataText))

// UserData returns the script that cloud-init runs on the machine, once and as
// root; that for several machines is compressed by gzip. Equal parameters give equal bytes, so that a launch can be repeated
// with its client token. The error names all that is wrong with them.
func UserData(p Params) ([]byte, error) {
	if p.Tick == 0 {
		p.Tick = defaultTick
	}
	if p.Orderly == 0 {
		p.Orderly = defaultOrderly
	}
	var faults []error
	for _, d := range []struct {
		what  string
		value time.Duration
	}{{"lease", p.Lease}, {"end", p.End}, {"tick", p.Tick}, {"time for an orderly shutdown", p.Orderly}} {
		faults = append(faults, checkSeconds(d.what, d.value))
	}
	if p.Tick+p.Orderly+forced > Overrun {
		faults = append(faults, fmt.Errorf(
			"a tick of %v and %v for an orderly shutdown are too long: with %v for a forced one they may take %v",
			p.Tick, p.Orderly, forced, Overrun))
	}
	if p.Term > maxNumber {
		faults = append(faults, fmt.Errorf("term %d has more than 15 digits", p.Term))
	}
	faults = append(faults, checkServers(p.Servers))
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("make a machine's user data: %w", err)
	}
	var rows []string
	for _, s := range p.Servers {
		rows = append(rows, row(s))
	}
	var buf bytes.Buffer
	err := userData.Execute(&buf, map[string]any{
		"Watchdog": watchdog,
		"Term":     p.Term, "Lease": seconds(p.Lease), "End": seconds(p.End),
		"Tick": seconds(p.Tick), "Orderly": seconds(p.Orderly), "Forced": seconds(forced),
		"CA": string(p.Servers[0].CA), "Servers": rows, "Many": len(rows) > 1,
	})
	if err == nil && len(rows) > 1 {
		err = compress(&buf)
	}
	if err != nil {
		return nil, fmt.Errorf("make a machine's user data: %w", err)
	}
	if buf.Len() > MaxUserData {
		return nil, fmt.Errorf("make a machine's user data: it has %d bytes, and %d are the limit", buf.Len(), MaxUserData)
	}
	return buf.Bytes(), nil
}

// row is what the script has of a machine: certificate and key, in base64.
func row(s trust.Server) string {
	der := func(data []byte) string {
		block, _ := pem.Decode(data) // which was checked
		return base64.StdEncoding.EncodeToString(block.Bytes)
	}
	return der(s.Cert) + " " + der(s.Key)
}

// compress replaces what is in the buffer.
func compress(buf *bytes.Buffer) error {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	*buf = out
	return nil
}

// maxNumber is the greatest number that the watchdog reads: 15 digits.
const maxNumber = 999_999_999_999_999

// maxSeconds of a machine's life are a year.
const maxSeconds = 365 * 24 * 60 * 60

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func checkSeconds(what string, d time.Duration) error {
	if s := seconds(d); s < 1 || s > maxSeconds {
		return fmt.Errorf("the %s of %v is not between a second and a year", what, d)
	}
	return nil
}

func checkServers(all []trust.Server) error {
	if len(all) == 0 {
		return errors.New("there is no machine's certificate")
	}
	var faults []error
	for _, s := range all {
		faults = append(faults, checkServer(s))
		if !bytes.Equal(s.CA, all[0].CA) {
			faults = append(faults, errors.New("the machines' certificates are not of one authority"))
		}
	}
	return errors.Join(faults...)
}

// checkServer makes sure that nothing gets into a machine but a certificate
// for a server, its key, and the certificate of who signed it.
func checkServer(s trust.Server) error {
	ca, err := certificate(s.CA)
	if err != nil {
		return fmt.Errorf("the authority's certificate: %w", err)
	}
	cert, err := certificate(s.Cert)
	if err != nil {
		return fmt.Errorf("the machine's certificate: %w", err)
	}
	if _, err := onlyBlock(s.Key); err != nil {
		return fmt.Errorf("the machine's key: %w", err)
	}
	if _, err := tls.X509KeyPair(s.Cert, s.Key); err != nil {
		return fmt.Errorf("the machine's key: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = cert.Verify(x509.VerifyOptions{
		Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: cert.NotBefore,
	})
	if err != nil || cert.IsCA {
		return errors.Join(errors.New("the machine's certificate is not that of a server, signed by the authority"), err)
	}
	return nil
}

func certificate(data []byte) (*x509.Certificate, error) {
	der, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// onlyBlock returns what is in the PEM block that all of the data is: a
// comment beside it would be in the script as well.
func onlyBlock(data []byte) ([]byte, error) {
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 || !bytes.Equal(pem.EncodeToMemory(block), data) || len(block.Headers) > 0 {
		return nil, errors.New("is not a single PEM block")
	}
	return block.Bytes, nil
}
