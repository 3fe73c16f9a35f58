package hosts_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/hosts"
)

// mustLocal returns a pool for a broker of its own; what it owns is gone when
// the test ends.
func mustLocal(t *testing.T) (*hosts.Local, *dockerctl.Engine, string) {
	t.Helper()
	e, id := mustOpen(t, dockertest.Endpoint()), uuid.NewString()
	p := hosts.NewLocal(e, dockertest.Endpoint(), quiet())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		owned, err := p.Owned(ctx, id)
		for _, o := range owned {
			err = errors.Join(err, p.Discard(ctx, o))
		}
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return p, e, id
}

func TestLocal_MachinesPublishTheSamePort(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	p, e, id := mustLocal(t)
	image := mustLoad(t, e, dockertest.Image(t, probe, name))
	machines := mustAcquire(t, p, requests(id, 3))
	for _, m := range machines {
		s := spec(id, m, image, "serve", "serve", ":8000", "this is "+m.ProviderID)
		s.Ports = []broker.PortBinding{{Container: 8000, Host: 18000, Protocol: "tcp", Address: m.Address}}
		mustStart(t, e, s)
	}
	for i, m := range machines {
		from := machines[(i+1)%len(machines)]
		got := mustRun(t, e, spec(id, from, image, "ask", "ask", m.Address+":18000"))
		if want := "this is " + m.ProviderID + "\n"; got != want {
			t.Errorf("from %s to %s: got %q, want %q", from.ProviderID, m.ProviderID, got, want)
		}
	}
}

func TestLocal_ContainersReachTheirMachineByUDP(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	p, e, id := mustLocal(t)
	image := mustLoad(t, e, dockertest.Image(t, probe, name))
	m := mustAcquire(t, p, requests(id, 1))[0]
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(m.Address), Port: 8125})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustStart(t, e, spec(id, m, image, "send", "send", m.Address+":8125", "a:1|c"))
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := conn.ReadFromUDP(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:n]); got != "a:1|c" || from.IP.String() == m.Address {
		t.Errorf("got %q from %v, want a:1|c from the container's own address", got, from)
	}
}

func TestLocal_GivesTheSameMachineForTheSameToken(t *testing.T) {
	t.Parallel()
	p, e, id := mustLocal(t)
	reqs := requests(id, 2)
	want := mustAcquire(t, p, reqs)
	for _, m := range want {
		if m.Pool != "local" || m.Address == "" || m.PublicIP != m.Address || m.Network == "" || m.Endpoint != dockertest.Endpoint() {
			t.Errorf("got %+v, want all fields from Pool to Endpoint", m)
		}
	}
	again := hosts.NewLocal(e, dockertest.Endpoint(), quiet()) // as after a crash
	if diff := cmp.Diff(want, mustAcquire(t, again, reqs)); diff != "" {
		t.Errorf("asked again (-want +got):\n%s", diff)
	}
	if got := len(mustOwned(t, p, id)); got != 2 {
		t.Errorf("got %d things owned, want 2 networks", got)
	}
}

func TestLocal_ReleaseLeavesNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	p, e, id := mustLocal(t)
	image := mustLoad(t, e, dockertest.Image(t, probe, name))
	reqs := requests(id, 2)
	machines := mustAcquire(t, p, reqs)
	for _, m := range machines {
		mustStart(t, e, spec(id, m, image, "left", "sleep"))
	}
	mustRelease(t, p, machines[0], machines[0]) // twice
	for _, o := range mustOwned(t, p, id) {
		if o.Tags[broker.LabelMachine] != "1" {
			t.Errorf("%s %s of the machine released is left", o.Kind, o.ProviderID)
		}
	}
	// As when the broker was killed before it heard of the machine.
	unheard := machines[1]
	unheard.ProviderID, unheard.Network, unheard.Address = "", "", ""
	mustRelease(t, p, unheard)
	if left := mustOwned(t, p, id); len(left) != 0 {
		t.Errorf("got %v, want nothing left", left)
	}
	never := acquired(requests(id, 1), make([]broker.Machine, 1))[0]
	mustRelease(t, p, never)
}

func TestLocal_OwnsOnlyWhatItsBrokerMade(t *testing.T) {
	t.Parallel()
	name := dockertest.Name(t)
	p, e, id := mustLocal(t)
	image := mustLoad(t, e, dockertest.Image(t, probe, name))
	other, _, otherID := mustLocal(t)
	m := mustAcquire(t, p, requests(id, 1))[0]
	mustAcquire(t, other, requests(otherID, 1))
	mustStart(t, e, spec(id, m, image, "own", "sleep"))

	got := map[string]string{}
	owned := mustOwned(t, p, id)
	for _, o := range owned {
		got[o.Kind] = o.RunUUID
	}
	if diff := cmp.Diff(map[string]string{"network": m.RunUUID, "container": m.RunUUID, "volume": m.RunUUID}, got); diff != "" {
		t.Errorf("kinds and runs (-want +got):\n%s", diff)
	}
	for i := range owned { // networks first: they take their containers with them
		if err := p.Discard(t.Context(), owned[len(owned)-1-i]); err != nil {
			t.Errorf("discard %s: %v", owned[len(owned)-1-i].ProviderID, err)
		}
	}
	if left := mustOwned(t, p, id); len(left) != 0 {
		t.Errorf("got %v, want nothing left", left)
	}
	if left := mustOwned(t, other, otherID); len(left) != 1 {
		t.Errorf("got %v, want the other broker's network", left)
	}
	wantCode(t, p.Discard(t.Context(), broker.Owned{Kind: "instance"}), broker.EInvalid)
}

// scarce is an engine that makes no network for the machine of an index.
type scarce struct {
	*dockerctl.Engine
	index string
}

func (s scarce) CreateNetwork(ctx context.Context, name string, labels map[string]string) (broker.Network, error) {
	if labels[broker.LabelMachine] == s.index {
		return broker.Network{}, broker.Errorf(broker.EUnavailable, "no addresses for one more")
	}
	return s.Engine.CreateNetwork(ctx, name, labels)
}

func TestLocal_GivesWhatItCan(t *testing.T) {
	t.Parallel()
	_, e, id := mustLocal(t)
	p := hosts.NewLocal(scarce{e, "1"}, dockertest.Endpoint(), quiet())
	machines, err := p.Acquire(t.Context(), requests(id, 3))
	wantCode(t, err, broker.EUnavailable)
	if err == nil || !strings.Contains(err.Error(), "no addresses for one more") {
		t.Errorf("got %v, want the engine's reason", err)
	}
	for i, m := range machines {
		if got, want := m.ProviderID != "", i != 1; got != want {
			t.Errorf("machine %d: got %q, want one: %v", i, m.ProviderID, want)
		}
	}
}
