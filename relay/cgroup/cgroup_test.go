package cgroup

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

const id = "4f2a9c5b7e1d4f2a9c5b7e1d4f2a9c5b7e1d4f2a9c5b7e1d4f2a9c5b7e1d4f2a"

// A tree is a machine's files by path; "=PATH" is another name of that file.
type tree map[string]string

func (t tree) write(tb testing.TB, root string) {
	tb.Helper()
	for _, links := range []bool{false, true} {
		for path, content := range t {
			at, same := filepath.Join(root, path), strings.HasPrefix(content, "=")
			if same != links {
				continue
			}
			err := os.MkdirAll(filepath.Dir(at), 0o755)
			if err == nil && same {
				err = os.Link(filepath.Join(root, content[1:]), at)
			} else if err == nil {
				err = os.WriteFile(at, []byte(content), 0o600)
			}
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// first is a machine with version 1, its container in the group.
func first(group string) tree {
	return tree{
		"cgroup/cpuacct/" + group + "/cpuacct.usage":        "1500000000\n",
		"cgroup/memory/" + group + "/memory.usage_in_bytes": "9000000\n",
		"cgroup/memory/" + group + "/memory.limit_in_bytes": "9223372036854771712\n",
		"cgroup/memory/" + group + "/memory.stat":           "cache 3000000\nrss 6000000\ninactive_file 1\ntotal_inactive_file 2000000\n",
		"cgroup/memory/" + group + "/memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		"proc/41/cgroup": "9:name=systemd:/init.scope\n8:memory:/\n",
		"proc/42/cgroup": "9:name=systemd:/" + group + "\n5:memory:/" + group + "\n4:cpu,cpuacct:/" + group + "\n0::/" + group + "\n",
	}.with(network)
}

// second is a machine with version 2, its container in the group.
func second(group string) tree {
	return tree{
		"cgroup/cgroup.controllers":           "cpuset cpu io memory hugetlb pids rdma misc\n",
		"cgroup/" + group + "/cpu.stat":       "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 0\n",
		"cgroup/" + group + "/memory.current": "9000000\n",
		"cgroup/" + group + "/memory.max":     "14000000\n",
		"cgroup/" + group + "/memory.stat":    "anon 6000000\nfile 3000000\ninactive_file 2000000\n",
		"cgroup/" + group + "/memory.events":  "low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\noom_group_kill 0\n",
		"proc/41/cgroup":                      "0::/init.scope\n",
		"proc/42/cgroup":                      "0::/../" + filepath.Base(group) + "\n",
	}.with(network)
}

const heading = "Inter-|   Receive                                                |  Transmit\n" +
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"

var network = tree{
	"proc/1/net/dev": heading + "    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n" +
		"  eth0: 5000000    1000    0    0    0     0          0         0  4000000     900    0    0    0     0       0          0\n",
	"proc/42/net/dev": heading + "    lo:     700       7    0    0    0     0          0         0      700       7    0    0    0     0       0          0\n" +
		"  eth0:    1000      10    1    2    0     0          0         0     3000      30    3    4    0     0       0          0\n" +
		"  eth1:     500       5    0    0    0     0          0         0      200       2    0    0    0     0       0          0\n",
}

func (t tree) with(other tree) tree {
	all := tree{}
	for _, from := range []tree{t, other} {
		for path, content := range from {
			all[path] = content
		}
	}
	return all
}

func (t tree) without(part string) tree {
	some := tree{}
	for path, content := range t {
		if !strings.Contains(path, part) {
			some[path] = content
		}
	}
	return some
}

func TestReadsWhatTheKernelTells(t *testing.T) {
	memory := map[string]float64{"usage": 7_000_000, "oom_kill": 3}
	bounded := map[string]float64{"usage": 7_000_000, "oom_kill": 3, "limit": 14_000_000, "usage_percent": 50}
	net := map[string]float64{
		"rx_bytes": 1500, "rx_packets": 15, "rx_errors": 1, "rx_dropped": 2,
		"tx_bytes": 3200, "tx_packets": 32, "tx_errors": 3, "tx_dropped": 4,
	}
	all := func(memory map[string]float64) map[string]map[string]float64 {
		return map[string]map[string]float64{metrics.ContainerMemory: memory, metrics.ContainerNetwork: net}
	}
	shared := tree{"proc/42/net/dev": "=proc/1/net/dev"}
	for _, tt := range []struct {
		name string
		tree tree
		want map[string]map[string]float64
		warn string
	}{
		{"version 1 with cgroupfs", first("docker/" + id), all(memory), ""},
		{"version 1 with systemd", first("system.slice/docker-" + id + ".scope"), all(memory), ""},
		{"version 2 with cgroupfs", second("docker/" + id), all(bounded), ""},
		{"version 2 with systemd", second("system.slice/docker-" + id + ".scope"), all(bounded), ""},
		{"of a user's own engine", second("user.slice/user-7.slice/user@7.service/user.slice/docker-" + id + ".scope"), all(bounded), ""},
		{"below a group of its own", first("ci/jobs/" + id), all(memory), ""},
		{"on the host's network", second("docker/" + id).with(shared), map[string]map[string]float64{metrics.ContainerMemory: bounded}, ""},
		{"of which no process is seen", second("docker/" + id).without("proc/42/cgroup"), map[string]map[string]float64{metrics.ContainerMemory: bounded}, ""},
		{
			"a figure that can't be read", second("docker/" + id).with(tree{"cgroup/docker/" + id + "/memory.events": "strange\n"}),
			all(map[string]float64{"usage": 7_000_000, "limit": 14_000_000, "usage_percent": 50}), "oom_kill",
		},
		{
			"version 1 without memory", first("docker/" + id).without("cgroup/memory"),
			map[string]map[string]float64{metrics.ContainerNetwork: net},
			metrics.ContainerMemory,
		},
		{
			"version 2 without memory", second("docker/" + id).without("/memory."),
			map[string]map[string]float64{metrics.ContainerNetwork: net},
			metrics.ContainerMemory,
		},
		{"of another id", second("docker/" + strings.ToUpper(id)), nil, ""},
		{"nothing there", tree{}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.tree.write(t, root)
			var log bytes.Buffer
			r := NewReader(filepath.Join(root, "proc"), filepath.Join(root, "cgroup"), slog.New(slog.NewTextHandler(&log, nil)))
			for range 2 { // the first reading has no usage, the second has none as nothing was used
				var got map[string]map[string]float64
				for _, p := range r.Read(id, "load") {
					if diff := cmp.Diff([]metrics.Tag{{Name: metrics.ContainerTag, Value: "load"}}, p.Tags); diff != "" {
						t.Errorf("tags of %s: -want +got:\n%s", p.Name, diff)
					}
					if p.Name == metrics.ContainerCPU {
						continue
					}
					if got == nil {
						got = map[string]map[string]float64{}
					}
					got[p.Name] = p.Fields
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			lines := strings.Count(log.String(), "\n")
			if tt.warn == "" && lines != 0 || tt.warn != "" && (lines != 1 || !strings.Contains(log.String(), tt.warn)) {
				t.Errorf("log: got %q, want one line on %q, or none", log.String(), tt.warn)
			}
		})
	}
}

func TestUsageIsThatSinceTheLastReading(t *testing.T) {
	for name, tt := range map[string]struct {
		tree        tree
		file, later string
	}{
		"version 1": {first("docker/" + id), "cgroup/cpuacct/docker/" + id + "/cpuacct.usage", "3600001500000000\n"},
		"version 2": {second("docker/" + id), "cgroup/docker/" + id + "/cpu.stat", "usage_usec 3600001500000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			tt.tree.write(t, root)
			r := NewReader(filepath.Join(root, "proc"), filepath.Join(root, "cgroup"), nil)
			if usage, ok := usageOf(r.Read(id, "load")); ok {
				t.Errorf("first reading: got %v percent, want none", usage)
			}
			if usage, _ := usageOf(r.Read(id, "load")); usage != 0 {
				t.Errorf("idle: got %v percent, want 0", usage)
			}
			tree{tt.file: tt.later}.write(t, root)
			before := r.containers[id].at
			usage, ok := usageOf(r.Read(id, "load"))
			passed := r.containers[id].at.Sub(before).Seconds()
			if want := 100 * 3_600_000 / passed; !ok || usage < 0.999*want || usage > 1.001*want {
				t.Errorf("after 3.6 million seconds of processors in %v s: got %v percent, want %v", passed, usage, want)
			}
		})
	}
}

func usageOf(points []metrics.HostPoint) (float64, bool) {
	for _, p := range points {
		if p.Name == metrics.ContainerCPU {
			usage, ok := p.Fields["usage_percent"]
			return usage, ok
		}
	}
	return 0, false
}

func TestAContainerThatEndsAndComesAgain(t *testing.T) {
	root := t.TempDir()
	machine := second("docker/" + id)
	machine.write(t, root)
	r := NewReader(filepath.Join(root, "proc"), filepath.Join(root, "cgroup"), nil)
	if got := r.Read(id, "load"); len(got) == 0 {
		t.Fatal("got nothing of one that runs")
	}
	if err := os.Rename(filepath.Join(root, "cgroup/docker"), filepath.Join(root, "gone")); err != nil {
		t.Fatal(err)
	}
	if got := r.Read(id, "load"); len(got) != 0 {
		t.Errorf("got %v of one that has ended", got)
	}
	machine.write(t, root)
	if _, ok := usageOf(r.Read(id, "load")); ok {
		t.Error("it has a usage since before it ended")
	}
}
