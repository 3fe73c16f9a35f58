package hoststats

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"golang.org/x/sys/unix"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
)

// find returns the fields of a measurement, with the tag of that value if one
// is given.
func find(points []metrics.HostPoint, name, tag string) map[string]float64 {
	for _, p := range points {
		if p.Name == name && (tag == "" || p.Tags[0].Value == tag) {
			return p.Fields
		}
	}
	return nil
}

// spin keeps the processors that this process may use busy until holds.
func spin(holds func() bool) {
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for !holds() {
			}
		})
	}
	wg.Wait()
}

// processorTime is the time of processors that this process has had.
func processorTime(t *testing.T) (user, all time.Duration) {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// All processors together are as busy as this process at least.
func TestBusyLoopShowsInCPU(t *testing.T) {
	r := mustReader(t, nil)
	if cpu := find(r.Read(t.Context()), "cpu", ""); cpu != nil {
		t.Errorf("first reading: got %v, want no usage yet", cpu)
	}
	begin := time.Now()
	processors := find(r.Read(t.Context()), "system", "")["n_cpus"]
	user, all := processorTime(t)
	enough := all + 2*time.Second
	spin(func() bool { _, all := processorTime(t); return all >= enough })
	userThen, allThen := processorTime(t)
	cpu := find(r.Read(t.Context()), "cpu", "cpu-total")
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(begin).Seconds() / processors }
	// The kernel counts others' time by ticks, and ours more exactly.
	if wantUser, want := 0.7*percent(userThen-user), 0.7*percent(allThen-all); cpu["usage_user"] < wantUser || cpu["usage_active"] < want || cpu["usage_active"] > 100 {
		t.Errorf("after two seconds of processors: got %v, want %v percent in user mode at least, and %v in all", cpu, wantUser, want)
	}
	if sum := cpu["usage_active"] + cpu["usage_idle"] + cpu["usage_iowait"]; sum < 99.9 || sum > 100.1 {
		t.Errorf("active, idle and waiting are %v percent together, want 100", sum)
	}
}

func TestMemoryThatIsUsedShows(t *testing.T) {
	r := mustReader(t, nil)
	const size = 256 << 20
	var after map[string]float64
	var used float64
	shows := func() bool {
		before := find(r.Read(t.Context()), "mem", "")
		block := make([]byte, size)
		for i := 0; i < size; i += os.Getpagesize() {
			block[i] = 1
		}
		after = find(r.Read(t.Context()), "mem", "")
		runtime.KeepAlive(block)
		block = nil
		debug.FreeOSMemory()
		used = before["available"] - after["available"]
		return used >= size/2
	}
	if !waittest.Holds(5*time.Minute, shows) { // others may free as much meanwhile
		t.Errorf("available memory fell by %v bytes, want %d about", used, size)
	}
	if p := after["used_percent"]; after["total"] < size || p <= 0 || p >= 100 {
		t.Errorf("got %v", after)
	}
}

func TestLoadAndProcessors(t *testing.T) {
	system := find(mustReader(t, nil).Read(t.Context()), "system", "")
	if int(system["n_cpus"]) < runtime.NumCPU() || system["load1"] < 0 {
		t.Errorf("got %v, want %d processors at least", system, runtime.NumCPU())
	}
}

// mustReader returns a reader that waits for its counts, however busy the machine
// is.
func mustReader(tb testing.TB, log *slog.Logger) *Reader {
	tb.Helper()
	r := NewReader(log)
	r.patience = time.Minute
	tb.Cleanup(r.Close)
	return r
}

// TestCountsThatTakeLongKeepNoFrameWaiting has a count that is not done.
func TestCountsThatTakeLongKeepNoFrameWaiting(t *testing.T) {
	r := mustReader(t, nil)
	r.patience = time.Millisecond
	slow := make(chan count, 1)
	r.counting = slow
	if points, err := r.readStates(t.Context()); err != nil || points != nil {
		t.Errorf("got %v, %v before the first count, want nothing", points, err)
	}
	slow <- count{states: map[string]float64{"tcp_listen": 7}, took: time.Hour}
	r.patience = time.Minute
	for range 2 {
		points, err := r.readStates(t.Context())
		if err != nil || len(points) != 1 || points[0].Fields["tcp_listen"] != 7 {
			t.Errorf("got %v, %v, want what was counted", points, err)
		}
	}
}

func TestConnectionsShowByState(t *testing.T) {
	// Others use this computer too, and may close as many of theirs meanwhile.
	var established, waiting float64
	shows := func() bool {
		established, waiting = connections(t)
		return established >= 80 && waiting >= 30
	}
	if !waittest.Holds(5*time.Minute, shows) {
		t.Errorf("%v connections more are established and %v in TIME_WAIT, want 100 and 50", established, waiting)
	}
}

