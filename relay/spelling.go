package relay

import (
	"hash/maphash"
	"math/bits"
)

// longestSpelling bounds the bytes of a line, without its value, that are
// remembered. Longer ones are looked up by their canonical name each time.
const longestSpelling = 512

// spellings finds a series by what its lines look like: the name, and all that
// follows the value, as written. So a line that came before needs no parsing
// but of its number, no sorting of tags, and no check of its text. It is an
// open-addressing table with linear probing, of a size that never changes, and
// is emptied when the same series come in too many spellings.
type spellings struct {
	seed  maphash.Seed
	slots []spelling // a power of two, at most half of them in use
	used  int
	shift int // of a hash, that leaves as many bits as there are slots
}

// spelling is one way to write the lines of a series.
type spelling struct {
	hash   uint64
	text   string // name, then what follows the value, beginning with a bar
	name   int    // length of the name
	series *series
	weight float64 // how many values one stands for
}

func newSpellings(most int) *spellings {
	size := max(bits.Len(uint(2*most-1)), 4)
	return &spellings{seed: maphash.MakeSeed(), slots: make([]spelling, 1<<size), shift: 64 - size}
}

func (t *spellings) hash(name, suffix []byte) uint64 {
	// The odd factor keeps name and suffix apart; see Fibonacci hashing.
	return (maphash.Bytes(t.seed, name)*0x9e3779b97f4a7c15 ^ maphash.Bytes(t.seed, suffix)) * 0x9e3779b97f4a7c15
}

// find returns the spelling, nil when it is not known.
func (t *spellings) find(name, suffix []byte) *spelling {
	hash := t.hash(name, suffix)
	for i := hash >> t.shift; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.series == nil {
			return nil
		}
		if s.hash == hash && s.name == len(name) && len(s.text) == len(name)+len(suffix) &&
			s.text[:len(name)] == string(name) && s.text[len(name):] == string(suffix) {
			return s
		}
	}
}

// add remembers a spelling that is not known.
func (t *spellings) add(name, suffix []byte, to *series, weight float64) {
	if len(name)+len(suffix) > longestSpelling {
		return
	}
	if t.used >= len(t.slots)/2 {
		clear(t.slots)
		t.used = 0
	}
	t.used++
	hash := t.hash(name, suffix)
	i := hash >> t.shift
	for t.slots[i&uint64(len(t.slots)-1)].series != nil {
		i++
	}
	text := make([]byte, 0, len(name)+len(suffix))
	text = append(append(text, name...), suffix...)
	t.slots[i&uint64(len(t.slots)-1)] = spelling{hash, string(text), len(name), to, weight}
}
