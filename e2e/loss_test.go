package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Each test here causes a loss of known size in a real run, and wants the
// ledger to show exactly that, and the run INVALID.

// invalid fails the test unless the verdict is INVALID and says all that.
func invalid(t *testing.T, r broker.Report, says ...string) {
	t.Helper()
	for _, want := range says {
		if r.Run.Verdict != broker.Invalid || !strings.Contains(r.Run.Reason, want) {
			t.Errorf("verdict %s (%s), want INVALID with %q", r.Run.Verdict, r.Run.Reason, want)
		}
	}
}

// counted is the run's total of a counter.
func counted(r broker.Report, name string) float64 {
	for _, m := range r.Summary.Metrics {
		if m.Name == name {
			return m.Count
		}
	}
	return 0
}

// kernelLoss fails the test unless the kernel has dropped packets, and those
// received and dropped are all that were sent.
func kernelLoss(t *testing.T, r broker.Report, sent, least uint64) {
	t.Helper()
	l := r.Ledger
	if l.Datagrams+l.KernelDropped != sent || l.KernelDropped < least || l.Values != l.Datagrams {
		t.Errorf("%d packets received with %d values, %d dropped; want %d together, %d or more dropped", l.Datagrams, l.Values, l.KernelDropped, sent, least)
	}
	if hits := counted(r, "hits"); hits != float64(l.Datagrams) {
		t.Errorf("%v hits counted of %d packets received", hits, l.Datagrams)
	}
	if l.Sent != l.Stored || l.Broken != 0 || l.Open != 0 {
		t.Errorf("ledger %+v, want no frame missing", l)
	}
	invalid(t, r, fmt.Sprintf("%d datagrams were lost, as a machine's socket buffer was full", l.KernelDropped))
}

func TestLossBySocketBufferOf4KBIsCounted(t *testing.T) {
	t.Parallel()
	const packets = 20_000
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RoleRelay {
			spec.Command = append(spec.Command, "--read-buffer", "4096")
		}
	})
	r := l.await(l.start(countPlan(t, 1, "udp", packets, 1000)))
	kernelLoss(t, r, packets, 1)
}

// The relay stands still while all is sent, and goes on afterwards. Sending
// waits until it stands still, and the run goes on until it goes on.
func TestLossWhileTheRelayStandsStillIsCounted(t *testing.T) {
	t.Parallel()
	const packets = 50_000
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RoleRelay {
			spec.Command = append(spec.Command, "--read-buffer", "65536")
		}
	})
	standing := make(chan struct{})
	stands := sync.OnceFunc(func() { close(standing) })
	defer stands()
	l.faults.intercept(func(host, call string) error {
		if host == "s0-m0" && call == "PutFiles" { // which comes before the start
			<-standing
		}
		return nil
	})
	run := l.start(countPlan(t, 1, "udp", packets, 50) +
		"  - {name: rest, container_name: loads/node, additional_command_args: serve, ready: {log: listening, timeout: 60}, stop_timeout: 2}\n")
	machine := func() broker.Machine {
		ms, err := l.broker.Machines(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if m.Step == 0 {
				return m
			}
		}
		return broker.Machine{}
	}
	until(t, "the relay is there", 2*time.Minute, func() bool { return machine().State == broker.MachinePrepared })
	relay := machine().RelayID
	askEngine(t, "/containers/"+relay+"/kill?signal=STOP", "")
	stands()
	until(t, "all is sent", 2*time.Minute, func() bool { return machine().FinishedAt != nil })
	askEngine(t, "/containers/"+relay+"/kill?signal=CONT", "")
	until(t, "the other step is ready", 2*time.Minute, func() bool {
		r, err := l.broker.Run(t.Context(), run)
		return err == nil && r.StepRecords[1].ReadyAt != nil
	})
	if err := stopContainers(t, run, 1); err != nil {
		t.Fatal(err)
	}
	kernelLoss(t, l.await(run), packets, packets/2)
}

// A frameLine is a frame in the engine's log of a relay.
type frameLine struct {
	at, length int // of the frame's text in the file
	frame      metrics.Frame
}

// relayLog returns the name of the engine's log of the run's one relay.
func relayLog(t *testing.T, run string) string {
	t.Helper()
	res, err := sdk(t).ContainerInspect(t.Context(), container(t, run, broker.RoleRelay), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Container.LogPath
}

// frameLines reads the frames in it; there are none while the engine puts
// another file in its place.
func frameLines(t *testing.T, file string) (found []frameLine) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	at := 0
	for line := range bytes.Lines(text) {
		var entry struct{ Log string }
		if json.Unmarshal(line, &entry) == nil {
			if f, err := metrics.Decode([]byte(strings.TrimSpace(entry.Log))); err == nil {
				found = append(found, frameLine{at: at, length: len(line), frame: f})
			}
		}
		at += len(line)
	}
	return found
}

// oneRelay is a run of one machine that ticks for a time, and whose broker
// leaves once some ticks are stored. It returns the number of the last frame
// that the broker has stored.
func (l *lab) oneRelay(length string) (run string, stored uint64) {
	l.t.Helper()
	run = l.start("name: lossy\nsteps:\n  - {name: load, container_name: loads/node, additional_command_args: sleep " + length + ", stop_timeout: 1}\n")
	until(l.t, "a tick is stored", 2*time.Minute, func() bool {
		r, err := l.broker.Report(l.t.Context(), run)
		return err == nil && counted(r, "sleep.ticks") > 0
	})
	l.broker.Close()
	ms, err := l.store.Machines(l.t.Context(), run)
	if err != nil {
		l.t.Fatal(err)
	}
	return run, ms[0].FrameSeq
}

