package ec2sim

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
)

// A stateOf is a state of an instance with its number.
type stateOf struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

var (
	statePending    = stateOf{0, "pending"}
	stateRunning    = stateOf{16, "running"}
	stateShutting   = stateOf{32, "shutting-down"}
	stateTerminated = stateOf{48, "terminated"}
	stateStopping   = stateOf{64, "stopping"}
	stateStopped    = stateOf{80, "stopped"}
)

// A reason is why an instance is in its state.
type reason struct{ Code, Message string }

var (
	reasonUserStop     = reason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
	reasonInstanceStop = reason{"Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
	reasonSpotTaken    = reason{"Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination"}
	reasonInternal     = reason{"Server.InternalError", "Server.InternalError: Internal error"}
)

// A change is a state an instance came to, and from when on that is seen.
type change struct {
	state  stateOf
	reason reason
	shown  time.Time
}

// An instance is what EC2 knows of a machine. All is guarded by the lock of the
// Sim, save what never changes.
type instance struct {
	resource
	region      *region
	subnet      subnet
	typ         catalog.Type
	image       catalog.Image
	reservation string
	token       string
	index       int // in its launch
	launched    time.Time
	groups      []*group
	privateIP   netip.Addr
	publicIP    netip.Addr
	userData    []byte
	shutdown    string // stop or terminate, when the machine turns itself off
	protected   bool   // from being terminated
	monitoring  bool
	optimized   bool // for EBS
	metadata    metadataOptions
	eni         *networkInterface
	volumes     []*volume // attached, root first
	spot        *spotRequest

	state    stateOf
	history  []change // what is still needed to tell what is shown
	due      time.Time
	runs     int       // how often it came to be running
	checked  time.Time // when the status checks pass
	impaired bool
	forced   bool               // to stop without a word
	hurry    context.CancelFunc // pulls the plug of a machine that shuts down
	notice   SpotAction

	neverBoots, noDocker, diskFull bool
	clockOffset                    time.Duration
	met                            []FaultName // that have come upon it so far
	ended                          time.Time   // when it began to shut down for good

	machine Machine // nil until booted; set by live only
	wake    chan struct{}

	rulesMu     sync.Mutex // held while the machine is told its rules
	rulesWanted int        // how often they have changed
}

// set brings an instance to its next state, and wakes whoever sees to it.
func (s *Sim) set(in *instance, state stateOf, why reason) {
	now := time.Now()
	in.state = state
	shown := now.Add(s.drill.Delays.Lag.draw(s.dice.next("lag")))
	if len(in.history) > 0 {
		shown = later(shown, in.history[len(in.history)-1].shown)
		for len(in.history) > 1 && !in.history[1].shown.After(now) {
			in.history = in.history[1:]
		}
	} else {
		shown = in.visible
	}
	in.history = append(in.history, change{state, why, shown})
	delay := func(d Delay) time.Time { return now.Add(d.draw(s.dice.next("delay " + state.Name))) }
	switch state {
	case statePending:
		in.due = delay(s.drill.Delays.Pending)
	case stateStopping:
		in.due = delay(s.drill.Delays.Stopping)
	case stateShutting:
		in.ended = now
		in.due = delay(s.drill.Delays.Terminating)
		if in.hurry != nil {
			in.hurry() // what is stopping needn't shut down any more
		}
	case stateTerminated:
		in.due = delay(s.drill.Delays.Listed)
	default:
		in.due = time.Time{}
	}
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// shown is the last change that is seen by now.
func (in *instance) shown(now time.Time) change {
	last := in.history[0]
	for _, c := range in.history[1:] {
		if !c.shown.After(now) {
			last = c
		}
	}
	return last
}

// isAlive reports whether the instance takes room and money.
func (in *instance) isAlive() bool { return in.state != stateTerminated }

// live takes an instance through its life, until it is no longer listed. It is
// the only one to use the instance's machine for booting, stopping and ending.
func (s *Sim) live(in *instance) {
	for {
		s.mu.Lock()
		state, due := in.state, in.due
		s.mu.Unlock()
		var err error
		switch state {
		case statePending:
			err = s.bringUp(in, due)
		case stateStopping:
			err = s.bringDown(in, due)
		case stateShutting:
			err = s.end(in, due)
		case stateTerminated:
			var over bool
			if over, err = s.pause(due, in.wake); over {
				s.forget(in)
				return
			}
		default:
			_, err = s.pause(due, in.wake)
		}
		if err != nil {
			return // the Sim is being closed
		}
	}
}

// bringUp boots or starts the machine when it is time.
func (s *Sim) bringUp(in *instance, due time.Time) error {
	if ready, err := s.pause(due, in.wake); err != nil || !ready {
		return err
	}
	machine, err := in.machine, error(nil)
	switch {
	case in.neverBoots:
	case machine == nil:
		s.mu.Lock()
		spec := s.spec(in)
		s.mu.Unlock()
		machine, err = s.host.Boot(s.ctx, spec)
	default:
		err = machine.Start(s.ctx)
	}
	if s.ctx.Err() != nil {
		return errClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.log.Error("a machine could not be booted", "instance", in.ID, "err", err)
		if in.state == statePending {
			s.set(in, stateShutting, reasonInternal)
		}
		return nil
	}
	in.machine = machine
	if in.state == statePending {
		s.set(in, stateRunning, reason{})
		s.began(in)
	}
	return nil
}

// began arranges for what will befall an instance that runs now. Rules may have
// changed while it was booting.
func (s *Sim) began(in *instance) {
	in.runs++
	in.checked = time.Now().Add(s.drill.Delays.Checks.draw(s.dice.next("checks")))
	s.pushRules(in)
	o := in.occasion()
	for _, name := range timedFaults {
		if name == SpotTaken && in.spot == nil {
			continue
		}
		if a := s.met(name, o); a != nil {
			s.strikeLater(in, a.Fault, a.At.draw(s.dice.next("at "+string(name))))
		}
	}
}

func (in *instance) occasion() occasion {
	return occasion{region: in.region.Name, zone: in.subnet.Zone.Name, typ: in.typ.Name, tags: in.tags}
}

// strikeLater lets a fault come upon an instance after a while, if it still runs
// then as it does now.
func (s *Sim) strikeLater(in *instance, f Fault, after time.Duration) {
	runs, at := in.runs, time.Now().Add(after)
	s.goes(func() {
		if over, err := s.pause(at, nil); err != nil || !over {
			return
		}
		s.mu.Lock()
		ok := in.state == stateRunning && in.runs == runs
		s.mu.Unlock()
		if ok {
			s.strike(in, f)
		}
	})
}

// strike lets a fault come upon an instance that runs.
func (s *Sim) strike(in *instance, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in.met = append(in.met, f.Name)
	switch f.Name {
	case Dies:
		s.set(in, stateShutting, reasonInternal)
	case SpotTaken:
		s.giveNotice(in)
	case NetworkCut:
		machine := in.machine
		if machine == nil {
			return
		}
		in.impaired = true
		s.cut(in, machine, true)
		if f.For > 0 {
			back := time.Now().Add(time.Duration(f.For))
			s.goes(func() {
				if over, err := s.pause(back, nil); err == nil && over {
					s.mu.Lock()
					in.impaired = false
					s.cut(in, machine, false)
					s.mu.Unlock()
				}
			})
		}
	}
}

// cut takes a machine off the network or puts it back, in the background.
func (s *Sim) cut(in *instance, machine Machine, cut bool) {
	s.goes(func() {
		if err := machine.Cut(cut); err != nil {
			s.log.Error("a machine's network could not be cut or mended", "instance", in.ID, "err", err)
		}
	})
}

// softStop is how long a machine may take to shut down before the plug is
// pulled.
const softStop = 2 * time.Minute

// bringDown stops the machine and waits as long as stopping takes at least.
func (s *Sim) bringDown(in *instance, due time.Time) error {
	ctx, cancel := context.WithTimeout(s.ctx, softStop)
	defer cancel()
	s.mu.Lock()
	hard := in.forced || in.state != stateStopping
	in.hurry = cancel
	s.mu.Unlock()
	if in.machine != nil {
		if err := in.machine.Stop(ctx, hard); err != nil && ctx.Err() == nil {
			s.log.Error("a machine could not be stopped", "instance", in.ID, "err", err)
		}
	}
	over, err := s.pause(due, in.wake)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if over && in.state == stateStopping {
		s.set(in, stateStopped, in.history[len(in.history)-1].reason)
	}
	return nil // when woken, to see whether it is to be ended instead
}

// softEnd is how long a spot machine that is taken may take to shut down.
const softEnd = 30 * time.Second

// endPause is how long after a machine that could not be ended it is tried again.
const endPause = time.Second

// end ends the machine. The instance is not terminated before nothing is left.
func (s *Sim) end(in *instance, due time.Time) error {
	if in.machine != nil {
		s.mu.Lock()
		taken := in.history[len(in.history)-1].reason == reasonSpotTaken
		s.mu.Unlock()
		if taken { // it is told to shut down first
			ctx, cancel := context.WithTimeout(s.ctx, softEnd)
			if err := in.machine.Stop(ctx, false); err != nil && ctx.Err() == nil {
				s.log.Error("a machine that is taken could not be shut down", "instance", in.ID, "err", err)
			}
			cancel()
		}
		for {
			err := in.machine.Terminate(s.ctx)
			if err == nil {
				break
			}
			if s.ctx.Err() != nil {
				return errClosed
			}
			s.log.Error("a machine could not be ended", "instance", in.ID, "err", err)
			if _, err := s.pause(time.Now().Add(endPause), nil); err != nil {
				return err
			}
		}
	}
	for over := false; !over; {
		var err error
		if over, err = s.pause(due, in.wake); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(in, stateTerminated, in.history[len(in.history)-1].reason)
	s.release(in)
	return nil
}

// release gives back what only an instance that isn't terminated has.
func (s *Sim) release(in *instance) {
	s.giveAddresses(in)
	for _, v := range in.volumes {
		v.instance = nil
		if v.DeleteOnTermination {
			delete(in.region.volumes, v.ID)
			s.gone(kindVolume)
		}
	}
	in.volumes = nil
	delete(in.region.interfaces, in.eni.ID)
	in.eni = nil
	s.gone(kindInterface)
	s.gone(kindInstance)
	if in.spot != nil {
		s.closeSpot(in.spot)
	}
}

// forget takes an instance off the list.
func (s *Sim) forget(in *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(in.region.instances, in.ID)
}

// poweredOff is told that a machine has turned itself off.
func (s *Sim) poweredOff(in *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.state != stateRunning && in.state != statePending {
		return
	}
	if in.shutdown == "terminate" || in.spot != nil {
		s.set(in, stateShutting, reasonInstanceStop)
		return
	}
	s.set(in, stateStopping, reasonInstanceStop)
}

// spec is what the Host is told of a machine.
func (s *Sim) spec(in *instance) MachineSpec {
	spec := MachineSpec{
		ID: in.ID, Region: in.region.Name, Zone: in.subnet.Zone.Name, Type: in.typ.Name, Arch: in.image.Arch,
		VCPUs: in.typ.VCPUs, Memory: in.typ.Memory, PrivateIP: in.privateIP, PublicIP: in.publicIP,
		UserData: in.userData, LaunchIndex: in.index, Metadata: func() Metadata { return s.metadataOf(in) }, Rules: in.rules(),
		RootVolumeBytes: int64(in.volumes[0].GiB) << 30,
		ClockOffset:     in.clockOffset, NoDocker: in.noDocker, DiskFull: in.diskFull,
		OnPowerOff: func() { s.poweredOff(in) },
	}
	for _, g := range in.groups {
		spec.Groups = append(spec.Groups, g.ID)
	}
	return spec
}

func (s *Sim) metadataOf(in *instance) Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := Metadata{
		Enabled: in.metadata.Endpoint != "disabled", TokenRequired: in.metadata.Tokens == "required",
		HopLimit: in.metadata.HopLimit, AMI: in.image.ID, Account: in.region.account,
		AvailZoneID: in.subnet.Zone.ID, LaunchTime: in.launched, Tags: maps.Clone(in.tags),
		TagsHidden: in.metadata.Tags != "enabled", SpotAction: in.notice,
	}
	for _, g := range in.groups {
		m.SecurityGroup = append(m.SecurityGroup, g.Name)
	}
	return m
}

// rules are what the machine admits: those of all its groups.
func (in *instance) rules() []Rule {
	var all []Rule
	for _, g := range in.groups {
		for _, r := range g.rules {
			rule := Rule{Egress: r.Egress, Protocol: r.Protocol, FromPort: r.From, ToPort: r.To, Peer: r.CIDR, Group: r.Group}
			if r.From < 0 {
				rule.FromPort, rule.ToPort = 0, 65535
			}
			if !slices.Contains(all, rule) {
				all = append(all, rule)
			}
		}
	}
	return all
}

// pushRules tells the machine what it admits from now on, in the background and
// in the order of the changes.
func (s *Sim) pushRules(in *instance) {
	if in.machine == nil {
		return
	}
	in.rulesWanted++
	wanted := in.rulesWanted
	s.goes(func() {
		in.rulesMu.Lock()
		defer in.rulesMu.Unlock()
		s.mu.Lock()
		machine, rules, old := in.machine, in.rules(), wanted < in.rulesWanted
		s.mu.Unlock()
		if old {
			return // a later change will be told
		}
		if err := machine.SetRules(rules); err != nil {
			s.log.Error("a machine's rules could not be set", "instance", in.ID, "err", err)
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
