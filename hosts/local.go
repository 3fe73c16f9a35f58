package hosts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
)

// LocalName is the name of the pool of the local engine.
const LocalName = "local"

// labelToken carries a machine's token, on its network.
const labelToken = "loads.token"

// Kinds of things in Owned.
const (
	kindNetwork   = "network"
	kindContainer = "container"
	kindVolume    = "volume"
)

// parallel is how many requests a pool has under way at one engine.
const parallel = 4

// containers is what pools need of an engine to clean up.
type containers interface {
	List(ctx context.Context, labels map[string]string) ([]broker.Container, error)
	Remove(ctx context.Context, id string) error
	Volumes(ctx context.Context, labels map[string]string) ([]broker.Volume, error)
	RemoveVolume(ctx context.Context, name string) error
}

// networker is what Local needs of its engine.
type networker interface {
	containers
	CreateNetwork(ctx context.Context, name string, labels map[string]string) (broker.Network, error)
	Networks(ctx context.Context, labels map[string]string) ([]broker.Network, error)
	RemoveNetwork(ctx context.Context, id string) error
}

// createLimit is how long a network may take to be made, also once the run
// has been aborted meanwhile.
const createLimit = time.Minute

// Local is the pool of the local engine, which plays any number of machines.
// Each is a bridge network; the engine's own address on it, the gateway, is
// the machine's address. It remembers nothing: the engine's list of networks
// is all there is to know.
type Local struct {
	engine networker
	ep     broker.Endpoint
	log    *slog.Logger
}

var _ broker.Pool = (*Local)(nil)

// NewLocal returns the pool of the engine at the endpoint.
func NewLocal(engine networker, ep broker.Endpoint, log *slog.Logger) *Local {
	return &Local{engine: engine, ep: ep, log: log.With("component", "hosts", "pool", LocalName)}
}

// Name returns "local".
func (l *Local) Name() string { return LocalName }

