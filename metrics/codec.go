package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// MaxFrameSize is the largest encoded frame in bytes. A relay writes a second
// that needs more as several frames.
const MaxFrameSize = 4 << 20

// maxTime is the latest time that a frame can bear, Unix ms, in the year 33658.
const maxTime = 1_000_000_000_000_000

// ErrTooLarge is what Encode and Decode return for a frame over MaxFrameSize.
var ErrTooLarge = errors.New("frame is too large")

// Encode writes the frame as one line of JSON, without the newline, in the
// version of this package. It refuses what Decode would refuse.
func Encode(f Frame) ([]byte, error) {
	f.Version = Version
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	encoded := bytes.TrimSuffix(line.Bytes(), []byte("\n"))
	if len(encoded) > MaxFrameSize {
		return nil, fmt.Errorf("encode frame %d, %d bytes: %w", f.Seq, len(encoded), ErrTooLarge)
	}
	return encoded, nil
}

// Decode reads one line that Encode has written. Anything that is no
// well-formed frame of a known version is an error. Its cost and memory are
// bounded by the line's length.
func Decode(line []byte) (Frame, error) {
	if len(line) > MaxFrameSize {
		return Frame{}, fmt.Errorf("decode frame, %d bytes: %w", len(line), ErrTooLarge)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var f Frame
	if err := dec.Decode(&f); err != nil {
		return Frame{}, fmt.Errorf("decode frame: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Frame{}, errors.New("decode frame: something follows it in the line")
	}
	if err := f.check(); err != nil {
		return Frame{}, fmt.Errorf("decode frame: %w", err)
	}
	return f, nil
}

// DecodeStored reads a line that Decode has taken before it was stored. It does
// not look for fields that it does not know, and so need not copy the line.
func DecodeStored(line []byte) (Frame, error) {
	var f Frame
	err := json.Unmarshal(line, &f)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return Frame{}, fmt.Errorf("decode stored frame: %w", err)
	}
	return f, nil
}

// check returns what is wrong with the frame.
func (f *Frame) check() error {
	switch {
	case f.Version != Version:
		return fmt.Errorf("version is %d, want %d", f.Version, Version)
	case f.Seq == 0:
		return errors.New("number is missing")
	case f.Time <= 0 || f.Time > maxTime:
		return fmt.Errorf("time is %d, want Unix ms", f.Time)
	}
	if notes := f.Ledger.Notes; notes != nil {
		if err := notes.check(); err != nil {
			return err
		}
	}
	if err := checkWords(f.Words); err != nil {
		return err
	}
	for i := range f.Points {
		if err := f.Points[i].check(); err != nil {
			return fmt.Errorf("point %d: %w", i, err)
		}
	}
	for i := range f.Host {
		if err := f.Host[i].check(); err != nil {
			return fmt.Errorf("host point %d: %w", i, err)
		}
	}
	return nil
}

func (p *Point) check() error {
	switch {
	case p.Name == "":
		return errors.New("name is missing")
	case !finite(p.Value) || !finite(p.Count) || p.Count < 0:
		return errors.New("value is no finite number")
	}
	if err := checkTags(p.Tags); err != nil {
		return err
	}
	return p.checkKind()
}

func checkTags(tags []Tag) error {
	for i, tag := range tags {
		if tag.Name == "" || i > 0 && tags[i-1].Name >= tag.Name {
			return errors.New("tags are not sorted by distinct names")
		}
	}
	return nil
}

func (p *Point) checkKind() error {
	switch p.Kind {
	case Timer:
		if p.Sketch == nil || p.Value != 0 || p.Count != 0 || p.Distinct != nil {
			return errors.New("timer needs a sketch and nothing else")
		}
	case Set:
		if p.Distinct == nil || p.Value != 0 || p.Count != 0 || p.Sketch != nil {
			return errors.New("set needs a distinct count and nothing else")
		}
	case Counter, Gauge:
		if p.Sketch != nil || p.Distinct != nil || p.Kind == Counter && p.Count != 0 {
			return fmt.Errorf("kind %q takes a value only", p.Kind)
		}
	default:
		return fmt.Errorf("kind %q is unknown", p.Kind)
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
