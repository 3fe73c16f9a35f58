package metrics

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/axiomhq/hyperloglog"
)

// distinctPrecision gives 2^12 registers of a byte each, and a standard error
// of 1.04 / √4096.
const distinctPrecision = 12

const (
	registers = 1 << distinctPrecision
	// highestRank is the greatest value of a register: one more than the bits
	// of a hash that don't choose the register.
	highestRank = 64 - distinctPrecision + 1
	// registersAt is where the library's bytes have the registers.
	registersAt = 8
)

// DistinctError is the standard error of a Distinct, as a part of the count.
const DistinctError = 0.01625

// Layouts of a packed Distinct, its first byte.
const (
	packedList  = 1 // (gap as uvarint, rank) for each register that is not 0
	packedDense = 2 // all registers
)

var errBrokenDistinct = errors.New("broken distinct count")

// A Distinct counts distinct values: a HyperLogLog of fixed size, without the
// library's sparse form, so that the same values give the same registers in
// whatever order and grouping they came and were merged. It takes 4 KB while it
// changes; one that was decoded stays packed until something is added to it.
// Methods that only read may be called by many goroutines at once. The zero
// value is empty.
type Distinct struct {
	sketch *hyperloglog.Sketch // nil when empty or packed
	packed string              // see pack; when set, sketch is nil
}

// Add takes a value in. It keeps nothing of it.
func (d *Distinct) Add(value []byte) {
	d.open()
	d.sketch.Insert(value)
}

// Merge adds all that is in o, which stays as it is.
func (d *Distinct) Merge(o *Distinct) {
	if o == nil || o.sketch == nil && o.packed == "" {
		return
	}
	d.open()
	_ = d.sketch.Merge(o.opened()) // fails for other precisions only
}

// Count returns the estimated number of distinct values.
func (d *Distinct) Count() float64 {
	s := d.opened()
	if s == nil {
		return 0
	}
	return float64(s.Estimate())
}

// Clone returns a packed copy.
func (d *Distinct) Clone() *Distinct { return &Distinct{packed: d.pack()} }

// open makes the registers changeable.
func (d *Distinct) open() {
	if d.sketch == nil {
		d.sketch = d.opened()
		d.packed = ""
	}
	if d.sketch == nil {
		d.sketch = newRegisters()
	}
}

// opened returns the registers to read, nil when there are none.
func (d *Distinct) opened() *hyperloglog.Sketch {
	if d.packed == "" {
		return d.sketch
	}
	ranks, err := unpackRanks(d.packed)
	if err != nil {
		return nil // can't be: it was checked before it was kept
	}
	s := newRegisters()
	header, _ := s.MarshalBinary() // never fails
	_ = s.UnmarshalBinary(append(header[:registersAt], ranks...))
	return s
}

func newRegisters() *hyperloglog.Sketch {
	s, err := hyperloglog.NewSketch(distinctPrecision, false)
	if err != nil {
		panic(err) // distinctPrecision is a constant that it takes
	}
	return s
}

// MarshalJSON writes the count as a string: its packed bytes in base64.
func (d *Distinct) MarshalJSON() ([]byte, error) {
	out := []byte{'"'}
	out = base64.RawStdEncoding.AppendEncode(out, []byte(d.pack()))
	return append(out, '"'), nil
}

// UnmarshalJSON reads what MarshalJSON has written, and refuses anything else.
func (d *Distinct) UnmarshalJSON(text []byte) error {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return fmt.Errorf("read distinct count: %w: not a string", errBrokenDistinct)
	}
	packed, err := base64.RawStdEncoding.AppendDecode(nil, text[1:len(text)-1])
	if err != nil {
		return fmt.Errorf("read distinct count: %w", err)
	}
	*d = Distinct{packed: string(packed)}
	if d.packed == "" {
		return nil
	}
	_, err = unpackRanks(d.packed)
	return err
}

// pack returns the registers in the shorter of both layouts; no bytes when
// all are 0.
func (d *Distinct) pack() string {
	if d.packed != "" || d.sketch == nil {
		return d.packed
	}
	all, _ := d.sketch.MarshalBinary() // never fails
	ranks := all[registersAt:]
	list := []byte{packedList}
	next := 0
	for i, rank := range ranks {
		if rank == 0 {
			continue
		}
		list = append(binary.AppendUvarint(list, uint64(i-next)), rank)
		next = i + 1
	}
	switch {
	case next == 0:
		return ""
	case len(list) > registers:
		return string(append([]byte{packedDense}, ranks...))
	default:
		return string(list)
	}
}

// unpackRanks reads what pack has written.
func unpackRanks(packed string) ([]byte, error) {
	layout, rest := packed[0], []byte(packed[1:])
	ranks := make([]byte, registers)
	switch {
	case layout == packedDense && len(rest) == registers:
		copy(ranks, rest)
	case layout == packedList && len(rest) > 0:
		next := uint64(0)
		for len(rest) > 0 {
			gap, n := binary.Uvarint(rest)
			if n <= 0 || n == len(rest) || gap >= registers-next || rest[n] == 0 {
				return nil, errBrokenDistinct
			}
			ranks[next+gap] = rest[n]
			next += gap + 1
			rest = rest[n+1:]
		}
	default:
		return nil, errBrokenDistinct
	}
	for _, rank := range ranks {
		if rank > highestRank {
			return nil, errBrokenDistinct
		}
	}
	return ranks, nil
}
