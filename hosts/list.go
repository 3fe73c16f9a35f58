package hosts

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
)

// ListName is the name of the pool of listed hosts.
const ListName = "list"

// probeLimit is how long a host may take to show that it is there.
const probeLimit = 20 * time.Second

// machineStore is what List needs of the broker's store.
type machineStore interface {
	MachinesIn(ctx context.Context, states ...broker.MachineState) ([]broker.Machine, error)
}

// List is the pool of the Docker hosts of a list. A host is allotted to one
// machine of one run at a time. Which are allotted is told by the broker's own
// machine records, so it survives the broker; held covers the moments before a
// record says so.
type List struct {
	hosts []Host
	dial  broker.Dialer
	store machineStore
	log   *slog.Logger

	mu   sync.Mutex
	held map[string]allotment // by host name
}

// allotment is what has a host.
type allotment struct{ token, run string }

var _ broker.Pool = (*List)(nil)

// NewList returns the pool of the hosts.
func NewList(hosts []Host, dial broker.Dialer, store machineStore, log *slog.Logger) *List {
	return &List{
		hosts: hosts, dial: dial, store: store, held: map[string]allotment{},
		log: log.With("component", "hosts", "pool", ListName),
	}
}

// Name returns "list".
func (l *List) Name() string { return ListName }

// Acquire allots a host to each request: one whose labels suit the request,
// that nothing else has, and that answers. Hosts are taken in the order of the
// list. A host that does not answer is passed over.
func (l *List) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	machines := make([]broker.Machine, len(reqs))
	silent := map[string]error{} // hosts that don't answer, with the reason
	for {
		picked, err := l.pick(ctx, reqs, machines, silent)
		if err != nil || len(picked) == 0 {
			return machines, err
		}
		failed := l.probe(ctx, picked)
		for i, h := range picked {
			if err := failed[h.Name]; err != nil {
				l.drop(h.Name, reqs[i].Token)
				silent[h.Name] = err
				continue
			}
			machines[i] = h.machine()
		}
		if err := ctx.Err(); err != nil {
			return machines, &broker.Error{Code: broker.EUnavailable, Message: "asking for hosts was given up", Err: err}
		}
	}
}

func (h Host) machine() broker.Machine {
	return broker.Machine{
		Pool: ListName, ProviderID: listID(h.Name), Address: h.Address, PublicIP: h.Public, Endpoint: h.Endpoint,
	}
}

func listID(host string) string { return ListName + "/" + host }

// pick holds a host for each request that has no machine yet, by index of the
// request, and returns nothing when all have one. When there are too few, none
// is held and the error says why.
func (l *List) pick(
	ctx context.Context, reqs []broker.MachineRequest, machines []broker.Machine, silent map[string]error,
) (map[int]Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken, err := l.taken(ctx)
	if err != nil {
		return nil, err
	}
	picked := map[int]Host{}
	for i, req := range reqs {
		if machines[i].ProviderID != "" {
			continue
		}
		h, ok := l.choose(req, taken, silent)
		if !ok {
			return nil, l.shortage(reqs, taken, silent)
		}
		picked[i], taken[h.Name] = h, allotment{req.Token, req.RunUUID}
	}
	for i, h := range picked {
		l.held[h.Name] = allotment{reqs[i].Token, reqs[i].RunUUID}
	}
	return picked, nil
}

// taken returns what has which host. The caller has locked l.
func (l *List) taken(ctx context.Context) (map[string]allotment, error) {
	rows, err := l.store.MachinesIn(ctx, broker.MachineRequested, broker.MachineReady, broker.MachinePrepared,
		broker.MachineLost, broker.MachineReleasing)
	if err != nil {
		return nil, fmt.Errorf("read which hosts are taken: %w", err)
	}
	taken := map[string]allotment{}
	for name, a := range l.held {
		taken[name] = a
	}
	for _, m := range rows {
		if name, ok := strings.CutPrefix(m.ProviderID, ListName+"/"); ok && m.Pool == ListName {
			taken[name] = allotment{m.Token, m.RunUUID}
		}
	}
	return taken, nil
}

