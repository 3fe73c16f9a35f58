package hosts_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/hosts"
	"github.com/loads/loads/hosts/hoststest"
)

// rows is a broker's machine records.
type rows struct {
	mu   sync.Mutex
	list []broker.Machine
}

func (r *rows) MachinesIn(_ context.Context, states ...broker.MachineState) ([]broker.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.list), func(m broker.Machine) bool { return !slices.Contains(states, m.State) }), nil
}

func (r *rows) save(state broker.MachineState, machines ...broker.Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range machines {
		m.State = state
		r.list = append(slices.DeleteFunc(r.list, func(o broker.Machine) bool { return o.Token == m.Token }), m)
	}
}

// listed returns the hosts as if read from a file, with the labels.
func listed(engines []hoststest.Host, labels ...map[string]string) []hosts.Host {
	out := make([]hosts.Host, len(engines))
	for i, h := range engines {
		out[i] = hosts.Host{Name: h.Name, Endpoint: h.Endpoint, Address: h.Address, Public: h.Address}
		if i < len(labels) {
			out[i].Labels = labels[i]
		}
	}
	return out
}

func newList(hs []hosts.Host, r *rows) *hosts.List {
	return hosts.NewList(hs, dockerctl.NewDialer(dockerctl.Options{}), r, quiet())
}

func ids(machines []broker.Machine) []string {
	var out []string
	for _, m := range machines {
		out = append(out, m.ProviderID)
	}
	return out
}

// TestList runs on two engines, which its subtests share, each leaving them
// empty.
func TestList(t *testing.T) {
	t.Parallel()
	engines := hoststest.StartEngines(t, 2)
	t.Run("a host goes to one run at a time", func(t *testing.T) { testOneRunAtATime(t, engines) })
	t.Run("many at once never share a host", func(t *testing.T) { testManyAtOnce(t, engines) })
	t.Run("a token keeps its host, also after a crash", func(t *testing.T) { testCrash(t, engines) })
	t.Run("labels decide who may have a host", func(t *testing.T) { testLabels(t, engines) })
	t.Run("a host that does not answer is passed over", func(t *testing.T) { testSilent(t, engines) })
	t.Run("a stranger's certificate opens nothing", func(t *testing.T) { testStranger(t, engines) })
	t.Run("containers reach other hosts, and are cleaned up", func(t *testing.T) { testContainers(t, engines) })
	t.Run("streams end when their engine dies", func(t *testing.T) { testKilled(t, engines[0]) }) // the last: it stays dead
}

func testOneRunAtATime(t *testing.T, engines []hoststest.Host) {
	store := &rows{}
	p := newList(listed(engines), store)
	first := requests("b", 1)
	one := mustAcquire(t, p, first)
	want := broker.Machine{
		Pool: "list", ProviderID: "list/host-1", Address: engines[0].Address, PublicIP: engines[0].Address, Endpoint: engines[0].Endpoint,
	}
	if diff := cmp.Diff(acquired(first, []broker.Machine{want}), one); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	machines, err := p.Acquire(t.Context(), requests("b", 2))
	wantCode(t, err, broker.EUnavailable)
	says := "step one needs 2 hosts; of the 2 on the list, 2 suit region us-west-2 and type t3.micro, and 1 of these are free: " +
		"host-1 is taken by run " + first[0].RunUUID
	if err == nil || err.Error() != says {
		t.Errorf("got  %v\nwant %s", err, says)
	}
	if got := ids(machines); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("got machines %v, want none", got)
	}
	two := mustAcquire(t, p, requests("b", 1)) // the failure before held nothing
	if got := two[0].ProviderID; got != "list/host-2" {
		t.Errorf("got %s, want list/host-2", got)
	}
	mustRelease(t, p, one[0], one[0])
	if got := mustAcquire(t, p, requests("b", 1))[0].ProviderID; got != "list/host-1" {
		t.Errorf("after its release: got %s, want list/host-1", got)
	}
}

