package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/internal/waittest"
)

// A wear says of each call to the engine of a machine whether it fails. Machines
// are numbered as they were launched.
type wear func(ctx context.Context, machine int, call string) error

// A worn is the engine of one machine, some of whose calls fail.
type worn struct {
	broker.Engine
	n    int
	wear wear
}

func (w *worn) Info(ctx context.Context) (broker.EngineInfo, error) {
	if err := w.wear(ctx, w.n, "Info"); err != nil {
		return broker.EngineInfo{}, err
	}
	return w.Engine.Info(ctx)
}

func (w *worn) EnsureImage(ctx context.Context, ref, url string) (string, error) {
	if err := w.wear(ctx, w.n, "EnsureImage"); err != nil {
		return "", err
	}
	return w.Engine.EnsureImage(ctx, ref, url)
}

func (w *worn) Create(ctx context.Context, spec broker.ContainerSpec) (string, error) {
	if err := w.wear(ctx, w.n, "Create"); err != nil {
		return "", err
	}
	return w.Engine.Create(ctx, spec)
}

// openWorn opens a desk each of whose machines has an engine of its own, as far as
// the broker can tell.
func openWorn(t *testing.T, wear wear) *desk {
	t.Helper()
	var mu sync.Mutex
	numbers := map[string]int{}
	return openDesk(t, func(c *broker.Config, r *rental) {
		dial := dockerctl.NewDialer(dockerctl.Options{NodeDir: nodeDir(t)})
		c.Dial = func(ep broker.Endpoint) (broker.Engine, error) {
			e, err := dial(dockertest.Endpoint())
			mu.Lock()
			defer mu.Unlock()
			return &worn{e, numbers[ep.Host], wear}, err
		}
		r.apart = func(m *broker.Machine) {
			mu.Lock()
			defer mu.Unlock()
			m.Endpoint.Host = "machine:" + m.ProviderID
			if _, known := numbers[m.Endpoint.Host]; !known {
				numbers[m.Endpoint.Host] = len(numbers)
			}
		}
	})
}

// failing has one call fail on machines.
func failing(call string, err error, machines ...int) wear {
	return func(_ context.Context, n int, c string) error {
		if c == call && slices.Contains(machines, n) {
			return err
		}
		return nil
	}
}

// dying has machines answer no more once an image is to come.
func dying(machines ...int) wear {
	var mu sync.Mutex
	dead := map[int]bool{}
	return func(_ context.Context, n int, call string) error {
		mu.Lock()
		defer mu.Unlock()
		dead[n] = dead[n] || call == "EnsureImage" && slices.Contains(machines, n)
		if dead[n] {
			return broker.Errorf(broker.EUnavailable, "the container engine does not answer")
		}
		return nil
	}
}

var errFull = broker.Errorf(broker.EBroken, "can't load image: the container engine says: no space left on device")

func (d *desk) replacedMachines(run broker.Run) []broker.Machine {
	d.t.Helper()
	report, err := d.Report(d.t.Context(), run.UUID)
	ok(d.t, err)
	return report.Replaced
}

func (d *desk) countLaunched() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.launched)
}

func TestAMachineThatTurnsOutBadIsReplaced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		wear wear
		why  string
	}{
		{"its disk is full of images", failing("EnsureImage", errFull, 0), "no space left on device"},
		{"there is no room for its relay", failing("Create", errFull, 1), "no space left on device"},
		{"it dies while images come, and so does the next", dying(1, 2), "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openWorn(t, tt.wear)
			run := d.await(d.run("1s"))
			if run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone {
				t.Fatalf("verdict %s (%s), cleanup %s; want PASS and done, in:\n%s", run.Verdict, run.Reason, run.Cleanup, d.story(run))
			}
			replaced := d.replacedMachines(run)
			if n := d.countLaunched(); n != 2+len(replaced) || len(replaced) == 0 {
				t.Errorf("%d machines were launched and %d replaced, want one for each of 2 and of those", n, len(replaced))
			}
			for _, m := range replaced {
				if m.State != broker.MachineReleased || m.ReleasedAt == nil || !strings.Contains(m.Reason, tt.why) {
					t.Errorf("replaced was %+v, want it released, for %q", m, tt.why)
				}
				if text := fmt.Sprintf("Machine %s is of no use, and another is taken in its place: ", m.ProviderID); !strings.Contains(d.story(run), text) {
					t.Errorf("want %q told in:\n%s", text, d.story(run))
				}
			}
			report, err := d.Report(t.Context(), run.UUID)
			ok(t, err)
			if all := report.SpentUSD(time.Now()); all <= broker.Spent(report.Machines, time.Now()) {
				t.Errorf("%v USD were spent, want more than for the machines that were used", all)
			}
			if !report.Ledger.Balance || len(report.Machines) != 2 {
				t.Errorf("%d machines, ledger %+v; want 2, and a balance", len(report.Machines), report.Ledger)
			}
		})
	}
}

func TestNoMachineIsTakenForAFaultOfThePlan(t *testing.T) {
	t.Parallel()
	for _, code := range []broker.Code{broker.ENotFound, broker.EInvalid, broker.EConflict, broker.EInternal} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			d := openWorn(t, failing("EnsureImage", broker.Errorf(code, "there is no such image"), 0, 1))
			run := d.await(d.run("1s"))
			if run.Verdict != broker.Errored || !strings.Contains(run.Reason, "can't be used: there is no such image") || run.Cleanup != broker.CleanupDone {
				t.Errorf("verdict %s (%s), cleanup %s; want ERROR for the image, and done", run.Verdict, run.Reason, run.Cleanup)
			}
			if n := d.countLaunched(); n != 2 {
				t.Errorf("%d machines were launched, want 2", n)
			}
		})
	}
}

