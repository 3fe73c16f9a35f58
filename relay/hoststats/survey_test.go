package hoststats_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/relay/hoststats"
)

func TestSurvey_NamesWhatOtherContainersHaveLeft(t *testing.T) {
	t.Parallel()
	outer, own, other := strings.Repeat("0f", 32), strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for _, row := range []struct {
		name, self string
		processes  map[string]string // control groups, by number
		want       []string
	}{
		{
			"cgroup v1", "4:cpu:/docker/" + own + "\n",
			map[string]string{"1": "4:cpu:/\n", "20": "4:cpu:/docker/" + own + "\n", "30": "4:cpu:/docker/" + other + "\n"},
			[]string{"30 stray"},
		},
		{
			"cgroup v2, with a name space", "0::/\n",
			map[string]string{"1": "0::/../../init.scope\n", "20": "0::/\n", "30": "0::/../docker-" + other + ".scope\n"},
			[]string{"30 stray"},
		},
		{
			"a machine in a container", "4:cpu:/docker/" + outer + "/m/docker/" + own + "\n",
			map[string]string{"1": "4:cpu:/docker/" + outer + "/m\n", "20": "4:cpu:/docker/" + outer + "/m/docker/" + own + "\n"},
			nil,
		},
		{"no container but this one", "0::/\n", map[string]string{"1": "0::/../../system.slice/docker.service\n", "2": "0::/\n"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			proc := t.TempDir()
			write := func(name, text string) {
				file := filepath.Join(proc, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("self-cgroup", row.self)
			for pid, groups := range row.processes {
				write(pid+"/cgroup", groups)
				write(pid+"/comm", "stray\n")
			}
			got, err := hoststats.Survey(t.Context(), proc, proc, filepath.Join(proc, "self-cgroup"))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Strays, row.want) {
				t.Errorf("strays %q, want %q", got.Strays, row.want)
			}
			if got.Total == 0 || got.Free > got.Total {
				t.Errorf("disk of %d bytes, %d free", got.Total, got.Free)
			}
		})
	}
}
