package broker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// busySeconds are values of a field second by second from Unix ms 0 on; a
// negative one did not come.
func busySeconds(parts ...[]float64) (values []metrics.HostValue) {
	for i, v := range slices.Concat(parts...) {
		if v >= 0 {
			values = append(values, metrics.HostValue{Time: int64(i+1) * secondMs, Value: v, Seconds: 1})
		}
	}
	return values
}

func seconds(n int, v float64) []float64 { return slices.Repeat([]float64{v}, n) }

func TestTenBusySecondsAreTooMany(t *testing.T) {
	const none = -1
	minute := metrics.HostValue{Time: 15 * secondMs, Value: 99, Seconds: 60}
	for _, tt := range []struct {
		name     string
		active   []metrics.HostValue
		from, to int64
		at       int64 // end of the window; 0 is none
		busy     float64
	}{
		{"idle", busySeconds(seconds(60, 3)), 0, 60_000, 0, 0},
		{"busy for ten seconds", busySeconds(seconds(20, 10), seconds(10, 99), seconds(20, 10)), 0, 60_000, 30_000, 99},
		{"busy for nine, and idle after", busySeconds(seconds(20, 10), seconds(9, 99), seconds(20, 10)), 0, 60_000, 0, 0},
		{"at the limit is not above it", busySeconds(seconds(60, 95)), 0, 60_000, 0, 0},
		{"a mean above it, though not each second", busySeconds(seconds(20, 0), seconds(6, 100), []float64{80}, seconds(10, 100)), 0, 60_000, 30_000, 98},
		{"before the container's start", busySeconds(seconds(30, 99), seconds(30, 10)), 25_000, 60_000, 0, 0},
		{"after its end", busySeconds(seconds(30, 10), seconds(30, 99)), 0, 30_000, 0, 0},
		{"from its very start", busySeconds(seconds(60, 99)), 5_000, 60_000, 15_000, 99},
		{"shorter than a window", busySeconds(seconds(9, 99)), 0, 9_000, 0, 0},
		{"half of the seconds are missing", busySeconds(slices.Repeat([]float64{99, none}, 10)), 0, 60_000, 11_000, 99},
		{"most of the seconds are missing", busySeconds(slices.Repeat([]float64{99, none, none, none, none}, 10)), 0, 60_000, 0, 0},
		{"only a minute's mean is left", []metrics.HostValue{minute}, 0, 60_000, 0, 0},
		{"nothing was told", nil, 0, 60_000, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := firstBusy(tt.active, busySeconds(seconds(60, 5)), tt.from, tt.to, 95)
			if ok != (tt.at != 0) || got.at != tt.at || got.busy < tt.busy-0.01 || got.busy > tt.busy+0.01 {
				t.Errorf("got %+v, %v; want %v percent at %d", got, ok, tt.busy, tt.at)
			}
			if ok && got.steal != 5 {
				t.Errorf("got %v percent of steal, want 5", got.steal)
			}
		})
	}
}

// busyRun is the series of a plan of one step, of two machines, whose second
// one has busy processors from the 5th second on.
func busyRun(timers bool, steal, oomKills float64) *metrics.Series {
	s := metrics.NewSeries()
	for machine, busy := range []float64{7, 98} {
		for seq := 1; seq <= 30; seq++ {
			f := metrics.Frame{Version: metrics.Version, Seq: uint64(seq), Time: int64(seq) * secondMs, Host: []metrics.HostPoint{
				{
					Name: "cpu", Tags: []metrics.Tag{{Name: "cpu", Value: "cpu-total"}},
					Fields: map[string]float64{"usage_active": busy, "usage_steal": steal},
				},
				{
					Name: metrics.ContainerMemory, Tags: []metrics.Tag{{Name: metrics.ContainerTag, Value: "load"}},
					Fields: map[string]float64{"oom_kill": oomKills * float64(machine)},
				},
			}}
			if timers {
				sketch := metrics.NewSketch()
				sketch.Add(1, 1)
				f.Points = []metrics.Point{{Kind: metrics.Timer, Name: "t", Sketch: sketch}}
			}
			s.Add("load", machine, f)
		}
	}
	return s
}

func TestWhichMachinesMayNotBeBusy(t *testing.T) {
	far, here := Endpoint{Host: "tcp://10.0.0.1:2376"}, Endpoint{Host: "unix:///var/run/docker.sock"}
	for _, tt := range []struct {
		name     string
		role     strategies.Role
		timers   bool
		steal    float64
		limit    int
		endpoint Endpoint
		want     string // part of the phrase; empty is nothing
		noted    bool   // told only
	}{
		{"one that sends timers", "", true, 0, 0, far, "the processors of load/1 were 98.0 % busy in the 10 s up to 00:00:15 UTC, 95 % are the limit", false},
		{"one that sends none", "", false, 0, 0, far, "", false},
		{"one said to make load", strategies.RoleGenerator, false, 0, 0, far, "load/1", false},
		{"one said to be under test", strategies.RoleTarget, true, 0, 0, far, "", false},
		{"a higher limit", "", true, 0, 99, far, "", false},
		{"a lower one", "", true, 0, 5, far, "load/0 were 7.0 % busy", false},
		{"no limit", "", true, 0, 100, far, "", false},
		{"what others took", "", true, 12.5, 0, far, "98.0 % busy, 12.5 % of it taken by other virtual machines (steal), in", false},
		{"on this computer", "", true, 0, 0, here, "load/1", true},
		{"on this computer with a limit", "", true, 0, 90, here, "load/1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := strategies.Plan{MaxCPUPercent: tt.limit, Steps: []strategies.Step{{Name: "load", Role: tt.role}}}
			started := time.UnixMilli(5000)
			machines := []Machine{{Index: 0, StartedAt: &started, Endpoint: tt.endpoint}, {Index: 1, StartedAt: &started, Endpoint: tt.endpoint}}
			found := saturations(plan, machines, busyRun(tt.timers, tt.steal, 0))
			if len(found) != min(len(tt.want), 1) {
				t.Fatalf("got %+v, want %q", found, tt.want)
			}
			if len(found) == 1 && (!strings.Contains(found[0].text(plan.CPULimitPercent()), tt.want) || found[0].noted(plan) != tt.noted) {
				t.Errorf("got %q, told only: %v; want %q, %v", found[0].text(plan.CPULimitPercent()), found[0].noted(plan), tt.want, tt.noted)
			}
		})
	}
}

func TestProcessesKilledForWantOfMemory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		role  strategies.Role
		kills float64
		want  []string
	}{
		{"none", "", 0, nil},
		{"in a generator", "", 2, []string{"2 processes in the container of load/1 were killed for want of memory"}},
		{"in a target", strategies.RoleTarget, 2, nil},
	} {
		plan := strategies.Plan{Steps: []strategies.Step{{Name: "load", Role: tt.role}}}
		if got := memoryFaults(plan, busyRun(true, 0, tt.kills)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