func TestAStepWhoseMachinesAreAllBadEndsTheRun(t *testing.T) {
	t.Parallel()
	d := openWorn(t, func(_ context.Context, _ int, call string) error {
		if call == "EnsureImage" {
			return errFull
		}
		return nil
	})
	run := d.await(d.run("1s"))
	if run.Verdict != broker.Errored || !strings.Contains(run.Reason, "no space left on device") || run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s; want ERROR for the disk, and done", run.Verdict, run.Reason, run.Cleanup)
	}
	if n := d.countLaunched(); n > 4 {
		t.Errorf("%d machines were launched for 2, want 2 more at most", n)
	}
}

// TestAMachineThatEndsBeforeTheOthersAreReadyIsReplaced takes away the relay of
// one that was prepared, while the other is not.
func TestAMachineThatEndsBeforeTheOthersAreReadyIsReplaced(t *testing.T) {
	t.Parallel()
	prepared := make(chan struct{})
	d := openWorn(t, func(ctx context.Context, n int, call string) error {
		if n != 1 || call != "EnsureImage" {
			return nil
		}
		select {
		case <-prepared:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	run := d.run("1s")
	waittest.Until(t, "one machine is prepared", 5*time.Minute, func() bool {
		machines, err := d.Machines(t.Context(), run.UUID)
		ok(t, err)
		i := slices.IndexFunc(machines, func(m broker.Machine) bool { return m.State == broker.MachinePrepared })
		if i < 0 {
			return false
		}
		engine, err := dockerctl.Open(dockertest.Endpoint(), dockerctl.Options{})
		ok(t, err)
		defer engine.Close()
		ok(t, engine.Remove(t.Context(), machines[i].RelayID))
		return true
	})
	close(prepared)
	if run = d.await(run); run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone || d.countLaunched() != 3 {
		t.Errorf("verdict %s (%s), cleanup %s, %d machines; want PASS, done and 3, in:\n%s",
			run.Verdict, run.Reason, run.Cleanup, d.countLaunched(), d.story(run))
	}
}

func TestLateMachinesThatTurnOutBadAreReplaced(t *testing.T) {
	t.Parallel()
	d := openWorn(t, failing("EnsureImage", errFull, 1))
	run, err := d.startPlan(`name: late
steps:
  - {name: early, container_name: loads/node, additional_command_args: sleep 1s}
  - {name: late, container_name: loads/node, additional_command_args: sleep 1s, run_delay: 3, lead: 2}
`)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Pass || len(d.replacedMachines(run)) != 1 {
		t.Errorf("verdict %s (%s), want PASS with one machine replaced, in:\n%s", run.Verdict, run.Reason, d.story(run))
	}
}

// TestRelaysAreToldOfTheMachineThatIsInThePlaceOfAnother has the machine with a
// name replaced when the other's relay has been told of it.
func TestRelaysAreToldOfTheMachineThatIsInThePlaceOfAnother(t *testing.T) {
	t.Parallel()
	d := openWorn(t, failing("Create", errFull, 0, 1))
	run, err := d.startPlan(`name: named
max_cpu_percent: 100 # this computer is all of the machines
criteria:
  - count("req.count", "status:200") > 0
steps:
  - {name: web, container_name: loads/node, additional_command_args: "serve --listen :8000", run_max_time: 40, stop_timeout: 1, port_mapping: "8000:8000", dns_name: shop}
  - {name: load, container_name: loads/node, additional_command_args: "gen --url http://shop:8000/ --rate 20 --duration 25s", run_delay: 1, run_max_time: 60, stop_timeout: 1}
`)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Pass || len(d.replacedMachines(run)) != 2 {
		t.Errorf("verdict %s (%s), want PASS with both machines replaced, in:\n%s", run.Verdict, run.Reason, d.story(run))
	}
}

func TestAMachineIsReplacedAcrossARestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hang func(*rental, chan struct{}) // sends on the channel where the broker is to end
	}{
		{"before the bad one was given back", func(r *rental, here chan struct{}) {
			r.onRelease = func(ctx context.Context, m broker.Machine) error {
				here <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
		}},
		{"before the other was had", func(r *rental, here chan struct{}) {
			r.onAcquire = func(ctx context.Context, n int) error {
				if n != 1 {
					return nil
				}
				here <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openWorn(t, failing("EnsureImage", errFull, 0))
			here := make(chan struct{}, 8)
			d.set(func() { tt.hang(d.rental, here) })
			run := d.run("1s")
			select {
			case <-here:
			case <-time.After(5 * time.Minute):
				t.Fatal("it did not come so far")
			}
			ok(t, d.Close())
			d.set(func() { d.onRelease, d.onAcquire = nil, nil })
			d.open()
			if run = d.await(run); run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone || d.countLaunched() != 3 {
				t.Errorf("verdict %s (%s), cleanup %s, %d machines; want PASS, done and 3, in:\n%s",
					run.Verdict, run.Reason, run.Cleanup, d.countLaunched(), d.story(run))
			}
			for _, m := range d.replacedMachines(run) {
				if m.State != broker.MachineReleased {
					t.Errorf("machine %s, which was replaced, is %s", m.ProviderID, m.State)
				}
			}
		})
	}
}