// connections opens 50 connections to itself and closes them again, and returns how
// many more were established, and then in TIME_WAIT.
func connections(t *testing.T) (established, waiting float64) {
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const pairs = 50
	before := find(mustReader(t, nil).Read(t.Context()), "netstat", "")
	var ours, theirs []net.Conn
	for range pairs {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		other, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		ours, theirs = append(ours, conn), append(theirs, other)
	}
	open := find(mustReader(t, nil).Read(t.Context()), "netstat", "")
	for i := range ours {
		_ = ours[i].Close()
		_, _ = io.Copy(io.Discard, theirs[i]) // until the end that ours has sent
		_ = theirs[i].Close()
	}
	closed := find(mustReader(t, nil).Read(t.Context()), "netstat", "")
	return open["tcp_established"] - before["tcp_established"], closed["tcp_time_wait"] - before["tcp_time_wait"]
}

func TestManyConnectionsAreCountedLessOften(t *testing.T) {
	r := mustReader(t, nil)
	first, err := r.readStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.tcpFrom = time.Now().Add(time.Hour) // as after a count of 72 seconds
	r.tcp["tcp_listen"] = -1
	second, err := r.readStates(t.Context())
	if err != nil || second[0].Fields["tcp_listen"] != -1 || first[0].Fields["tcp_listen"] == -1 {
		t.Errorf("got %v, %v, want the last count again, not shared with it", second, err)
	}
}

func TestTableThatIsNotThereHasNoConnections(t *testing.T) {
	missing, empty := filepath.Join(t.TempDir(), "tcp6"), filepath.Join(t.TempDir(), "tcp")
	if counts, err := countStates(t.Context(), empty, missing); err == nil {
		t.Errorf("got %v, want an error where no table is there", counts)
	}
	if err := os.WriteFile(empty, []byte("  sl  local_address rem_address   st\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	counts, err := countStates(t.Context(), empty, missing)
	if err != nil || len(counts) == 0 || counts["tcp_established"] != 0 {
		t.Errorf("got %v, %v, want every state with 0", counts, err)
	}
}

func TestWhatDisksAre(t *testing.T) {
	all := map[string]disk.IOCountersStat{}
	for _, name := range []string{"sda", "sda1", "sda12", "sdaa", "vda", "xvda1", "nvme0n1", "nvme0n1p1", "mmcblk0", "mmcblk0p2", "loop7", "dm-0", "md127", "zram0", "sr0"} {
		all[name] = disk.IOCountersStat{}
	}
	var got []string
	for name := range all {
		if isDisk(name, all) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{"mmcblk0", "nvme0n1", "sda", "sdaa", "vda", "xvda1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatInterfacesLeadOutside(t *testing.T) {
	for name, virtual := range map[string]bool{
		"lo": true, "veth12ab": true, "br-7f00": true, "docker0": true, "eth0.100": true, "bond0": true, "wg0": true, "tun0": true,
		"eth0": false, "ens5": false, "enp0s31f6": false, "wlan0": false, "ib0": false,
	} {
		if isVirtual(name) != virtual {
			t.Errorf("%s: virtual is %v, want %v", name, !virtual, virtual)
		}
	}
}

func TestTotalsNeverFall(t *testing.T) {
	var all totals
	for _, step := range []struct {
		what    string
		devices map[string]map[string]float64
		want    float64
	}{
		{"at first, all that was counted", map[string]map[string]float64{"a": {"n": 100}, "b": {"n": 10}}, 110},
		{"growth", map[string]map[string]float64{"a": {"n": 105}, "b": {"n": 10}}, 115},
		{"one goes away", map[string]map[string]float64{"a": {"n": 106}}, 116},
		{"one comes", map[string]map[string]float64{"a": {"n": 106}, "c": {"n": 4}}, 120},
		{"one begins anew", map[string]map[string]float64{"a": {"n": 2}, "c": {"n": 4}}, 122},
	} {
		if got := all.add(step.devices)["n"]; got != step.want {
			t.Errorf("%s: got %v, want %v", step.what, got, step.want)
		}
	}
}

func TestPointsAreFitForAFrame(t *testing.T) {
	r := mustReader(t, nil)
	r.Read(t.Context())
	begin := time.Now()
	spin(func() bool { return time.Since(begin) > 20*time.Millisecond })
	points := r.Read(t.Context())
	for _, name := range []string{"cpu", "mem", "system", "netstat"} {
		if find(points, name, "") == nil {
			t.Errorf("there is no %s", name)
		}
	}
	line, err := metrics.Encode(metrics.Frame{Seq: 1, Time: 1, Host: points})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.Decode(line); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes", len(line))
}

func BenchmarkRead(b *testing.B) {
	r := mustReader(b, nil)
	for b.Loop() {
		r.Read(b.Context())
	}
}

func TestWhatCannotBeReadIsToldOnceAndLeftOut(t *testing.T) {
	t.Setenv("HOST_PROC", t.TempDir()) // where the library looks
	var log bytes.Buffer
	r := mustReader(t, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		points := r.Read(t.Context())
		if find(points, "mem", "") != nil || find(points, "netstat", "") == nil {
			t.Errorf("got %v, want no memory, but connections", points)
		}
		if _, err := metrics.Encode(metrics.Frame{Seq: 1, Time: 1, Host: points}); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "measurement=mem"); n != 1 {
		t.Errorf("told of the memory %d times, want once: %s", n, log.String())
	}
}
