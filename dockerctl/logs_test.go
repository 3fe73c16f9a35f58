package dockerctl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/internal/waittest"
)

func lines(word string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, word, i)
	}
	return b.String()
}

func TestLogs_SelectsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("both", "both", "100"))
	if err := b.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if err := b.Logs(t.Context(), id, broker.LogOptions{}, &out, &errs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{lines("out", 100), lines("err", 100)}, []string{out.String(), errs.String()}); diff != "" {
		t.Errorf("both streams (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := b.Logs(t.Context(), id, broker.LogOptions{Tail: 3}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "out 97\nout 98\nout 99\n"; got != want && !strings.HasSuffix(want, got) {
		t.Errorf("tail of one stream: got %q, want the last of %q", got, want)
	}
	if err := b.Logs(t.Context(), id, broker.LogOptions{}, nil, nil); err != nil {
		t.Errorf("no writer: %v", err)
	}
	wantCode(t, b.Logs(t.Context(), b.name+"-none", broker.LogOptions{}, &out, nil), broker.ENotFound)
}

func TestLogs_SinceIsExactToTheNanosecond(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("since", "both", "50"))
	if err := b.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	if err := b.Logs(t.Context(), id, broker.LogOptions{Timestamps: true}, &all, nil); err != nil {
		t.Fatal(err)
	}
	stamped := strings.SplitAfter(strings.TrimSuffix(all.String(), "\n"), "\n")
	if len(stamped) != 50 {
		t.Fatalf("got %d lines, want 50", len(stamped))
	}
	for _, i := range []int{1, 17, 49} {
		stamp, _, _ := strings.Cut(stamped[i], " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := b.Logs(t.Context(), id, broker.LogOptions{Since: at, Timestamps: true}, &got, nil); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(stamped[i:], ""); strings.TrimSpace(got.String()) != strings.TrimSpace(want) {
			t.Errorf("since line %d:\ngot  %.80q\nwant %.80q", i, got.String(), want)
		}
	}
}

func TestLogs_FollowingEndsWithTheContainer(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("ticks", "ticks", "10"))
	var out bytes.Buffer
	if err := b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), lines("tick", 10); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if c := b.inspect(id); c.Running() {
		t.Error("following ended before the container did")
	}
}

func TestLogs_FollowingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("quiet", "sleep"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out waittest.Buffer
	ended := make(chan error, 1)
	go func() { ended <- b.Logs(ctx, id, broker.LogOptions{Follow: true}, &out, nil) }()
	await(t, "the first line", func() bool { return out.String() == "asleep\n" })
	cancel()
	select {
	case err := <-ended:
		wantCode(t, err, broker.EUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to wrap the context's error", err)
		}
	case <-time.After(patience):
		t.Fatal("following went on after its context")
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestLogs_ReturnsTheWritersError(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.start(b.spec("full", "sleep"))
	want := errors.New("disk is full")
	err := b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, brokenWriter{want}, nil)
	if err != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestLogs_EndsAtOnceBeforeTheStart(t *testing.T) {
	t.Parallel()
	b := mustBench(t)
	id := b.create(b.spec("later", "both", "1"))
	var out bytes.Buffer
	if err := b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, &out, nil); err != nil || out.Len() > 0 {
		t.Errorf("got %q, %v; want nothing", out.String(), err)
	}
}

func TestSplit_TakesOutputApart(t *testing.T) {
	t.Parallel()
	piece := func(stream byte, text string) string {
		return string([]byte{stream, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
	}
	long := strings.Repeat("x", 5000)
	for _, row := range []struct {
		name      string
		from      string
		out, errs string
		fails     string
	}{
		{name: "nothing"},
		{name: "both streams", from: piece(1, "a\n") + piece(2, "b\n") + piece(1, "c\n"), out: "a\nc\n", errs: "b\n"},
		{name: "an empty piece", from: piece(1, "") + piece(1, "a\n"), out: "a\n"},
		{name: "a piece longer than what is read at once", from: piece(1, long) + piece(2, "b"), out: long, errs: "b"},
		{name: "an end within a head", from: piece(1, "a\n") + piece(1, "b\n")[:5], out: "a\n"},
		{name: "an end within a piece", from: piece(1, "a\nb"[:3])[:9], out: "a"},
		{name: "what the engine says", from: piece(1, "a\n") + piece(3, "the disk is gone"), out: "a\n", fails: "the disk is gone"},
		{name: "a stream that there is not", from: piece(9, "a"), fails: "no stream 9"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := dockerctl.Split(&out, &errs, iotest.HalfReader(strings.NewReader(row.from)))
			if row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)) {
				t.Errorf("got the error %v, want %q", err, row.fails)
			}
			if out.String() != row.out || errs.String() != row.errs {
				t.Errorf("got %q and %q, want %q and %q", out.String(), errs.String(), row.out, row.errs)
			}
		})
	}
}
