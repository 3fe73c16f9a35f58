package broker

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a broker has told of an image stays when it is started again, whatever
// the next one has to do with the image.
func TestSpread_KeepsWhatAnEarlierBrokerHasTold(t *testing.T) {
	app := ImageSpread{Image: "app", Region: "r", Architecture: "amd64", Machines: 2, Pulls: 1, FromMachines: 1, MachineBytes: 7}
	node := ImageSpread{Image: "node", Region: "r", Architecture: "amd64", Machines: 3, Uploads: 1, UploadBytes: 9, FromMachines: 2}
	more := node
	more.Machines, more.FromMachines = 4, 3
	other := ImageSpread{Image: "node", Region: "r", Architecture: "arm64", Machines: 1, FromMachines: 1}
	for _, row := range []struct {
		name        string
		here, there int // machines seen to have the node image, of either architecture
		want        []ImageSpread
	}{
		{"none is looked at", 0, 0, []ImageSpread{app, node}},
		{"some are looked at again", 2, 0, []ImageSpread{app, node}},
		{"one has come", 4, 0, []ImageSpread{app, more}},
		{"one of another architecture has come", 3, 1, []ImageSpread{app, node, other}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &spread{stored: []ImageSpread{node, app}, trees: map[string]*tree{}}
			m := &machine{Machine: Machine{Region: "r"}}
			for arch, n := range map[string]int{"amd64": row.here, "arm64": row.there} {
				for range n {
					s.tree(m, arch, "node", "").has(&machine{}, func(*ImageSpread) {})
				}
			}
			if diff := cmp.Diff(row.want, s.figures()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
