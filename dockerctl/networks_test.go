package dockerctl_test

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

func TestCreateNetwork_FindsTheFirstByName(t *testing.T) {
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
