package dockerctl_test

import (
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/dockertest"
)

func TestSharedVolume_LivesFromTheFirstContainerToItsRemoval(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	name := b.name
	labels := map[string]string{dockertest.LabelTest: name}
	spec := func(part string, readOnly bool, command ...string) broker.ContainerSpec {
		return broker.ContainerSpec{
			Name: name + "-" + part, Image: b.image, Command: command, Labels: labels,
			Shared: []broker.SharedVolume{{Name: name, Container: "/run/shared", ReadOnly: readOnly}},
			Files:  map[string][]byte{"/run/shared/" + part: []byte("of " + part)},
		}
	}
	first := b.create(spec("first", false, "sleep"))
	found, err := b.Volumes(t.Context(), labels)
	if err != nil || len(found) != 1 || found[0].Name != name || found[0].Labels[dockertest.LabelTest] != name {
		t.Fatalf("got volumes %v, %v; want %s with its label", found, err, name)
	}
	second := spec("second", true, "cat", "/run/shared/first")
	second.Files = nil
	if got := b.run(second); !strings.Contains(got, "of first") {
		t.Errorf("got %q in the second container, want what the first has there", got)
	}
	wantCode(t, b.RemoveVolume(t.Context(), name), broker.EConflict)
	if err := b.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if left, err := b.Volumes(t.Context(), labels); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v; want the volume to outlive one of its containers", left, err)
	}
	if err := b.Remove(t.Context(), name+"-second"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.RemoveVolume(t.Context(), name); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if left, err := b.Volumes(t.Context(), labels); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v; want none left", left, err)
	}
}
