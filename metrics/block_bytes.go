package metrics

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// EncodeBlock writes the block: the length of its JSON, without sketches, that
// JSON, and the packed sketch of each timer in it, in order, behind its length.
// Lengths are unsigned varints. The bytes are meant to be compressed.
func EncodeBlock(b Block) ([]byte, error) {
	bare := b
	bare.Spans = make([]Span, len(b.Spans))
	var sketches []byte
	for i, span := range b.Spans {
		points := make([]Point, len(span.Points))
		for j, p := range span.Points {
			if p.Kind == Timer {
				packed := p.Sketch.pack()
				sketches = binary.AppendUvarint(sketches, uint64(len(packed)))
				sketches = append(sketches, packed...)
				p.Sketch = nil
			}
			points[j] = p
		}
		span.Points = points
		bare.Spans[i] = span
	}
	text, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("encode block: %w", err)
	}
	out := binary.AppendUvarint(make([]byte, 0, len(text)+len(sketches)+binary.MaxVarintLen64), uint64(len(text)))
	return append(append(out, text...), sketches...), nil
}

// DecodeBlock reads what EncodeBlock has written. The block shares no memory
// with it.
func DecodeBlock(encoded []byte) (Block, error) {
	text, rest, err := cutLength(encoded)
	if err != nil {
		return Block{}, fmt.Errorf("decode block: %w", err)
	}
	var b Block
	if err := json.Unmarshal(text, &b); err != nil {
		return Block{}, fmt.Errorf("decode block: %w", err)
	}
	for i := range b.Spans {
		for j := range b.Spans[i].Points {
			if rest, err = readPoint(&b.Spans[i].Points[j], rest); err != nil {
				return Block{}, fmt.Errorf("decode block: span %d: point %d: %w", i, j, err)
			}
		}
	}
	for i := range b.Hosts {
		for j := range b.Hosts[i].Points {
			if err := b.Hosts[i].Points[j].check(); err != nil {
				return Block{}, fmt.Errorf("decode block: span %d of hosts: point %d: %w", i, j, err)
			}
		}
	}
	if len(rest) > 0 {
		return Block{}, errors.New("decode block: something follows its last sketch")
	}
	return b, nil
}

// readPoint gives a timer its sketch from the front of rest, and checks.
func readPoint(p *Point, rest []byte) ([]byte, error) {
	if p.Kind == Timer && p.Sketch == nil {
		packed, after, err := cutLength(rest)
		if err != nil {
			return nil, err
		}
		rest, p.Sketch = after, &Sketch{}
		if err := p.Sketch.setPacked(append([]byte(nil), packed...)); err != nil {
			return nil, err
		}
	}
	return rest, p.check()
}

// cutLength cuts what stands behind its length off the front.
func cutLength(b []byte) (first, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errors.New("it is cut off")
	}
	end := size + int(n)
	return b[size:end], b[end:], nil
}
