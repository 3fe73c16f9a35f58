package ec2sim

import (
	"context"
	"net/netip"
	"sync"
)

// NoMachines is a Host with nothing behind it: the API alone. Its machines
// can't be reached, and only turn themselves off when asked to.
type NoMachines struct {
	mu       sync.Mutex
	machines map[string]*NoMachine
}

// A NoMachine is a machine that isn't there.
type NoMachine struct {
	Spec MachineSpec

	host  *NoMachines
	mu    sync.Mutex
	on    bool
	cut   bool
	rules []Rule
}

// NewNoMachines makes a Host without machines.
func NewNoMachines() *NoMachines { return &NoMachines{machines: map[string]*NoMachine{}} }

// Addresses are addresses that lead nowhere.
func (*NoMachines) Addresses() netip.Prefix { return netip.MustParsePrefix("10.0.0.0/8") }

// Boot notes that there should be a machine.
func (h *NoMachines) Boot(_ context.Context, spec MachineSpec) (Machine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := &NoMachine{Spec: spec, host: h, on: true, rules: spec.Rules}
	h.machines[spec.ID] = m
	return m, nil
}

// Close forgets all machines.
func (h *NoMachines) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.machines)
	return nil
}

// Machine finds a machine that has not been ended; nil if there is none.
func (h *NoMachines) Machine(id string) *NoMachine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machines[id]
}

// Len is how many machines have not been ended.
func (h *NoMachines) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.machines)
}

// Stop implements Machine.
func (m *NoMachine) Stop(context.Context, bool) error { return m.turn(false) }

// Start implements Machine.
func (m *NoMachine) Start(context.Context) error { return m.turn(true) }

func (m *NoMachine) turn(on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
	return nil
}

// PowerOff is what a machine does that turns itself off.
func (m *NoMachine) PowerOff() {
	_ = m.turn(false)
	m.Spec.OnPowerOff()
}

// Cut implements Machine.
func (m *NoMachine) Cut(cut bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = cut
	return nil
}

// SetRules implements Machine.
func (m *NoMachine) SetRules(rules []Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = rules
	return nil
}

// Console implements Machine.
func (m *NoMachine) Console() []byte { return []byte(m.Spec.ID + " has no machine behind it\n") }

// Terminate implements Machine.
func (m *NoMachine) Terminate(context.Context) error {
	_ = m.turn(false)
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	delete(m.host.machines, m.Spec.ID)
	return nil
}

// State tells whether the machine is on, cut off, and what it admits.
func (m *NoMachine) State() (on, cut bool, rules []Rule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on, m.cut, m.rules
}
