package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Word is what one machine of a step tells all the others of a phase of the
// benchmark that they run together. It goes by the relay, in a frame.
type Word struct {
	Phase string `json:"phase"` // name of the phase
	Is    WordIs `json:"is"`
}

// WordIs is what has become of a phase on a machine.
type WordIs string

// What words say.
const (
	WordFinished   WordIs = "finished"   // no more users start
	WordTerminated WordIs = "terminated" // no user is left
	WordFailed     WordIs = "failed"     // a limit was not kept
	WordBroken     WordIs = "broken"     // its users can't go on
)

// Bounds of words.
const (
	MaxWords    = 4096 // that a relay passes on
	MaxWordSize = 512  // bytes of a phase's name
)

// wordStart is how each line that EncodeWord writes begins. No line of statsd
// that anybody sends does.
var wordStart = []byte(`{"phase":"`)

// IsWord reports whether a line looks as if EncodeWord had written it.
func IsWord(line []byte) bool { return bytes.HasPrefix(line, wordStart) }

// EncodeWord writes the word as one line of JSON, without the newline. It
// refuses what DecodeWord would refuse.
func EncodeWord(w Word) ([]byte, error) {
	err := w.check()
	if err == nil {
		var line []byte
		if line, err = json.Marshal(w); err == nil {
			return line, nil
		}
	}
	return nil, fmt.Errorf("encode a word: %w", err)
}

// DecodeWord reads one line that EncodeWord has written. Its cost and memory
// are bounded by the line's length.
func DecodeWord(line []byte) (Word, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var w Word
	if err := dec.Decode(&w); err != nil {
		return Word{}, fmt.Errorf("decode a word: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Word{}, errors.New("decode a word: something follows it in the line")
	}
	if err := w.check(); err != nil {
		return Word{}, fmt.Errorf("decode a word: %w", err)
	}
	return w, nil
}

func (w Word) check() error {
	switch w.Is {
	case WordFinished, WordTerminated, WordFailed, WordBroken:
	default:
		return fmt.Errorf("a phase is not %.20q", string(w.Is))
	}
	if w.Phase == "" || len(w.Phase) > MaxWordSize {
		return fmt.Errorf("the phase's name has %d bytes, want 1 to %d", len(w.Phase), MaxWordSize)
	}
	return nil
}

func checkWords(words []Word) error {
	if len(words) > MaxWords {
		return fmt.Errorf("%d words, want %d at most", len(words), MaxWords)
	}
	for i, w := range words {
		if err := w.check(); err != nil {
			return fmt.Errorf("word %d: %w", i, err)
		}
	}
	return nil
}
