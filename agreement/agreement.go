// Package agreement decides what the machines of a step go by that run one
// benchmark together: what a machine tells of a phase holds for all of them
// once all have told it, or, of a failure, once one has. It is pure: it reads
// no clock, and what is decided somebody else stores and brings to machines.
package agreement

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/loads/loads/metrics"
)

// File is where in a generator's container the broker writes what is decided, as
// Minutes. It is there from the start if machines are to agree.
const File = "/etc/loads/agreed.json"

// A Decision is a word that holds for all machines.
type Decision struct {
	metrics.Word
	// At is from when on it holds, Unix ms, by the clock of whoever reads it.
	At int64 `json:"at"`
	// Machine is the one that has failed, -1 if it is not about a failure.
	Machine int `json:"machine"`
}

// Minutes are all that is decided so far.
type Minutes struct {
	// Until is when the step's time is over, Unix ms: no machine waits for others
	// beyond that.
	Until   int64      `json:"until"`
	Decided []Decision `json:"decided"` // in the order of their coming
}

// Encode writes the minutes for the machine whose clock is ahead of ours by so
// many ms.
func (m Minutes) Encode(ahead int64) ([]byte, error) {
	m.Until += ahead
	m.Decided = slices.Clone(m.Decided)
	for i := range m.Decided {
		m.Decided[i].At += ahead
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write what machines agree on: %w", err)
	}
	return append(text, '\n'), nil
}

// Decode reads minutes. Half of a file is an error.
func Decode(text []byte) (m Minutes, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return Minutes{}, fmt.Errorf("read what machines agree on: %w", err)
	}
	return m, nil
}

// A Table is what machines have told. It is not safe for concurrent use.
type Table struct {
	there   map[int]bool                  // machines that are waited for
	words   []metrics.Word                // in the order of their coming
	said    map[metrics.Word]map[int]bool // by machine
	decided map[metrics.Word]bool
}

// NewTable returns a table at which nothing was said yet but what led to
// earlier decisions.
func NewTable(machines []int, decided []Decision) *Table {
	t := &Table{there: map[int]bool{}, said: map[metrics.Word]map[int]bool{}, decided: map[metrics.Word]bool{}}
	for _, m := range machines {
		t.there[m] = true
	}
	for _, d := range decided {
		t.decided[d.Word] = true
	}
	return t
}

// Say notes a machine's word. To say it again changes nothing.
func (t *Table) Say(machine int, w metrics.Word) {
	if t.said[w] == nil {
		t.said[w] = map[int]bool{}
		t.words = append(t.words, w)
	}
	t.said[w][machine] = true
}

// Leave notes that a machine is waited for no more: it is lost, or its
// generator has ended. What it has said stays said.
func (t *Table) Leave(machine int) { delete(t.there, machine) }

// Decide returns what has come to hold since it was asked last: failures from
// now on, and before all else, as they may forbid what would follow; the rest
// from at, so that machines have time to hear of it.
func (t *Table) Decide(now, at int64) (decisions []Decision) {
	var later []Decision
	for _, w := range t.words {
		switch {
		case t.decided[w]:
			continue
		case isFailure(w):
			decisions = append(decisions, Decision{Word: w, At: now, Machine: slices.Min(slices.Collect(maps.Keys(t.said[w])))})
		case t.allSaid(w):
			later = append(later, Decision{Word: w, At: at, Machine: -1})
		default:
			continue
		}
		t.decided[w] = true
	}
	return append(decisions, later...)
}

func isFailure(w metrics.Word) bool { return w.Is == metrics.WordFailed || w.Is == metrics.WordBroken }

// allSaid reports whether all machines that are there have said the word. Where
// none is there nobody is to be told.
func (t *Table) allSaid(w metrics.Word) bool {
	for m := range t.there {
		if !t.said[w][m] {
			return false
		}
	}
	return len(t.there) > 0
}
