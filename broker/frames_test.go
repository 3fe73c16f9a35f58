package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// A logEngine has one container, whose output is read in pieces: each reading
// gets the next one, and breaks off at its end unless it is the last.
type logEngine struct {
	Engine
	pieces  []string
	running bool // also after the last piece
}

func (e *logEngine) Inspect(context.Context, string) (Container, error) {
	c := Container{State: "exited", StartedAt: time.Now()}
	if len(e.pieces) > 1 || e.running {
		c.State = "running"
	}
	return c, nil
}

func (e *logEngine) Logs(ctx context.Context, _ string, _ LogOptions, stdout, _ io.Writer) error {
	if len(e.pieces) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	text := e.pieces[0]
	e.pieces = e.pieces[1:]
	for piece := range slices.Chunk([]byte(text), 7) {
		if _, err := stdout.Write(piece); err != nil {
			return err
		}
	}
	if len(e.pieces) > 0 {
		return Errorf(EUnavailable, "the link broke")
	}
	return nil
}

// A frameStore keeps what it is given, after failing a number of times.
type frameStore struct {
	Store
	mu     sync.Mutex
	fail   int
	seqs   []uint64
	final  bool
	broken uint64
	notes  []string
}

func (s *frameStore) AddFrames(_ context.Context, frames []StoredFrame, broken map[int64]uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail--; s.fail >= 0 {
		return errors.New("disk is full")
	}
	for _, f := range frames {
		s.seqs = append(s.seqs, f.Seq)
		s.final = s.final || f.Final
	}
	s.broken += broken[1]
	return nil
}

func (s *frameStore) AddEvents(_ context.Context, _ *Run, events ...Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.notes = append(s.notes, e.Text)
	}
	return nil
}

// frame returns the line of a frame of second at.
func frame(seq, at int, final bool) string {
	line, err := metrics.Encode(metrics.Frame{Seq: uint64(seq), Time: int64(1_000_000 + 1000*at), Final: final})
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

func frames(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		b.WriteString(frame(i, i, false))
	}
	return b.String()
}

// readAll reads the pieces of a machine's log to their end in a run of the
// state, and returns what is in the store then.
func readAll(t *testing.T, state RunState, m Machine, store *frameStore, pieces ...string) *frameStore {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b := New(Config{Store: store})
	b.ctx = ctx
	run := Run{UUID: "r", State: state, Plan: strategies.Plan{Steps: []strategies.Step{{Name: "s"}}}}
	x := newExecution(b, run)
	storing, stop := context.WithCancel(ctx)
	x.work.Go(func() { x.storeFrames(storing) })
	m.ID = 1
	work := &machine{Machine: m, engine: &logEngine{pieces: pieces}}
	x.follow(ctx, work)
	<-work.reader.done
	if err := errors.Join(work.reader.passBroken(ctx), x.flushFrames(ctx)); err != nil {
		t.Fatal(err)
	}
	stop()
	x.work.Wait()
	return store
}

func TestBrokenLinesAreCountedOnce(t *testing.T) {
	long := strings.Repeat("x", maxFrameLine+100) + "\n"
	for _, tt := range []struct {
		name   string
		m      Machine // what an earlier broker has stored
		pieces []string
		last   uint64
		broken uint64
	}{
		{"none", Machine{}, []string{frames(1, 3)}, 3, 0},
		{"one between frames", Machine{}, []string{frames(1, 1) + "what\n" + frames(2, 3)}, 3, 1},
		{"after the last frame", Machine{}, []string{frames(1, 2) + "killed\n"}, 2, 1},
		{"before a break, read again after it", Machine{}, []string{
			frames(1, 2) + "what\n" + frames(3, 4), frames(1, 2) + "what\n" + frames(3, 5),
		}, 5, 1},
		{"just before a break", Machine{}, []string{
			frames(1, 2) + "what\n", frames(1, 2) + "what\n" + frames(3, 3),
		}, 3, 1},
		{"before any frame, with a break", Machine{}, []string{"what\n", "what\n" + frames(1, 2)}, 2, 1},
		{"first line torn after a break", Machine{}, []string{
			frames(1, 5), frame(3, 3, false)[20:] + frames(4, 6),
		}, 6, 0},
		{"a line cut off by a break", Machine{}, []string{
			frames(1, 2) + frame(3, 3, false)[:20], frames(1, 3),
		}, 3, 0},
		{"counted by an earlier broker", Machine{FrameSeq: 3, FrameTime: 1_003_000}, []string{
			"what\n" + frames(2, 2) + "what\n" + frames(3, 4),
		}, 4, 0},
		{"a line without an end", Machine{}, []string{frames(1, 1) + long + frames(2, 2)}, 2, 1},
		{"a number no store can hold", Machine{}, []string{
			frames(1, 1) + strings.Replace(frame(2, 2, false), `"q":2`, `"q":9223372036854775808`, 1) + frames(2, 2),
		}, 2, 1},
		{"a relay started again", Machine{}, []string{
			frames(1, 3) + frame(1, 5, false) + frame(2, 6, false),
		}, 3, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := readAll(t, Running, tt.m, &frameStore{}, tt.pieces...)
			if s.broken != tt.broken {
				t.Errorf("%d broken lines, want %d", s.broken, tt.broken)
			}
			for k, seq := range s.seqs {
				if want := tt.m.FrameSeq + uint64(k) + 1; seq != want {
					t.Errorf("frame %d stored as number %d, want %d", seq, k, want)
				}
			}
			if n := tt.m.FrameSeq + uint64(len(s.seqs)); n != tt.last {
				t.Errorf("frames up to %d stored, want %d", n, tt.last)
			}
		})
	}
}

func TestRelayThatEndsUnaskedHasNoFinalFrame(t *testing.T) {
	for _, tt := range []struct {
		state RunState
		final bool
		notes int
	}{
		{Running, false, 1},
		{Terminating, true, 0},
	} {
		t.Run(tt.state.String(), func(t *testing.T) {
			s := readAll(t, tt.state, Machine{}, &frameStore{}, frames(1, 2)+frame(3, 3, true))
			if s.final != tt.final || len(s.notes) != tt.notes {
				t.Errorf("final %v with notes %q, want %v and %d", s.final, s.notes, tt.final, tt.notes)
			}
		})
	}
}

func TestFramesWaitForAStoreThatFails(t *testing.T) {
	s := readAll(t, Running, Machine{}, &frameStore{fail: 3}, frames(1, 50)+"what\n"+frames(51, 60))
	if len(s.seqs) != 60 || s.broken != 1 {
		t.Errorf("%d frames and %d broken lines stored, want 60 and 1", len(s.seqs), s.broken)
	}
}

func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(b []byte) error { got = append(got, string(b)); return nil }}
	for _, piece := range []string{"a", "b\nc\n", "\nd", "", "e", "\nrest"} {
		if n, err := io.Copy(w, bytes.NewReader([]byte(piece))); err != nil || n != int64(len(piece)) {
			t.Fatalf("write %q: %d, %v", piece, n, err)
		}
	}
	if want := `["ab" "c" "" "de"]`; fmt.Sprintf("%q", got) != want || string(w.rest) != "rest" {
		t.Errorf("lines %q and %q, want %s and rest", got, w.rest, want)
	}
}
