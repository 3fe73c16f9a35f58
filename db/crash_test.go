package db_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

// These variables make the test program the writer that TestKill or
// TestKillWhileCondensing kills.
const (
	crashFile    = "LOADS_TEST_CRASH_FILE"
	condenseFile = "LOADS_TEST_CONDENSE_FILE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		fmt.Fprintln(os.Stderr, writeForever(path))
		os.Exit(1)
	}
	if path := os.Getenv(condenseFile); path != "" {
		fmt.Fprintln(os.Stderr, condenseForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever goes on with the first run and machine of the database, and
// acknowledges on standard output what is committed.
func writeForever(path string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, path)
	if err != nil {
		return err
	}
	list, err := d.Runs(ctx, broker.RunFilter{})
	if err != nil {
		return err
	}
	run := list[0]
	machines, err := d.Machines(ctx, run.UUID)
	if err != nil {
		return err
	}
	m := machines[0]
	for seq := m.FrameSeq; ; seq += 20 {
		var frames []broker.StoredFrame
		for i := range uint64(20) {
			frames = append(frames, frame(m.ID, seq+i+1, false))
		}
		if err := d.AddFrames(ctx, frames, nil); err != nil {
			return err
		}
		events := []broker.Event{{Kind: broker.EventNote, Text: "a"}, {Kind: broker.EventNote, Text: "b"}}
		m.Reason = fmt.Sprint(seq + 20)
		if err := d.SaveMachine(ctx, &run, &m, events...); err != nil {
			return err
		}
		fmt.Println(events[1].Seq, seq+20)
	}
}

// TestKill kills a writer again and again, each time at another moment: what
// it acknowledged is there, and nothing is there by half.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "loads.db")
	d := mustOpenFile(t, path)
	run := mustRun(t, d)
	mustMachine(t, d, &run, 0, 0)
	ok(t, d.Close())
	for round := range 10 {
		events, frames := killedWriter(t, crashFile, path, 1+rand.IntN(60))
		checkSurvivors(t, path, run.UUID, events, frames)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
}

// killedWriter starts a writer, kills it after a number of acknowledgements,
// and returns the last one: the numbers of an event and of a frame.
func killedWriter(t *testing.T, variable, path string, acks int) (event int64, seq uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	lines := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == acks {
			ok(t, cmd.Process.Signal(syscall.SIGKILL))
		}
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		ok(t, err)
		_, err = fmt.Sscan(line, &event, &seq)
		ok(t, err)
	}
	_ = cmd.Wait() // it says that the writer was killed
	if status, isUnix := cmd.ProcessState.Sys().(syscall.WaitStatus); !isUnix || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the writer ended by itself: %v", cmd.ProcessState)
	}
	return event, seq
}

func checkSurvivors(t *testing.T, path, runUUID string, event int64, seq uint64) {
	t.Helper()
	ctx := context.Background()
	checkIntegrity(t, path)
	d := mustOpenFile(t, path)
	list, err := d.Events(ctx, runUUID, 0)
	ok(t, err)
	for i, e := range list {
		if e.Seq != int64(i)+1 {
			t.Errorf("event %d: got Seq %d", i, e.Seq)
		}
	}
	if int64(len(list)) < event || len(list)%2 != 0 {
		t.Errorf("got %d events, want pairs up to %d at least", len(list), event)
	}
	machines, err := d.Machines(ctx, runUUID)
	ok(t, err)
	stored := uint64(len(collect(t, d, runUUID)))
	if m := machines[0]; stored < seq || stored != m.FrameSeq || stored%20 != 0 {
		t.Errorf("got %d frames up to %d, want whole batches up to %d at least", stored, m.FrameSeq, seq)
	}
	ok(t, d.Close())
}
