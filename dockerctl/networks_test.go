package dockerctl_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/hosts/hoststest"
)

func TestCreateNetwork_FindsTheFirstByName(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	labels := map[string]string{dockertest.LabelTest: name}
	n, err := e.CreateNetwork(t.Context(), name, labels)
	if err != nil {
		t.Fatal(err)
	}
	subnet, err := netip.ParsePrefix(n.Subnet)
	if err != nil {
		t.Fatal(err)
	}
	if gateway, err := netip.ParseAddr(n.Gateway); err != nil || !subnet.Contains(gateway) {
		t.Errorf("got gateway %s of %s, want an address of it", n.Gateway, n.Subnet)
	}
	if again, err := e.CreateNetwork(t.Context(), name, labels); err != nil || again.ID != n.ID {
		t.Errorf("again: got %v, %v; want the first, %s", again, err, n.ID)
	}
	_, err = e.CreateNetwork(t.Context(), name, map[string]string{dockertest.LabelTest: "other"})
	wantCode(t, err, broker.EConflict)
	for range 2 {
		if err := e.RemoveNetwork(t.Context(), n.ID); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if left, err := e.Networks(t.Context(), labels); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v; want none left", left, err)
	}
}

func TestCreateNetwork_OneOfManyAtOnce(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name := dockertest.Name(t)
	labels := map[string]string{dockertest.LabelTest: name}
	var wg sync.WaitGroup
	ids := make([]string, 5)
	for i := range ids {
		wg.Go(func() {
			n, err := e.CreateNetwork(t.Context(), name, labels)
			if err != nil {
				t.Error(err)
			}
			ids[i] = n.ID
		})
	}
	wg.Wait()
	left, err := e.Networks(t.Context(), labels)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || slices.ContainsFunc(ids, func(id string) bool { return id != left[0].ID }) {
		t.Errorf("got %v and %d networks, want all the same and one", ids, len(left))
	}
}

func TestRemoveNetwork_KeepsOneInUse(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	n, err := b.CreateNetwork(t.Context(), b.name, map[string]string{dockertest.LabelTest: b.name})
	if err != nil {
		t.Fatal(err)
	}
	spec := b.spec("member", "sleep")
	spec.Network = n.Name
	id := b.start(spec)
	wantCode(t, b.RemoveNetwork(t.Context(), n.ID), broker.EConflict)
	if err := b.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveNetwork(t.Context(), n.ID); err != nil {
		t.Errorf("after its container's removal: %v", err)
	}
}

func TestCreateNetwork_GoesOnWhenTheEnginesOwnAddressesAreUsedUp(t *testing.T) {
	t.Parallel()
	const many = 40 // an engine has about 30
	h := hoststest.StartEngines(t, 1)[0]
	e, err := dockerctl.Open(h.Endpoint, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var g errgroup.Group
	g.SetLimit(4)
	for i := range many {
		g.Go(func() error {
			_, err := e.CreateNetwork(t.Context(), fmt.Sprintf("net-%d", i), map[string]string{"n": strconv.Itoa(i)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var seen []netip.Prefix
	all, err := e.Networks(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		p, err := netip.ParsePrefix(n.Subnet)
		if err != nil {
			continue // host and none have no addresses
		}
		if slices.ContainsFunc(seen, p.Overlaps) {
			t.Errorf("%s of %s overlaps with another network", p, n.Name)
		}
		seen = append(seen, p)
	}
	if len(seen) != many+1 { // and the engine's default
		t.Errorf("got %d networks with addresses, want %d", len(seen), many+1)
	}
}
