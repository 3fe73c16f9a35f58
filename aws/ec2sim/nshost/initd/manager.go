//go:build linux

package initd

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// unitDirs are where unit files are looked for, the first first.
var unitDirs = []string{adminUnitDir, "/run/systemd/system", imageUnitDir}

// What a unit's state may be.
const (
	inactive     = "inactive"
	activating   = "activating"
	active       = "active"
	deactivating = "deactivating"
	failed       = "failed"
)

// A unit is something that can be started and stopped. Both wait until it is.
type unit interface {
	start() error
	stop() error
	state() string
}

// manager keeps the machine's units.
type manager struct {
	procs   *processes
	console *log.Logger
	booted  time.Time

	mu      sync.Mutex
	units   map[string]unit
	started []string // in the order of their last start
	closing bool     // nothing is started any more
}

func newManager(procs *processes, console *log.Logger) *manager {
	return &manager{procs: procs, console: console, booted: time.Now(), units: map[string]unit{}}
}

var errClosing = errors.New("the machine is shutting down")

// fullName completes a unit's name as systemctl does.
func fullName(name string) string {
	if strings.Contains(filepath.Base(name), ".") {
		return filepath.Base(name)
	}
	return name + ".service"
}

// unit returns the unit of a name, new if it hasn't been used so far.
func (m *manager) unit(name string) (unit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u, ok := m.units[name]; ok {
		return u, nil
	}
	if strings.HasSuffix(name, ".target") {
		return target{}, nil
	}
	if _, err := loadUnit(name, unitDirs...); err != nil {
		return nil, err
	}
	var u unit
	switch filepath.Ext(name) {
	case ".service":
		u = &service{m: m, name: name, status: inactive}
	case ".timer":
		u = &timer{m: m, name: name}
	case ".socket":
		u = &socket{name: name}
	default:
		return nil, fmt.Errorf("start %s: machines of the simulator have no such units", name)
	}
	m.units[name] = u
	return u, nil
}

// start starts a unit after those that it needs.
func (m *manager) start(name string) error { return m.startAfter(name, nil) }

func (m *manager) startAfter(name string, asking []string) error {
	u, err := m.unit(name)
	if err != nil {
		return err
	}
	if _, ok := u.(target); ok || u.state() == active || slices.Contains(asking, name) {
		return nil
	}
	file, err := loadUnit(name, unitDirs...)
	if err != nil {
		return err
	}
	asking = append(slices.Clone(asking), name)
	for _, needed := range file.words("Unit", "Requires", "BindsTo", "Requisite") {
		if err := m.startAfter(needed, asking); err != nil {
			return fmt.Errorf("start %s, which %s needs: %w", needed, name, err)
		}
	}
	for _, wanted := range file.words("Unit", "Wants") {
		_ = m.startAfter(wanted, asking) // it has said so on the console, or isn't there
	}
	m.mu.Lock()
	closing := m.closing
	m.started = append(slices.DeleteFunc(m.started, func(s string) bool { return s == name }), name)
	m.mu.Unlock()
	if closing {
		return errClosing
	}
	if err := u.start(); err != nil {
		m.console.Printf("%s: failed to start: %v", name, err)
		return fmt.Errorf("start %s: %w", name, err)
	}
	if u.state() == active { // a short task needs no word each time
		m.console.Printf("%s: started", name)
	}
	return nil
}

func (m *manager) stop(name string) error {
	u, err := m.unit(name)
	if err != nil {
		return err
	}
	return u.stop()
}

// stopAll stops all units, the last started first, and lets none start again.
func (m *manager) stopAll() {
	m.mu.Lock()
	m.closing = true
	names := slices.Clone(m.started)
	m.mu.Unlock()
	for _, name := range slices.Backward(names) {
		if u, err := m.unit(name); err == nil {
			_ = u.stop() // it is killed with the rest in a moment
		}
	}
}

func (m *manager) isClosing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing
}

// startEnabled starts what is enabled for the boot.
func (m *manager) startEnabled() {
	var names []string
	for _, target := range []string{"sysinit", "basic", "sockets", "timers", "multi-user", "default", "cloud-init"} {
		for _, kind := range []string{"wants", "requires"} {
			for _, name := range enabledFor(target + ".target." + kind) {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	for _, name := range bootOrder(names, unitDirs...) {
		if err := m.start(name); err != nil && !errors.Is(err, errClosing) {
			m.console.Printf("%s: %v", name, err)
		}
	}
}

// bootOrder puts those of the units first that others are to come after. In a
// circle, the order given stands.
func bootOrder(names []string, dirs ...string) []string {
	after := map[string][]string{}
	for _, name := range names {
		file, err := loadUnit(name, dirs...)
		if err != nil {
			continue // its start says so
		}
		after[name] = append(after[name], file.words("Unit", "After")...)
		for _, later := range file.words("Unit", "Before") {
			after[later] = append(after[later], name)
		}
	}
	var order []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] || !slices.Contains(names, name) {
			return
		}
		seen[name] = true
		for _, earlier := range after[name] {
			add(earlier)
		}
		order = append(order, name)
	}
	for _, name := range names {
		add(name)
	}
	return order
}

func enabledFor(folder string) []string {
	var names []string
	for _, dir := range unitDirs {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			continue // nothing is enabled there
		}
		for _, e := range entries {
			if !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names
}

// enable makes a unit start with each boot.
func (m *manager) enable(name string) error {
	file, err := loadUnit(name, unitDirs...)
	if err != nil {
		return err
	}
	path := ""
	for _, dir := range unitDirs {
		if p := filepath.Join(dir, name); path == "" && exists(p) {
			path = p
		}
	}
	for kind, targets := range map[string][]string{
		"wants": file.words("Install", "WantedBy"), "requires": file.words("Install", "RequiredBy"),
	} {
		for _, t := range targets {
			if err := link(path, filepath.Join(adminUnitDir, t+"."+kind, name)); err != nil {
				return fmt.Errorf("enable %s: %w", name, err)
			}
		}
	}
	for _, also := range file.words("Install", "Also") {
		if also != name {
			if err := m.enable(also); err != nil {
				return err
			}
		}
	}
	return nil
}

// enablements are the links by which a unit is enabled.
func enablements(name string) []string {
	var out []string
	for _, kind := range []string{"wants", "requires"} {
		paths, err := filepath.Glob(filepath.Join(adminUnitDir, "*."+kind, name))
		if err == nil { // the only error is a bad pattern: no such unit
			out = append(out, paths...)
		}
	}
	return out
}

func (m *manager) disable(name string) error {
	for _, path := range enablements(name) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("disable %s: %w", name, err)
		}
	}
	return nil
}

// A target is a point in the boot, which here is always reached.
type target struct{}

func (target) start() error  { return nil }
func (target) stop() error   { return nil }
func (target) state() string { return active }
