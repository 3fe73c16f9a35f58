package light

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/light/engine"
	"github.com/loads/loads/aws/trust"
)

// maxConsole is how much of a console is kept.
const maxConsole = 64 << 10

// A Machine is a light machine.
type Machine struct {
	host   *Host
	spec   ec2sim.MachineSpec
	engine *engine.Engine // its disk, in a way
	tls    *tls.Config    // nil if it has no Docker that can be reached
	leased bool

	power sync.Mutex // held while it is turned on or off
	gone  bool       // by whoever holds power: it is never turned on again

	mu      sync.Mutex
	on      bool
	age     time.Duration // when it was turned on last
	since   time.Time     // when that was
	lease   lease
	alarm   *time.Timer // of the lease's end
	rules   []ec2sim.Rule
	cut     chan struct{} // closed when it is no more; nil if it isn't cut off
	silence *time.Timer   // ends connections that were cut for too long
	links   map[*link]bool
	server  *http.Server
	console []byte

	calls   sync.WaitGroup // that are being answered
	serving sync.WaitGroup // listeners
}

// newMachine reads the user data, and does what it says as far as a light
// machine can.
func newMachine(h *Host, spec ec2sim.MachineSpec) *Machine {
	m := &Machine{host: h, spec: spec, rules: slices.Clone(spec.Rules), links: map[*link]bool{}}
	m.spec.UserData = nil // it is long, and has been read then
	m.engine = engine.New(engine.Config{
		Name: spec.ID, Arch: spec.Arch, VCPUs: spec.VCPUs, Memory: spec.Memory,
		Metrics: h.opts.Metrics, DiskFull: spec.DiskFull, Spread: &h.spread, Now: m.now, OnFile: m.onFile,
	})
	params, err := boot.Parse(spec.UserData, spec.LaunchIndex)
	if err != nil {
		m.say("the user data is not what Loads gives to its machines, and isn't run: %v", err)
		return m
	}
	m.leased, m.lease = true, newLease(params)
	m.say("loads-watchdog: lease until %v, term %d until %v", m.lease.until, m.lease.term, m.lease.end)
	if spec.NoDocker {
		m.say("loads-boot: can't restart Docker")
		return m
	}
	pair, err := tls.X509KeyPair(params.Servers[0].Cert, params.Servers[0].Key)
	if err != nil {
		m.say("loads-boot: the certificate can't be used: %v", err)
		return m
	}
	m.tls = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: h.pool(params.Servers[0].CA),
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true, Time: m.now,
	}
	m.say("loads-boot: done")
	return m
}

// now is what the machine's clock says.
func (m *Machine) now() time.Time { return time.Now().Add(m.spec.ClockOffset) }

// say writes on the console. It is called before the machine is shared, or
// with the lock held.
func (m *Machine) say(format string, args ...any) {
	m.console = fmt.Appendf(m.console, format+"\n", args...)
	m.console = m.console[max(0, len(m.console)-maxConsole):]
}

// turnOn lets the machine be reached and its lease go on. After an error it is
// off.
func (m *Machine) turnOn() error {
	m.power.Lock()
	defer m.power.Unlock()
	if m.gone || m.isOn() {
		return nil
	}
	listeners, err := m.listen()
	if err != nil {
		return fmt.Errorf("turn light machine %s on: %w", m.spec.ID, err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), // of clients without a certificate, and those that went away
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on, m.since, m.server = true, time.Now(), server
	m.host.spread.Join(m.spec.PrivateIP.String(), m.engine)
	if m.leased {
		m.watch()
	}
	for _, l := range listeners {
		m.serving.Go(func() { _ = server.Serve(l) }) // it ends with the server
	}
	return nil
}

// listen opens Docker's port on the machine's addresses.
func (m *Machine) listen() ([]net.Listener, error) {
	if m.tls == nil {
		return nil, nil
	}
	var all []net.Listener
	for _, addr := range []netip.Addr{m.spec.PrivateIP, m.spec.PublicIP} {
		if !addr.IsValid() {
			continue
		}
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, trust.Port).String())
		if err != nil {
			for _, opened := range all {
				err = errors.Join(err, opened.Close())
			}
			return nil, err
		}
		all = append(all, tls.NewListener(&listener{Listener: l, machine: m}, m.tls))
	}
	return all, nil
}

