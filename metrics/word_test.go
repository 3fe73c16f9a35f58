package metrics_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

func TestWordsGoRound(t *testing.T) {
	for _, is := range []metrics.WordIs{metrics.WordFinished, metrics.WordTerminated, metrics.WordFailed, metrics.WordBroken} {
		want := metrics.Word{Phase: `up/001/<"ü">`, Is: is}
		line, err := metrics.EncodeWord(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := metrics.DecodeWord(line)
		if err != nil || got != want || !metrics.IsWord(line) || metrics.IsPoint(line) {
			t.Errorf("%s is read as %+v, error %v", line, got, err)
		}
	}
}

func TestWordsThatMeanNothingAreRefused(t *testing.T) {
	for _, line := range []string{
		``, `{`, `{"phase":"a"}`, `{"phase":"","is":"failed"}`, `{"phase":"a","is":"done"}`, `{"phase":"a","is":"failed","x":1}`,
		`{"phase":"a","is":"failed"}{}`, `{"phase":"` + strings.Repeat("a", metrics.MaxWordSize+1) + `","is":"failed"}`,
	} {
		if w, err := metrics.DecodeWord([]byte(line)); err == nil {
			t.Errorf("%.40s is read as %+v", line, w)
		}
	}
}

func TestFramesCarryWords(t *testing.T) {
	want := metrics.Frame{Version: metrics.Version, Seq: 3, Time: 5000, Words: []metrics.Word{{Phase: "a", Is: metrics.WordFailed}}}
	line, err := metrics.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := metrics.Decode(line)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want.Words = make([]metrics.Word, metrics.MaxWords+1)
	if _, err := metrics.Encode(want); err == nil {
		t.Error("a frame with too many words is encoded")
	}
}
