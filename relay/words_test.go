package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/relay"
)

func wordLine(t *testing.T, phase string, is metrics.WordIs) string {
	t.Helper()
	line, err := metrics.EncodeWord(metrics.Word{Phase: phase, Is: is})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// words are those of all frames so far, in order.
func (r *running) words(t *testing.T) (words []metrics.Word) {
	t.Helper()
	for _, f := range r.frames(t) {
		words = append(words, f.Words...)
	}
	return words
}

// Words go on when they come, not when the second ends: here it ends in years.
func TestWordsAreNotHeldUp(t *testing.T) {
	t.Parallel()
	r := mustRun(t, relay.Config{TCP: true, Interval: never})
	sendTCP(t, r.address, "hits:1|c\n"+wordLine(t, "a", metrics.WordFailed)+wordLine(t, "a", metrics.WordTerminated))
	waittest.Until(t, "both words come", 5*time.Minute, func() bool { return len(r.words(t)) == 2 })
	sendTCP(t, r.address, wordLine(t, "b", metrics.WordFinished))
	waittest.Until(t, "the next word comes", 5*time.Minute, func() bool { return len(r.words(t)) == 3 })
	first := r.frames(t)[0]
	frames := r.end(t)
	for _, f := range frames[1 : len(frames)-1] {
		if f.Time != first.Time || f.Ledger != first.Ledger || len(f.Points) > 0 {
			t.Errorf("a frame of words tells %+v, want nothing new since %+v", f, first)
		}
	}
	want := []metrics.Word{{Phase: "a", Is: metrics.WordFailed}, {Phase: "a", Is: metrics.WordTerminated}, {Phase: "b", Is: metrics.WordFinished}}
	if diff := cmp.Diff(want, r.words(t)); diff != "" {
		t.Error(diff)
	}
	if last := frames[len(frames)-1]; last.Ledger.Values != 1 || last.Ledger.Malformed != 0 {
		t.Errorf("got the account %+v, want one value", last.Ledger)
	}
}

func TestWordsAreBounded(t *testing.T) {
	t.Parallel()
	r := mustRun(t, relay.Config{TCP: true})
	var text strings.Builder
	for i := range metrics.MaxWords + 10 {
		text.WriteString(wordLine(t, fmt.Sprint(i), metrics.WordFinished))
	}
	sendTCP(t, r.address, text.String()+`{"phase":"x","is":"nothing"}`+"\nhits:1|c\n")
	r.await(t, 1)
	frames := r.end(t)
	if l := frames[len(frames)-1].Ledger; l.Dropped != 10 || l.Malformed != 1 {
		t.Errorf("got the account %+v, want 10 dropped and one malformed", l)
	}
	if n := len(r.words(t)); n != metrics.MaxWords {
		t.Errorf("got %d words, want %d", n, metrics.MaxWords)
	}
}