func (m *Machine) isOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on
}

// serve answers a call of Docker's API while the machine is on.
func (m *Machine) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	on := m.on
	if on {
		m.calls.Add(1)
	}
	m.mu.Unlock()
	if !on {
		panic(http.ErrAbortHandler)
	}
	defer m.calls.Done()
	r.Body = counted{r.Body, &m.host.received}
	m.engine.ServeHTTP(w, r)
}

// counted counts what is read of a body.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// turnOff ends all that runs, and reports whether anything did.
func (m *Machine) turnOff(orderly bool) bool {
	m.power.Lock()
	defer m.power.Unlock()
	m.mu.Lock()
	if !m.on {
		m.mu.Unlock()
		return false
	}
	m.on, m.age = false, m.ageNow()
	m.host.spread.Leave(m.spec.PrivateIP.String())
	server := m.server
	m.server = nil
	if m.alarm != nil {
		m.alarm.Stop()
	}
	m.mu.Unlock()
	m.engine.Off(orderly)
	_ = server.Close() // listeners that are closed already
	m.closeLinks()
	m.calls.Wait()
	m.serving.Wait()
	return true
}

func (m *Machine) ageNow() time.Duration { return m.age + time.Since(m.since) }

// watch sets the alarm for the end of the lease. It is called with the lock
// held, on a machine that is on.
func (m *Machine) watch() {
	if m.alarm != nil {
		m.alarm.Stop()
	}
	since := m.since
	m.alarm = time.AfterFunc(m.lease.over()-m.ageNow(), func() { m.host.goes(func() { m.expire(since) }) })
}

// expire powers the machine off if its lease has ended, and it is still the
// time since it was turned on.
func (m *Machine) expire(since time.Time) {
	m.mu.Lock()
	due := m.on && m.since.Equal(since) && m.ageNow() >= m.lease.over()
	if due {
		why := "its lease was not renewed"
		if m.lease.end <= m.lease.until {
			why = "the end of its term has come"
		}
		m.say("loads-watchdog: powering off: %s", why)
	}
	m.mu.Unlock()
	if due && m.turnOff(true) && m.spec.OnPowerOff != nil {
		m.spec.OnPowerOff()
	}
}

// onFile renews the lease when its file was written.
func (m *Machine) onFile(path string, data []byte) {
	if path != boot.LeaseFile {
		return
	}
	renewal, err := boot.ParseRenewal(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil || !m.on || !m.leased || !m.lease.renew(renewal, m.ageNow()) {
		return // the watchdog passes over it
	}
	m.watch()
}

// Stop implements ec2sim.Machine.
func (m *Machine) Stop(_ context.Context, hard bool) error {
	m.turnOff(!hard)
	return nil
}

// Start implements ec2sim.Machine. What was on the machine's disk is there, and
// its containers have ended.
func (m *Machine) Start(context.Context) error { return m.turnOn() }

// SetRules implements ec2sim.Machine. Connections that are there go on.
func (m *Machine) SetRules(rules []ec2sim.Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = slices.Clone(rules)
	return nil
}

// Console implements ec2sim.Machine.
func (m *Machine) Console() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.console)
}

// Terminate implements ec2sim.Machine.
func (m *Machine) Terminate(context.Context) error {
	m.end()
	m.host.forget(m)
	return nil
}

// end turns the machine off for good.
func (m *Machine) end() {
	m.power.Lock()
	m.gone = true
	m.power.Unlock()
	m.turnOff(false)
	_ = m.Cut(false) // nothing is there to be cut off
}
