package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/strategies"
)

// startLead is the time from the decision to start containers to their start:
// long enough to create them first, so that they start together.
const startLead = time.Second

// createAllowance is the time that each machine of a step adds to startLead.
const createAllowance = 2 * time.Millisecond

// loadLead is the time from the start of a container to its LOADS_START_AT:
// long enough for the program in it to be up and waiting.
const loadLead = time.Second

// dnsPort is the port of a machine's name server, which the engine gives its
// containers.
const dnsPort = 53

// Files of a relay: the names that it answers, which containers of its machine
// are the plan's, and what it makes metrics of in their output.
const (
	namesFile      = "/etc/loads/names.json"
	containersFile = "/etc/loads/containers.json"
	logMetricsFile = "/etc/loads/logmetrics.json"
)

// Where a relay finds what the kernel says of the machine and its containers,
// and what the engine keeps of their output.
const (
	relayProc   = "/host/proc"
	relayCgroup = "/host/cgroup"
	relayLogs   = "/host/containers"
)

// initialize gets the machines, checks them, loads the images and starts the
// relays. All of it can be repeated: what is there already is found again.
func (x *execution) initialize(ctx context.Context) error {
	if err := x.planMachines(ctx); err != nil {
		return err
	}
	if err := x.inTime(ctx, x.getReady); err != nil {
		return err
	}
	if err := x.awaitMonitor(ctx); err != nil {
		return err
	}
	return x.update(ctx, func(run *Run) []Event {
		start := calm(time.Now().Add(startLead), len(x.machines)).UTC()
		run.State = Running
		run.StartedAt = &start
		return []Event{{Kind: EventRun, State: Running.String(), Text: "All machines are ready; the steps begin."}}
	})
}

func (x *execution) getReady(ctx context.Context) error {
	if err := x.acquire(ctx); err != nil {
		return err
	}
	if err := x.admit(ctx); err != nil {
		return err
	}
	x.beginMonitor()
	return x.prepareMachines(ctx)
}

// inTime calls f, and fails the run when that takes longer than what the life of
// rented machines allows for it.
func (x *execution) inTime(ctx context.Context, f func(context.Context) error) error {
	if x.ref.Cost == nil {
		return f(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, x.ref.CreatedAt.Add(readyAllowance))
	defer cancel()
	err := f(limited)
	if limited.Err() != nil && ctx.Err() == nil {
		return x.fail(ctx, "The machines were not ready within %s, which is the limit for rented ones.", readyAllowance)
	}
	return err
}

// planMachines stores a row, with its token, for every machine of the plan
// before any is asked for.
func (x *execution) planMachines(ctx context.Context) error {
	if err := x.loadMachines(ctx); err != nil {
		return err
	}
	have := map[[2]int]bool{}
	for _, m := range x.all() {
		have[[2]int{m.Step, m.Index}] = true
	}
	if len(have) == 0 {
		x.spread.resumed = false
		text := fmt.Sprintf("Run of plan %s: asking for machines.", x.ref.Plan.Name)
		if err := x.b.cfg.Store.AddEvents(ctx, x.ref, Event{Kind: EventRun, State: Initializing.String(), Text: text}); err != nil {
			return err
		}
		x.b.hub.notify(x.ref.UUID)
	}
	var missing []*machine
	for i, step := range x.ref.Plan.Steps {
		for j := 0; j < step.InstanceCount && !step.Monitor; j++ {
			if have[[2]int{i, j}] {
				continue
			}
			missing = append(missing, &machine{Machine: Machine{
				RunID: x.ref.ID, RunUUID: x.ref.UUID, Step: i, Index: j, State: MachineRequested,
				Token: uuid.NewString(), Pool: x.b.cfg.Pools[0].Name(),
			}})
		}
	}
	err := together(missing, func(m *machine) error { return x.b.cfg.Store.SaveMachine(ctx, x.ref, &m.Machine) })
	if err != nil {
		return err
	}
	x.machinesMu.Lock()
	x.machines = nil
	x.machinesMu.Unlock()
	return x.loadMachines(ctx)
}

// loadMachines reads the machines from the store, unless it has.
func (x *execution) loadMachines(ctx context.Context) error {
	if len(x.all()) > 0 {
		return nil
	}
	var all []*machine
	stored, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return err
	}
	for _, m := range stored {
		if x.ref.Plan.Steps[m.Step].Monitor {
			continue // runMonitor reads it
		}
		all = append(all, &machine{Machine: m})
		x.noteLease(m)
		x.names.add(x.ref.Plan.Steps[m.Step].DNSName, m)
	}
	replaced, err := x.b.cfg.Store.Replaced(ctx, x.ref.UUID)
	if err != nil {
		return err
	}
	x.replacements.set(replaced)
	x.machinesMu.Lock()
	x.machines = all
	x.machinesMu.Unlock()
	return nil
}