// ticksIn counts the ticks in a frame.
func ticksIn(f metrics.Frame) (n float64) {
	for _, p := range f.Points {
		if p.Name == "sleep.ticks" {
			n += p.Value
		}
	}
	return n
}

// A frame is cut off in the engine's log, as by a machine that lost power.
func TestLossOfAFrameCutOffIsCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	run, stored := l.oneRelay("600s")
	file := relayLog(t, run)
	var torn frameLine
	until(t, "a frame that is not stored has a tick", 2*time.Minute, func() bool {
		for _, f := range frameLines(t, file) {
			if f.frame.Seq > stored && ticksIn(f.frame) > 0 {
				torn = f
				return true
			}
		}
		return false
	})
	endLoad(t, nil, run)
	sent := allTicks(t, file)
	tear(t, file, torn)
	l.serve(l.store)
	r := l.await(run)
	if ld := r.Ledger; ld.Sent != ld.Stored+1 || ld.Broken != 1 || ld.Open != 0 {
		t.Errorf("ledger %+v, want one frame missing and one broken", ld)
	}
	if got, want := counted(r, "sleep.ticks"), sent-ticksIn(torn.frame); got != want || float64(r.Ledger.Values) != sent {
		t.Errorf("%v ticks stored of %d received, want %v of %v", got, r.Ledger.Values, want, sent)
	}
	invalid(t, r, "(1 missing), 1 broken")
}

// allTicks counts the ticks of a container that has ended in all frames of its
// relay, of which two more come first.
func allTicks(t *testing.T, file string) (n float64) {
	t.Helper()
	before := len(frameLines(t, file))
	var found []frameLine
	until(t, "two more frames are there", 2*time.Minute, func() bool {
		found = frameLines(t, file)
		return len(found) >= before+2
	})
	for _, f := range found {
		n += ticksIn(f.frame)
	}
	return n
}

// tear blanks the second half of a frame, and leaves the entry of the log as
// long as it was.
func tear(t *testing.T, file string, f frameLine) {
	t.Helper()
	w, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	line := make([]byte, f.length)
	if _, err := w.ReadAt(line, int64(f.at)); err != nil {
		t.Fatal(err)
	}
	end := bytes.Index(line, []byte(`\n","stream"`))
	if end < 0 {
		t.Fatalf("no frame in %q", line)
	}
	half := end / 2
	for line[half-1] == '\\' {
		half++
	}
	if _, err := w.WriteAt(bytes.Repeat([]byte{' '}, end-half), int64(f.at+half)); err != nil {
		t.Fatal(err)
	}
}

// Frames go on while no broker is there, and the engine's log of them is small.
func TestLossByALogRotatedAwayIsCounted(t *testing.T) {
	t.Parallel()
	const ticks = 16
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RoleRelay {
			spec.Log = broker.LogLimit{Size: 1024, Files: 2}
		}
	})
	l.restart(noCondensing{l.store}) // so that all frames can be looked at in the end
	run, stored := l.oneRelay(fmt.Sprint(ticks, "s"))
	file := relayLog(t, run)
	until(t, "frames that are not stored are gone", 2*time.Minute, func() bool {
		newer := frameLines(t, file) // first, as it becomes the older one
		kept := append(frameLines(t, file+".1"), newer...)
		return len(kept) > 0 && kept[0].frame.Seq > stored+1
	})
	l.serve(noCondensing{l.store})
	r := l.await(run)
	frames := l.frames(run)
	last := frames[len(frames)-1]
	missing, kept := int(last.Seq)-len(frames), 0.0
	for _, f := range frames {
		kept += ticksIn(f)
	}
	if ld := r.Ledger; missing < 1 || ld.Sent != last.Seq || ld.Stored != uint64(len(frames)) || ld.Broken != 0 || ld.Open != 0 || !last.Final {
		t.Errorf("ledger %+v, want %d sent, %d stored", ld, last.Seq, len(frames))
	}
	if got := counted(r, "sleep.ticks"); got != kept || r.Ledger.Values != ticks || got > float64(ticks) {
		t.Errorf("%v ticks stored of %d received, want the %v in the frames, of %d", got, r.Ledger.Values, kept, ticks)
	}
	invalid(t, r, fmt.Sprintf("%d frames sent, %d stored (%d missing), 0 broken", last.Seq, len(frames), missing))
}

// frames returns the frames of a run's one machine that are stored.
func (l *lab) frames(run string) (all []metrics.Frame) {
	l.t.Helper()
	stored, err := l.store.FramesToExport(l.t.Context(), run, 1000)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, s := range stored {
		f, err := metrics.Decode(s.Body)
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// Metrics whose seconds are of another hour are lost for all that asks for a
// step's time.
func TestMachineWhoseClockIsOffMakesTheRunInvalid(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.faults.clock = time.Hour
	r := l.await(l.start("name: clock\n" + ticks + "\nsteps:\n  - " + ticking + "\n"))
	invalid(t, r, "the clock of load/0 was +3600.0 s off, 2 s are the limit")
}

func TestLossBySeriesOverTheLimitIsCounted(t *testing.T) {
	t.Parallel()
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RoleRelay {
			spec.Command = append(spec.Command, "--max-series", "1")
		}
	})
	r := l.await(l.start("name: series\nsteps:\n  - " + ticking[:1] + "name: first" + ticking[len("{name: load"):] + "\n" +
		"  - " + probing(t, "refused 127.0.0.1:9 $STATSD_HOST:$STATSD_PORT 50") + "\n"))
	if ld := r.Ledger; ld.Values != 6+50 || ld.Dropped != 50 || counted(r, "req.count") != 50 {
		t.Errorf("ledger %+v, want 6 ticks, 50 calls, and 50 values of one metric more dropped", ld)
	}
	invalid(t, r, "50 values were dropped, as there were too many series")
}