func testManyAtOnce(t *testing.T, engines []hoststest.Host) {
	p := newList(listed(engines), &rows{})
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			machines, _ := p.Acquire(t.Context(), requests("b", 1)) // most can't have one
			mu.Lock()
			defer mu.Unlock()
			if machines[0].ProviderID != "" {
				got = append(got, machines[0].ProviderID)
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if want := []string{"list/host-1", "list/host-2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func testCrash(t *testing.T, engines []hoststest.Host) {
	store := &rows{}
	reqs := requests("b", 2)
	machines := mustAcquire(t, newList(listed(engines), store), reqs)
	store.save(broker.MachineReady, machines...)

	after := newList(listed(engines), store) // knows only what is stored
	_, err := after.Acquire(t.Context(), requests("b", 1))
	wantCode(t, err, broker.EUnavailable)
	slices.Reverse(reqs)
	again := mustAcquire(t, after, reqs)
	slices.Reverse(again)
	if diff := cmp.Diff(machines, again); diff != "" {
		t.Errorf("asked again (-want +got):\n%s", diff)
	}
	for _, state := range []broker.MachineState{broker.MachineLost, broker.MachineReleasing} {
		store.save(state, machines...)
		if _, err := after.Acquire(t.Context(), requests("b", 1)); broker.CodeOf(err) != broker.EUnavailable {
			t.Errorf("a machine %s: got %v, want its host not to be free", state, err)
		}
	}
	mustRelease(t, after, machines...)
	store.save(broker.MachineReleased, machines...)
	mustAcquire(t, after, requests("b", 2))
}

func testLabels(t *testing.T, engines []hoststest.Host) {
	hs := listed(engines, map[string]string{"region": "eu-central-1", "type": "c7i.large"}, map[string]string{"region": "us-west-2"})
	for _, row := range []struct{ name, region, typ, want string }{
		{"both labels are the step's", "eu-central-1", "c7i.large", "list/host-1"},
		{"one label is another's", "eu-central-1", "t3.micro", ""},
		{"a host without a type suits any", "us-west-2", "m7g.large", "list/host-2"},
		{"no host is in the region", "sa-east-1", "c7i.large", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			reqs := requests("b", 1)
			reqs[0].Region, reqs[0].Type = row.region, row.typ
			machines, err := newList(hs, &rows{}).Acquire(t.Context(), reqs)
			if got := machines[0].ProviderID; got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

func testSilent(t *testing.T, engines []hoststest.Host) {
	hs := listed(engines)
	dead := hs[0]
	dead.Name, dead.Endpoint = "dead", broker.Endpoint{Host: "tcp://127.0.0.1:1"}
	p := newList(append([]hosts.Host{dead}, hs...), &rows{})
	if got, want := ids(mustAcquire(t, p, requests("b", 2))), []string{"list/host-1", "list/host-2"}; !slices.Equal(sorted(got), want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, err := p.Acquire(t.Context(), requests("b", 1))
	wantCode(t, err, broker.EUnavailable)
	if err == nil || !strings.Contains(err.Error(), "host-2 is taken by run") || !strings.Contains(err.Error(), "dead does not answer (") {
		t.Errorf("got %v, want who is taken and who does not answer", err)
	}
	m := dead
	wantCode(t, p.Release(t.Context(), broker.Machine{ProviderID: "list/dead", Endpoint: m.Endpoint}), broker.EUnavailable)
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

func testStranger(t *testing.T, engines []hoststest.Host) {
	hs := listed(engines)
	hs[0].Endpoint = engines[0].Stranger
	machines, err := newList(hs[:1], &rows{}).Acquire(t.Context(), requests("b", 1))
	wantCode(t, err, broker.EUnavailable)
	if machines[0].ProviderID != "" {
		t.Errorf("got %s, want no machine", machines[0].ProviderID)
	}
}

func testContainers(t *testing.T, engines []hoststest.Host) {
	id, store := uuid.NewString(), &rows{}
	p := newList(listed(engines), store)
	machines := mustAcquire(t, p, requests(id, 2))
	image := dockertest.Image(t, probe, "loads-test-list")
	var on []*dockerctl.Engine
	for i, m := range machines {
		on = append(on, mustOpen(t, m.Endpoint))
		imageID := mustLoad(t, on[i], image)
		s := spec(id, m, imageID, "serve", "serve", ":8000", "this is "+m.ProviderID)
		s.Ports = []broker.PortBinding{{Container: 8000, Host: 18000, Protocol: "tcp", Address: m.Address}}
		mustStart(t, on[i], s)
	}
	for i, m := range machines {
		other := machines[1-i]
		got := mustRun(t, on[i], spec(id, m, image.ID(), "ask", "ask", other.Address+":18000"))
		if want := "this is " + other.ProviderID + "\n"; got != want {
			t.Errorf("from %s: got %q, want %q", m.ProviderID, got, want)
		}
	}
	owned := mustOwned(t, p, id)
	if len(owned) != 6 {
		t.Fatalf("got %d owned, want 4 containers and 2 volumes", len(owned))
	}
	if err := p.Discard(t.Context(), owned[0]); err != nil {
		t.Errorf("discard: %v", err)
	}
	if got := len(mustOwned(t, p, id)); got != 5 {
		t.Errorf("got %d containers after discarding one, want 3", got)
	}
	// A host taken off the list is still cleaned up, and one that does not answer
	// hides none of the others.
	gone := newList(nil, store)
	mustRelease(t, gone, machines[0])
	hs := listed(engines)
	hs[0].Endpoint.Host = "tcp://127.0.0.1:1"
	left, err := newList(hs, store).Owned(t.Context(), id)
	wantCode(t, err, broker.EUnavailable)
	if len(left) == 0 || left[0].Placement != "list/host-2" || left[0].Address != engines[1].Address {
		t.Errorf("got %v, want those of host-2", left)
	}
	mustRelease(t, p, machines[1])
	if left := mustOwned(t, p, id); len(left) != 0 {
		t.Errorf("got %v, want nothing left", left)
	}
	wantCode(t, p.Discard(t.Context(), broker.Owned{Kind: "container", Placement: "list/none"}), broker.EInvalid)
}

func testKilled(t *testing.T, h hoststest.Host) {
	e := mustOpen(t, h.Endpoint)
	image := mustLoad(t, e, dockertest.Image(t, probe, "loads-test-killed"))
	m := broker.Machine{Token: uuid.NewString()}
	id := mustStart(t, e, spec("b", m, image, "sleep", "sleep"))
	first, read := io.Pipe()
	followed, waited := make(chan error, 1), make(chan error, 1)
	go func() {
		err := e.Logs(t.Context(), id, broker.LogOptions{Follow: true}, read, nil)
		followed <- errors.Join(err, read.Close())
	}()
	go func() { waited <- e.Wait(t.Context(), id) }()
	if line, err := bufio.NewReader(first).ReadString('\n'); err != nil || line != "asleep\n" {
		t.Fatalf("got %q, %v; want the container's first line", line, err)
	}
	h.Kill()
	for what, ended := range map[string]chan error{"following its output": followed, "waiting for its end": waited} {
		select {
		case err := <-ended:
			if got := broker.CodeOf(err); got != broker.EUnavailable {
				t.Errorf("%s: got %v, want it unavailable", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s went on without the engine", what)
		}
	}
}