// acquire asks the pools for the machines, the steps in parallel.
func (x *execution) acquire(ctx context.Context) error {
	errs := make([]error, len(x.ref.Plan.Steps))
	var wg sync.WaitGroup
	for i := range x.ref.Plan.Steps {
		if !x.isLate(i) {
			wg.Go(func() { errs[i] = x.acquireStep(ctx, i) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (x *execution) acquireStep(ctx context.Context, i int) error {
	var wanted []*machine
	for _, m := range x.of(i) {
		if m.State == MachineRequested {
			wanted = append(wanted, m)
		}
	}
	return x.acquireThese(ctx, i, wanted)
}

// acquireThese asks the pool for machines of step i.
func (x *execution) acquireThese(ctx context.Context, i int, wanted []*machine) error {
	step := x.ref.Plan.Steps[i]
	lifeLeft := time.Until(x.lifeEnd()).Truncate(time.Second) // the same for all
	var reqs []MachineRequest
	for _, m := range wanted {
		req := requestOf(x.ref.Plan, i, m.Index)
		if x.isLate(i) || x.replacements.of(i, m.Index) > 0 {
			req.Life = min(req.Life, lifeLeft)
		}
		req.BrokerID, req.RunUUID, req.Owner, req.Token = x.b.id, x.ref.UUID, x.ref.Owner, m.Token
		reqs = append(reqs, req)
	}
	if len(wanted) == 0 {
		return nil
	}
	pool, err := x.b.pool(wanted[0].Pool)
	if err != nil {
		return x.fail(ctx, "Step %s: %v", step.Name, err)
	}
	asked := utcNow()
	got, acquireErr := pool.Acquire(ctx, reqs)
	given := map[*machine]Machine{}
	for k, m := range wanted {
		if k < len(got) && got[k].ProviderID != "" {
			given[m] = got[k]
		}
	}
	err = together(wanted, func(m *machine) error {
		g, ok := given[m]
		if !ok {
			return nil
		}
		text := fmt.Sprintf("Machine %s is there, at %s.", g.ProviderID, g.Address)
		return x.updateMachine(ctx, m, text, func(m *Machine) {
			m.take(g)
			m.RequestedAt = asked
		})
	})
	if err != nil {
		return err
	}
	for _, m := range wanted {
		if _, ok := given[m]; ok {
			x.names.add(step.DNSName, m.Machine)
		}
	}
	if acquireErr != nil && ctx.Err() == nil {
		wanted = slices.DeleteFunc(wanted, func(m *machine) bool { return m.State != MachineRequested })
		return x.notAcquired(ctx, i, wanted, acquireErr)
	}
	return ctx.Err()
}

// take takes in what a pool says of the machine that it gave.
func (m *Machine) take(g Machine) {
	m.Pool, m.ProviderID, m.Address, m.PublicIP = g.Pool, g.ProviderID, g.Address, g.PublicIP
	m.Network, m.Endpoint, m.State = g.Network, g.Endpoint, MachineReady
	m.Region, m.Type, m.Spot, m.HourUSD, m.LaunchedAt = g.Region, g.Type, g.Spot, g.HourUSD, g.LaunchedAt
}

// notAcquired goes on without machines that can't be had when the step's quorum
// allows that, and fails the run else.
func (x *execution) notAcquired(ctx context.Context, i int, missing []*machine, cause error) error {
	step := x.ref.Plan.Steps[i]
	x.losing.Lock() // so that no two of a step count each other as there
	defer x.losing.Unlock()
	stored, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return &storeError{fmt.Errorf("read machines: %w", err)}
	}
	had := step.InstanceCount - len(missing)
	for _, m := range stored {
		if m.Step == i && m.State == MachineLost {
			had--
		}
	}
	if step.Quorum == 0 || had < step.Quorum {
		return x.fail(ctx, "Step %s can't have its machines: %v", step.Name, cause)
	}
	for _, m := range missing {
		text := fmt.Sprintf("The machine can't be had; going on without it, as the quorum is %d: %s", step.Quorum, oneLine(cause.Error()))
		err := x.updateMachine(ctx, m, text, func(m *Machine) { m.State, m.Reason = MachineLost, oneLine(cause.Error()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// fail ends the run with the verdict ERROR.
func (x *execution) fail(ctx context.Context, format string, args ...any) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := x.conclude(ctx, Errored, fmt.Sprintf(format, args...)); err != nil {
		return err
	}
	return errStop
}

func (b *Broker) pool(name string) (Pool, error) {
	for _, p := range b.cfg.Pools {
		if p.Name() == name {
			return p, nil
		}
	}
	return nil, Errorf(EUnavailable, "the broker has no pool %s; start it with the options it had before", name)
}

// prepareMachines checks the machines, loads their images and starts their
// relays.
func (x *execution) prepareMachines(ctx context.Context) error {
	early := func() []*machine {
		return slices.DeleteFunc(slices.Clone(x.all()), func(m *machine) bool { return x.isLate(m.Step) })
	}
	if err := x.spread.resume(ctx, early()); err != nil {
		return err
	}
	if err := x.prepareThese(ctx, early); err != nil {
		return err
	}
	if x.replacements.any() { // relays that were started before know the names of those that are gone
		if err := x.tellNames(ctx); err != nil {
			return err
		}
	}
	for i := range x.ref.Plan.Steps {
		if x.isLate(i) {
			continue
		}
		if err := x.enoughMachines(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// prepareThese prepares the machines that list returns, or others in their place.
// When one fails the run the rest is given up.
func (x *execution) prepareThese(ctx context.Context, list func() []*machine) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	orEnd := func(err error) error {
		if err != nil {
			cancel()
		}
		return err
	}
	images := newImageLoads()
	err := each(list(), func(m *machine) error {
		if m.State != MachineReady && m.State != MachinePrepared {
			return nil
		}
		return orEnd(x.prepareOne(inner, m, images))
	})
	if err != nil {
		return err
	}
	if err := each(list(), func(m *machine) error { return orEnd(x.lastLook(inner, m)) }); err != nil {
		return err
	}
	return x.spread.over(ctx, list())
}

// notPrepared gives up a machine that can't be used, and in whose place there is no
// other: the run goes on without it when it does not answer and the step allows
// that, else it fails.
func (x *execution) notPrepared(ctx context.Context, m *machine, cause error) error {
	step := x.ref.Plan.Steps[m.Step]
	if isStoreError(cause) {
		return cause
	}
	if CodeOf(cause) != EUnavailable || !step.PruneRunning {
		before := ""
		if n := x.replacements.of(m.Step, m.Index); n > 0 {
			before = fmt.Sprintf(", nor could %s in its place before", countMachines(n))
		}
		return x.fail(ctx, "Step %s, machine %d can't be used%s: %v", step.Name, m.Index, before, cause)
	}
	text := fmt.Sprintf("Machine %s does not answer; going on without it: %v", m.ProviderID, cause)
	return x.updateMachine(ctx, m, text, func(m *Machine) { m.State, m.Reason = MachineLost, cause.Error() })
}

// enoughMachines fails the run when step i has no machine left.
func (x *execution) enoughMachines(ctx context.Context, i int) error {
	step := x.ref.Plan.Steps[i]
	for _, m := range x.of(i) {
		if m.State == MachinePrepared {
			return nil
		}
	}
	if step.Monitor {
		return nil
	}
	return x.fail(ctx, "Step %s has no machine left that answers.", step.Name)
}

// prepare makes one machine ready for its container.
func (x *execution) prepare(ctx context.Context, m *machine, images *imageLoads) error {
	if err := x.connect(m); err != nil {
		return err
	}
	info, err := x.answer(ctx, m)
	if err != nil {
		return err
	}
	m.ClockOffset, m.ClockError = info.Offset, info.Error
	node, err := images.load(ctx, m.Endpoint.Host+" "+NodeImage, func() (string, error) { return x.spread.nodeImage(ctx, m, info) })
	if err != nil {
		return err
	}
	r, err := x.resolve(m, time.Time{})
	if err != nil {
		return err
	}
	key := m.Endpoint.Host + " " + r.Image + " " + r.URL
	image, err := images.load(ctx, key, func() (string, error) { return x.spread.image(ctx, m, info, r.Image, r.URL) })
	if err != nil {
		return err
	}
	if err := x.pin(ctx, m, info, node, image); err != nil {
		return err
	}
	spec, err := x.relaySpec(m, node, info)
	if err != nil {
		return err
	}
	return x.startRelay(ctx, m, spec, image)
}

// connect opens the machine's engine.
func (x *execution) connect(m *machine) error {
	if m.engine != nil {
		return nil
	}
	eng, err := x.engines.get(m.Endpoint)
	m.engine = eng
	return err
}

// answer waits, no longer than LostAfter, until the machine's engine answers.
func (x *execution) answer(ctx context.Context, m *machine) (info EngineInfo, err error) {
	err = patiently(ctx, x.b.cfg.LostAfter, func() error {
		info, err = m.engine.Info(ctx)
		return err
	})
	return info, err
}

// pin stores what exactly runs: versions with the run, the image's id with the
// step.
func (x *execution) pin(ctx context.Context, m *machine, info EngineInfo, node, image string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	versions := map[string]string{"loads": x.b.cfg.Version, "node_image": node}
	versions["engine "+m.Endpoint.Host] = info.Version + " " + info.Architecture
	merged := maps.Clone(x.run.Versions)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, versions)
	if !maps.Equal(merged, x.run.Versions) {
		run := x.run
		run.Versions = merged
		if err := x.b.cfg.Store.SaveRun(ctx, &run); err != nil {
			return &storeError{fmt.Errorf("store run: %w", err)}
		}
		x.run.Versions = merged
	}
	rec := x.run.StepRecords[m.Step]
	if rec.ImageDigest == image {
		return nil
	}
	rec.ImageDigest = image
	if err := x.b.cfg.Store.SaveStep(ctx, &x.run, &rec); err != nil {
		return &storeError{fmt.Errorf("store step: %w", err)}
	}
	x.run.StepRecords[m.Step] = rec
	return nil
}

// relaySpec describes the relay's container on the machine.
func (x *execution) relaySpec(m *machine, node string, info EngineInfo) (ContainerSpec, error) {
	step := x.ref.Plan.Steps[m.Step]
	spec := ContainerSpec{
		Name:  x.containerName(m, RoleRelay),
		Image: node,
		Command: []string{
			"relay", "--listen", net.JoinHostPort(m.Address, strconv.Itoa(strategies.StatsdPort)),
			"--unix", strategies.StatsdSocket, "--containers", containersFile,
		},
		Labels:  x.labels(m, RoleRelay),
		Network: "host",
		Volumes: []VolumeBinding{
			{Container: relayProc, Host: "/proc", ReadOnly: true},
			{Container: relayCgroup, Host: "/sys/fs/cgroup", ReadOnly: true},
		},
		Shared: []SharedVolume{x.socketVolume(m, false)},
		Files:  map[string][]byte{},
	}
	if step.DockerSeries != "" {
		spec.Command = append(spec.Command, "--series="+step.DockerSeries)
	}
	if x.hasNames() {
		names, err := x.names.file(m.Machine)
		if err != nil {
			return spec, err
		}
		spec.Command = append(spec.Command, "--dns", net.JoinHostPort(m.Address, strconv.Itoa(dnsPort)), "--names", namesFile)
		spec.Files[namesFile] = names
	}
	if len(step.LogMetrics) > 0 {
		return spec, readLogs(&spec, step, info)
	}
	return spec, nil
}

// readLogs has a relay make metrics of what the engine keeps of the containers'
// output.
func readLogs(spec *ContainerSpec, step strategies.Step, info EngineInfo) error {
	if info.RootDir == "" {
		return Errorf(EInvalid, "its engine does not tell where it keeps output, which log_metrics need")
	}
	list, err := json.Marshal(step.LogMetrics)
	if err != nil {
		return fmt.Errorf("write the log metrics: %w", err)
	}
	spec.Files[logMetricsFile] = list
	spec.Volumes = append(spec.Volumes, VolumeBinding{
		Container: relayLogs, Host: path.Join(info.RootDir, "containers"), ReadOnly: true,
	})
	spec.Command = append(spec.Command,
		"--log-metrics", logMetricsFile, "--logs", relayLogs, "--log-files", strconv.Itoa(planLog().Files))
	return nil
}

// planLog is what engines keep of the output of a plan's container: so much that
// a relay is never behind by all of it.
func planLog() LogLimit { return LogLimit{Size: 100 << 20, Files: 5} }

// startRelay starts the machine's relay and waits for its first frame: from
// then on no metric sent to the machine can be missed.
func (x *execution) startRelay(ctx context.Context, m *machine, spec ContainerSpec, image string) error {
	var id string
	err := patiently(ctx, x.b.cfg.LostAfter, func() (err error) {
		id, err = m.engine.Create(ctx, spec)
		return err
	})
	if err != nil {
		return err
	}
	if err := x.updateMachine(ctx, m, "", func(m *Machine) { m.RelayID, m.ImageID = id, image }); err != nil {
		return err
	}
	if err := patiently(ctx, x.b.cfg.LostAfter, func() error { return m.engine.Start(ctx, id) }); err != nil {
		return err
	}
	x.follow(ctx, m)
	if err := x.firstFrame(ctx, m); err != nil {
		return err
	}
	if m.State == MachinePrepared {
		return nil // by an earlier broker
	}
	const text = "The machine is prepared: images are loaded, its relay runs."
	now := utcNow()
	return x.updateMachine(ctx, m, text, func(m *Machine) { m.State, m.PreparedAt = MachinePrepared, now })
}

// socketVolume is where the machine's containers find the relay's Unix socket.
// A container that may only read there can still send.
func (x *execution) socketVolume(m *machine, readOnly bool) SharedVolume {
	return SharedVolume{Name: x.containerName(m, "socket"), Container: path.Dir(strategies.StatsdSocket), ReadOnly: readOnly}
}

// containerName is the same for the same machine and role, so that creating
// the container again finds it.
func (x *execution) containerName(m *machine, role string) string {
	return fmt.Sprintf("loads-%.8s-%.8s-s%d-m%d-%s", x.b.id, x.ref.UUID, m.Step, m.Index, role)
}

func (x *execution) labels(m *machine, role string) map[string]string {
	return map[string]string{
		LabelBroker: x.b.id, LabelRun: x.ref.UUID, LabelRole: role,
		LabelStep: strconv.Itoa(m.Step), LabelMachine: strconv.Itoa(m.Index),
	}
}

// resolve interpolates the step's fields for the machine. LOADS_START_AT is by
// the machine's clock. A zero start leaves it at 0, for what does not depend on it.
func (x *execution) resolve(m *machine, start time.Time) (strategies.Resolved, error) {
	step := x.ref.Plan.Steps[m.Step]
	at := int64(0)
	if !start.IsZero() {
		at = start.Add(loadLead + m.ahead()).UnixMilli()
	}
	return step.Resolve(map[string]string{
		"RUN_ID":         x.ref.UUID,
		"HOST_IP":        m.PublicIP,
		"PRIVATE_IP":     m.Address,
		"STATSD_HOST":    m.Address,
		"STATSD_PORT":    strconv.Itoa(strategies.StatsdPort),
		"STATSD_SOCKET":  strategies.StatsdSocket,
		"CONTAINER_ID":   step.UUID,
		"LOADS_START_AT": strconv.FormatInt(at, 10),
		"LOADS_MACHINE":  strconv.Itoa(m.Index),
		"LOADS_MACHINES": strconv.Itoa(step.InstanceCount),
	}, x.ref.Environment)
}

// imageLoads loads each image once on each engine, however many machines that
// engine plays.
type imageLoads struct {
	mu    sync.Mutex
	loads map[string]*imageLoad
}

func newImageLoads() *imageLoads { return &imageLoads{loads: map[string]*imageLoad{}} }

type imageLoad struct {
	done chan struct{}
	id   string
	err  error
}

func (l *imageLoads) load(ctx context.Context, key string, f func() (string, error)) (string, error) {
	l.mu.Lock()
	load, ok := l.loads[key]
	if !ok {
		load = &imageLoad{done: make(chan struct{})}
		l.loads[key] = load
	}
	l.mu.Unlock()
	if !ok {
		load.id, load.err = f()
		close(load.done)
	}
	select {
	case <-load.done:
		return load.id, load.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
