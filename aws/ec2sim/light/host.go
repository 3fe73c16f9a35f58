// Package light makes machines for a simulated EC2 that are so light that
// thousands of them fit into one process: each is the API of a Docker engine
// (package engine), at the machine's own address and behind the certificate
// that its user data holds, and nothing runs on it.
//
// What decides over a machine's life is there: its lease and its term, read from the
// user data and from the renewals that come through its Docker, its power
// switch, its security groups, and its network, which may be cut.
package light

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/light/engine"
	"github.com/loads/loads/aws/trust"
)

// DefaultMetrics is a small plan's number of metrics, for Options.
const DefaultMetrics = 9

// Options say what machines are like.
type Options struct {
	// Metrics is how many metrics the relay on a machine tells of in each
	// second.
	Metrics int
}

// A Host runs light machines. It may be used concurrently.
type Host struct {
	opts      Options
	addresses netip.Prefix
	claim     net.Listener // of the addresses

	wg sync.WaitGroup // of what machines do by themselves

	spread   engine.Spread
	received atomic.Int64 // bytes of calls' bodies

	mu       sync.Mutex
	closed   bool
	machines map[*Machine]bool
	pools    map[string]*x509.CertPool // by certificate: machines of one broker share it
}

var _ ec2sim.Host = (*Host)(nil)

// New makes a Host without machines. Its machines' addresses are its own among
// all hosts of this computer, which it claims by listening on the first of
// them. An error says that there are none left, or that this computer doesn't
// listen on all of 127.0.0.0/8, as Linux does without being told to.
func New(opts Options) (*Host, error) {
	h := &Host{opts: opts, machines: map[*Machine]bool{}, pools: map[string]*x509.CertPool{}}
	var faults []error
	for first := firstBlock; first <= lastBlock; first += blockSize {
		h.addresses = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(first)}), blockBits)
		var err error
		if h.claim, err = net.Listen("tcp", netip.AddrPortFrom(h.addresses.Addr().Next(), trust.Port).String()); err == nil {
			return h, nil
		}
		faults = append(faults, err)
	}
	return nil, fmt.Errorf("find addresses for light machines: %w", errors.Join(faults...))
}

// Blocks of addresses are 127.64.0.0/14 and so on. Half of one is for public
// addresses, and an eighth of the rest for each zone: 16,000 machines.
const (
	firstBlock, lastBlock = 64, 188
	blockSize, blockBits  = 4, 14
)

// Addresses implements ec2sim.Host.
func (h *Host) Addresses() netip.Prefix { return h.addresses }

// errClosed is why nothing boots any more.
var errClosed = errors.New("the host of light machines is closed")

// Boot implements ec2sim.Host. A light machine has booted at once.
func (h *Host) Boot(_ context.Context, spec ec2sim.MachineSpec) (ec2sim.Machine, error) {
	m := newMachine(h, spec)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if err := m.turnOn(); err != nil {
		return nil, err
	}
	h.machines[m] = true
	return m, nil
}

// Len is how many machines have not been terminated.
func (h *Host) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.machines)
}

// Received is how many bytes all machines have been sent in the bodies of calls:
// images, for the most part.
func (h *Host) Received() int64 { return h.received.Load() }

// Spread is how many bytes of images machines have had from each other.
func (h *Host) Spread() int64 { return h.spread.Bytes() }

// Close implements ec2sim.Host.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	left := h.machines
	h.machines = map[*Machine]bool{}
	h.mu.Unlock()
	for m := range left {
		m.end()
	}
	h.wg.Wait()
	if err := h.claim.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("give the addresses of light machines back: %w", err)
	}
	return nil
}

// forget is for a machine of which nothing is left.
func (h *Host) forget(m *Machine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.machines, m)
}

// goes runs something that Close waits for, unless the host is closed.
func (h *Host) goes(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.wg.Go(f)
	}
}

// pool holds an authority's certificate.
func (h *Host) pool(certificate []byte) *x509.CertPool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pools[string(certificate)] == nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(certificate)
		h.pools[string(certificate)] = pool
	}
	return h.pools[string(certificate)]
}