// Acquire makes a network for each request, or finds the one it has made.
// Region and type don't matter.
func (l *Local) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	machines := make([]broker.Machine, len(reqs))
	errs := make([]error, len(reqs))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, req := range reqs {
		g.Go(func() error {
			machines[i], errs[i] = l.acquire(ctx, req)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return machines, summary(errs)
}

func (l *Local) acquire(ctx context.Context, req broker.MachineRequest) (broker.Machine, error) {
	n, err := l.network(ctx, req)
	if err != nil {
		return broker.Machine{}, err
	}
	if n.Gateway == "" {
		return broker.Machine{}, broker.Errorf(broker.EInternal, "network %s has no IPv4 gateway to be the machine's address", n.Name)
	}
	return broker.Machine{
		Pool:       LocalName,
		ProviderID: localID(n.Name),
		Address:    n.Gateway,
		PublicIP:   n.Gateway,
		Network:    n.Name,
		Endpoint:   l.ep,
	}, nil
}

// network finds the machine's network by its token, or makes it. Its name is
// new each time: a create that was under way when a broker was killed may end
// after the next broker has looked, and engines up to API 1.43 then have two
// networks of one name, to which no container can be connected. Here it only
// leaves a second network with the token, which Release removes.
func (l *Local) network(ctx context.Context, req broker.MachineRequest) (broker.Network, error) {
	made, err := l.engine.Networks(ctx, map[string]string{labelToken: req.Token, broker.LabelBroker: req.BrokerID})
	if err != nil {
		return broker.Network{}, err
	}
	if len(made) > 0 {
		return made[0], nil // the oldest, also after another has come up
	}
	// Not cut off by an abort: the engine would go on with it, and make the
	// network after Release has looked for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createLimit)
	defer cancel()
	return l.engine.CreateNetwork(ctx, networkName(req), networkLabels(req))
}

func networkName(req broker.MachineRequest) string {
	return fmt.Sprintf("loads-%s-%s-s%d-m%d-%04x", first8(req.BrokerID), first8(req.RunUUID), req.Step, req.Index, rand.N(1<<16))
}

func networkLabels(req broker.MachineRequest) map[string]string {
	return map[string]string{
		broker.LabelBroker:  req.BrokerID,
		broker.LabelRun:     req.RunUUID,
		broker.LabelStep:    strconv.Itoa(req.Step),
		broker.LabelMachine: strconv.Itoa(req.Index),
		labelToken:          req.Token,
	}
}

func first8(s string) string { return s[:min(8, len(s))] }

func localID(network string) string { return LocalName + "/" + network }

// summary joins errors, each text once: machines that can't be had for one
// reason need it said once.
func summary(errs []error) error {
	var out []error
	seen := map[string]bool{}
	for _, err := range errs {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	return errors.Join(out...)
}

// Release removes what is left of the machine: its containers and its network.
func (l *Local) Release(ctx context.Context, m broker.Machine) error {
	all, err := l.engine.Networks(ctx, map[string]string{broker.LabelRun: m.RunUUID})
	if err != nil {
		return err
	}
	left := machineLabels(m.RunUUID, strconv.Itoa(m.Step), strconv.Itoa(m.Index))
	errs := []error{removeAll(ctx, l.engine, left, l.log)}
	for _, n := range all {
		if localID(n.Name) == m.ProviderID || (m.Token != "" && n.Labels[labelToken] == m.Token) {
			errs = append(errs, l.engine.RemoveNetwork(ctx, n.ID))
		}
	}
	return summary(errs)
}

func machineLabels(run, step, index string) map[string]string {
	return map[string]string{broker.LabelRun: run, broker.LabelStep: step, broker.LabelMachine: index}
}

// removeAll removes the containers with the labels, and the volumes.
func removeAll(ctx context.Context, engine containers, labels map[string]string, log *slog.Logger) error {
	left, err := engine.List(ctx, labels)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range left {
		log.Warn("container left behind is removed", "container", c.Name, "run", c.Labels[broker.LabelRun])
		errs = append(errs, engine.Remove(ctx, c.ID))
	}
	volumes, err := engine.Volumes(ctx, labels)
	errs = append(errs, err)
	for _, v := range volumes {
		log.Warn("volume left behind is removed", "volume", v.Name, "run", v.Labels[broker.LabelRun])
		errs = append(errs, engine.RemoveVolume(ctx, v.Name))
	}
	return summary(errs)
}

// Owned lists the containers, volumes and networks with the broker's label.
func (l *Local) Owned(ctx context.Context, brokerID string) ([]broker.Owned, error) {
	ours := map[string]string{broker.LabelBroker: brokerID}
	networks, err := l.engine.Networks(ctx, ours)
	if err != nil {
		return nil, err
	}
	out, err := ownedOf(ctx, l.engine, ours, LocalName, "")
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		out = append(out, broker.Owned{
			ProviderID: localID(n.Name), Kind: kindNetwork, RunUUID: n.Labels[broker.LabelRun],
			Name: n.Name, Address: n.Gateway, State: "running", Type: "bridge", Placement: LocalName, Tags: n.Labels,
		})
	}
	return out, nil
}

// ownedOf describes the containers and volumes with the labels on a machine of
// the pool; containers come first, since they hold the volumes.
func ownedOf(ctx context.Context, engine containers, labels map[string]string, placement, address string) ([]broker.Owned, error) {
	list, err := engine.List(ctx, labels)
	if err != nil {
		return nil, err
	}
	volumes, err := engine.Volumes(ctx, labels)
	if err != nil {
		return nil, err
	}
	var out []broker.Owned
	for _, c := range list {
		out = append(out, ownedContainer(c, placement, address))
	}
	for _, v := range volumes {
		out = append(out, broker.Owned{
			ProviderID: placement + "/" + kindVolume + "/" + v.Name, Kind: kindVolume, RunUUID: v.Labels[broker.LabelRun],
			Name: v.Name, Address: address, Placement: placement, Tags: v.Labels,
		})
	}
	return out, nil
}

// discard ends what ownedOf has listed; any other kind is EInvalid.
func discard(ctx context.Context, engine containers, o broker.Owned) error {
	switch o.Kind {
	case kindContainer:
		return engine.Remove(ctx, containerID(o))
	case kindVolume:
		return engine.RemoveVolume(ctx, o.Name)
	}
	return broker.Errorf(broker.EInvalid, "%s has nothing of the kind %q", o.Placement, o.Kind)
}

// ownedContainer describes a container on a machine of the pool.
func ownedContainer(c broker.Container, placement, address string) broker.Owned {
	return broker.Owned{
		ProviderID: placement + "/" + kindContainer + "/" + c.ID,
		Kind:       kindContainer,
		RunUUID:    c.Labels[broker.LabelRun],
		Name:       c.Name,
		Address:    address,
		State:      c.State,
		Type:       c.Labels[broker.LabelRole],
		Placement:  placement,
		Tags:       c.Labels,
	}
}

// containerID returns the engine's id of a container from ownedContainer.
func containerID(o broker.Owned) string {
	return strings.TrimPrefix(o.ProviderID, o.Placement+"/"+kindContainer+"/")
}

// Discard removes a container, a volume, or a network with all of its machine.
func (l *Local) Discard(ctx context.Context, o broker.Owned) error {
	if o.Kind == kindNetwork {
		return l.Release(ctx, machineOf(o))
	}
	return discard(ctx, l.engine, o)
}

// machineOf returns the machine that a network was made for. Labels that are
// not as we write them select nothing.
func machineOf(o broker.Owned) broker.Machine {
	step, stepErr := strconv.Atoi(o.Tags[broker.LabelStep])
	index, indexErr := strconv.Atoi(o.Tags[broker.LabelMachine])
	if stepErr != nil || indexErr != nil {
		step, index = -1, -1
	}
	return broker.Machine{
		RunUUID: o.RunUUID, Step: step, Index: index,
		ProviderID: o.ProviderID, Token: o.Tags[labelToken],
	}
}
