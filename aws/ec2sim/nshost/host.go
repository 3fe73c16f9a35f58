//go:build linux

package nshost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost/initd"
)

// Options say how to run a Host. The zero value is fine.
type Options struct {
	// Dir is where the machines' disks are, and what tells leftovers from what
	// is in use: /var/tmp/loads-ec2sim if empty. Simulators may share one.
	Dir string
	// Log takes what happens to machines by themselves; nothing if nil.
	Log *slog.Logger
}

// A Host runs machines. It may be used concurrently.
type Host struct {
	log     *slog.Logger
	claim   *claim
	network *network
	imds    *metadataService

	mu       sync.Mutex
	machines map[string]*machine
	closed   bool
	watchers sync.WaitGroup // one for each machine that runs
}

var _ ec2sim.Host = (*Host)(nil)

// New starts a Host, and removes what earlier ones have left that were killed.
//
// The program has to call initd.Takeover when it starts: the machines run the
// same program as their process 1.
func New(ctx context.Context, opts Options) (*Host, error) {
	if err := checkComputer(); err != nil {
		return nil, err
	}
	h := &Host{log: opts.Log, machines: map[string]*machine{}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if h.claim, err = newClaim(ctx, dirOr(opts.Dir)); err != nil {
		return nil, err
	}
	err = copyProgram(h.program())
	if err == nil {
		h.network, err = newNetwork(ctx, h.claim.device(), h.claim.prefix)
	}
	if err == nil {
		h.imds, err = serveMetadata(h.network, h.metadata)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// checkComputer says all that is missing at once.
func checkComputer() error {
	var missing []string
	if os.Getuid() != 0 {
		missing = append(missing, "root")
	}
	for _, program := range []string{"containerd", "dockerd", "ip", "iptables", "mkfs.ext4", "mount", "nft", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, "the program "+program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this computer lacks %s", strings.Join(missing, ", "))
	}
	return nil
}

// copyProgram keeps a copy of this program for the machines, since the file may
// be replaced while they run.
func copyProgram(path string) error {
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return nil
}

func (h *Host) program() string { return filepath.Join(h.claim.dir, initd.Name) }

// Addresses returns the range of the machines' addresses.
func (h *Host) Addresses() netip.Prefix { return h.claim.prefix }

// Outside returns the address at which machines see this computer: what
// security groups have to admit for a broker here.
func (h *Host) Outside() netip.Addr { return h.network.address(1) }

// Boot starts a new machine.
func (h *Host) Boot(ctx context.Context, spec ec2sim.MachineSpec) (ec2sim.Machine, error) {
	m, err := h.add(spec)
	if err != nil {
		return nil, err
	}
	if err := m.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("boot %s: %w", spec.ID, err), m.Terminate(context.WithoutCancel(ctx)))
	}
	return m, nil
}

func (h *Host) add(spec ec2sim.MachineSpec) (*machine, error) {
	var faults []error
	if spec.ID == "" || spec.ID != filepath.Base(spec.ID) {
		faults = append(faults, fmt.Errorf("the id %q is none", spec.ID))
	}
	for what, addr := range map[string]netip.Addr{"private": spec.PrivateIP, "public": spec.PublicIP} {
		if addr.IsValid() && (!h.claim.prefix.Contains(addr) || addr.Less(nth(h.claim.prefix, reserved))) {
			faults = append(faults, fmt.Errorf("the %s address %s is not one for machines, of %s from the 17th on", what, addr, h.claim.prefix))
		}
	}
	if !spec.PrivateIP.IsValid() {
		faults = append(faults, errors.New("it has no private address"))
	}
	if spec.ClockOffset != 0 {
		faults = append(faults, ErrClock)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		faults = append(faults, errors.New("the simulator is closed"))
	}
	if h.machines[spec.ID] != nil {
		faults = append(faults, errors.New("there is one of that id"))
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("boot %s: %w", spec.ID, errors.Join(faults...))
	}
	m := &machine{
		host: h, spec: spec, dir: filepath.Join(h.claim.dir, spec.ID), console: &console{},
		rules: spec.Rules,
	}
	h.machines[spec.ID] = m
	return m, nil
}

// reserved is how many addresses at the start of the range are the Host's own.
const reserved = 16

// ErrClock is why a machine with a wrong clock can't be booted here: Linux has
// one wall clock for all namespaces.
var ErrClock = errors.New("a real machine can't have a clock of its own; light ones can")

func (h *Host) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.machines, id)
}

// metadata returns the machine's spec, for the metadata service.
func (h *Host) metadata(id string) (ec2sim.MachineSpec, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.machines[id]
	if !ok {
		return ec2sim.MachineSpec{}, false
	}
	return m.spec, true
}

// Close ends all machines and removes all that this Host has made.
func (h *Host) Close() error {
	ctx := context.Background()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	left := make([]*machine, 0, len(h.machines))
	for _, m := range h.machines {
		left = append(left, m)
	}
	h.mu.Unlock()
	errs := make([]error, len(left))
	var ending sync.WaitGroup
	for i, m := range left {
		ending.Go(func() { errs[i] = m.Terminate(ctx) })
	}
	ending.Wait()
	h.watchers.Wait()
	if h.imds != nil {
		errs = append(errs, h.imds.close())
	}
	if h.network != nil {
		errs = append(errs, h.network.close(ctx))
	}
	errs = append(errs, h.claim.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the machines' host: %w", err)
	}
	return nil
}