// choose returns the host that has the request's token already, or else the
// first free one that suits it.
func (l *List) choose(req broker.MachineRequest, taken map[string]allotment, silent map[string]error) (Host, bool) {
	for _, h := range l.hosts {
		if a, ok := taken[h.Name]; ok && a.token == req.Token && silent[h.Name] == nil {
			return h, true
		}
	}
	for _, h := range l.hosts {
		if _, ok := taken[h.Name]; !ok && silent[h.Name] == nil && h.suits(req) {
			return h, true
		}
	}
	return Host{}, false
}

// shortage says why there are too few hosts for the requests, which are of one
// step.
func (l *List) shortage(reqs []broker.MachineRequest, taken map[string]allotment, silent map[string]error) error {
	var fit int
	var why []string
	for _, h := range l.hosts {
		if !h.suits(reqs[0]) {
			continue
		}
		fit++
		a, busy := taken[h.Name]
		ours := slices.ContainsFunc(reqs, func(r broker.MachineRequest) bool { return r.Token == a.token })
		if err := silent[h.Name]; err != nil {
			why = append(why, fmt.Sprintf("%s does not answer (%v)", h.Name, err))
		} else if busy && !ours {
			why = append(why, fmt.Sprintf("%s is taken by run %s", h.Name, a.run))
		}
	}
	text := fmt.Sprintf("step %s needs %d hosts; of the %d on the list, %d suit region %s and type %s, and %d of these are free",
		reqs[0].StepName, len(reqs), len(l.hosts), fit, reqs[0].Region, reqs[0].Type, fit-len(why))
	if len(why) > 0 {
		text += ": " + strings.Join(why, ", ")
	}
	return broker.Errorf(broker.EUnavailable, "%s", text)
}

// probe asks the picked hosts whether they are there, and returns why some are
// not, by name.
func (l *List) probe(ctx context.Context, picked map[int]Host) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var mu sync.Mutex
	failed := map[string]error{}
	var g errgroup.Group
	g.SetLimit(2 * parallel)
	for _, h := range picked {
		g.Go(func() error {
			err := l.with(h.Endpoint, func(e broker.Engine) error {
				_, err := e.Info(ctx)
				return err
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[h.Name] = err
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in failed
	return failed
}

// with opens an engine for a short while.
func (l *List) with(ep broker.Endpoint, do func(broker.Engine) error) error {
	e, err := l.dial(ep)
	if err != nil {
		return err
	}
	err = do(e)
	if closeErr := e.Close(); err == nil {
		err = closeErr
	}
	return err
}

// drop lets go of a host held for the token.
func (l *List) drop(host, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[host].token == token {
		delete(l.held, host)
	}
}

// Release removes what the run has left on the host, which must answer, and
// lets go of it. The machine's own endpoint is used, so that a host taken off
// the list is still cleaned up.
func (l *List) Release(ctx context.Context, m broker.Machine) error {
	if m.ProviderID != "" {
		left := machineLabels(m.RunUUID, strconv.Itoa(m.Step), strconv.Itoa(m.Index))
		err := l.with(m.Endpoint, func(e broker.Engine) error {
			return removeAll(ctx, e, left, l.log)
		})
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, a := range l.held {
		if a.token == m.Token {
			delete(l.held, name)
		}
	}
	return nil
}

// Owned lists the containers and volumes with the broker's label on all hosts. A host that
// does not answer is left out, and the error names it.
func (l *List) Owned(ctx context.Context, brokerID string) ([]broker.Owned, error) {
	found := make([][]broker.Owned, len(l.hosts))
	errs := make([]error, len(l.hosts))
	var g errgroup.Group
	g.SetLimit(2 * parallel)
	for i, h := range l.hosts {
		g.Go(func() error {
			errs[i] = l.with(h.Endpoint, func(e broker.Engine) error {
				var err error
				found[i], err = ownedOf(ctx, e, map[string]string{broker.LabelBroker: brokerID}, listID(h.Name), h.Address)
				return err
			})
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return slices.Concat(found...), summary(errs)
}

// Discard removes what Owned has listed.
func (l *List) Discard(ctx context.Context, o broker.Owned) error {
	i := slices.IndexFunc(l.hosts, func(h Host) bool { return listID(h.Name) == o.Placement })
	if i < 0 {
		return broker.Errorf(broker.EInvalid, "no host of the list has the %s %s", cmp.Or(o.Kind, "thing"), o.ProviderID)
	}
	return l.with(l.hosts[i].Endpoint, func(e broker.Engine) error {
		return discard(ctx, e, o)
	})
}
