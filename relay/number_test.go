package relay

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestPlainNumberIsWhatTheLibraryReads(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	texts := []string{"0", "1", ".5", "5.", "0.1", "999999999999999", "0.000000000000001", "123456789.87654", "9007199254740993", "00012.50"}
	for range 100_000 {
		texts = append(texts, strconv.FormatFloat(rnd.Float64()*1000, 'f', rnd.IntN(14), 64), strconv.Itoa(rnd.IntN(1e12)))
	}
	quick := 0
	for _, text := range texts {
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := number([]byte(text))
		if !ok || got != want {
			t.Fatalf("%s: got %v, %v, want %v", text, got, ok, want)
		}
		if _, n := plainNumber([]byte(text + "|ms")); n == len(text) {
			quick++
		}
	}
	if quick < len(texts)/2 {
		t.Errorf("got %d of %d the quick way, want most", quick, len(texts))
	}
	for _, text := range []string{"", ".", "|", "-1", "1.2.3", "12345678901234567"} {
		if v, n := plainNumber([]byte(text)); n != 0 && n == len(text) {
			t.Errorf("%q: got %v, want that it is none", text, v)
		}
	}
}
