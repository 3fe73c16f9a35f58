// Package metrics defines what travels from machines to the broker and is
// kept there: Frame, Sketch, Series and Ledger.
//
// A Frame is one second of one machine's metrics, numbered. Timers travel as
// sketches, which merge without loss of accuracy, so that percentiles over any
// number of machines and seconds come from one merged sketch.
package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// Version is the version of the frame format that this package writes.
const Version = 1

// A Kind is the type of a metric.
type Kind string

// The kinds of metrics. Values of statsd types ms, h and d become timers.
const (
	Counter Kind = "c"  // sum of increments, each divided by its sample rate
	Gauge   Kind = "g"  // last value set
	Timer   Kind = "ms" // distribution of values, weighted by the sample rate
	Set     Kind = "s"  // number of distinct values
)

// Word is the kind's name in words for people.
func (k Kind) Word() string {
	switch k {
	case Counter:
		return "counter"
	case Gauge:
		return "gauge"
	case Timer:
		return "timer"
	case Set:
		return "set"
	}
	return string(k)
}

// A Tag is one name and value on a metric.
type Tag struct {
	Name  string `json:"k"`
	Value string `json:"v"`
}

// A Point is what one metric did on one machine in one second.
type Point struct {
	Kind  Kind    `json:"t"`
	Name  string  `json:"n"`
	Tags  []Tag   `json:"g,omitempty"` // sorted by name
	Value float64 `json:"x,omitempty"` // counter: sum in this second; gauge: last value
	// Count says how often a gauge was set in this second; 0 means that the
	// value is carried over from an earlier one. It is 0 for the other kinds.
	Count float64 `json:"c,omitempty"`
	// Sketch is set for timers only.
	Sketch *Sketch `json:"s,omitempty"`
	// Distinct is set for sets only.
	Distinct *Distinct `json:"d,omitempty"`
}

// A Frame is one second of one machine's metrics. Frames of a machine are
// numbered from 1 without gaps, so a gap is a loss and a repetition is known.
// A second too large for one frame is written as several, of the same Time.
type Frame struct {
	Version int    `json:"v"`
	Seq     uint64 `json:"q"`
	// Time is the end of the frame's second by the machine's clock, in Unix ms.
	Time   int64   `json:"at"`
	Points []Point `json:"p,omitempty"`
	// Host is what the machine itself did; none of it is in the ledger.
	Host []HostPoint `json:"h,omitempty"`
	// Words are what the machine tells the others of its step, in order. A frame
	// with words may come at any moment, with the Time of the one before.
	Words []Word `json:"w,omitempty"`
	// Ledger counts what the machine's relay received since it started.
	Ledger Received `json:"l"`
	// Final marks the relay's last frame: no frame follows, and Seq is the
	// number of frames sent.
	Final bool `json:"fin,omitempty"`
}

// Received is the relay's side of the ledger. All counts are totals since the
// relay started.
type Received struct {
	Datagrams uint64 `json:"dg"` // packets read from UDP and Unix sockets
	Values    uint64 `json:"vl"` // values taken into a frame
	Malformed uint64 `json:"mf"` // lines that could not be parsed
	Dropped   uint64 `json:"dr"` // values refused, series limit reached
	// Merged counts seconds that had to share a frame with a later one, because
	// the relay's output was blocked for too long. Their values are not lost.
	Merged uint64 `json:"mg,omitempty"`
	// KernelDropped counts packets that the kernel threw away since a socket's
	// buffer was full. What was in them is lost.
	KernelDropped uint64 `json:"kd,omitempty"`
	// Refused counts TCP connections that were closed at once, since there were
	// too many.
	Refused uint64 `json:"rf,omitempty"`

	// Of the plan's containers' output, where a step has log metrics.
	LogLines     uint64 `json:"ll,omitempty"` // lines read
	LogValues    uint64 `json:"lv,omitempty"` // values that lines gave, taken or dropped
	LogMalformed uint64 `json:"lm,omitempty"` // lines that fit and gave no number, or could not be read
	// LogLost counts bytes of the engine's log files that are gone unread, as far
	// as they are known. What was in them is lost.
	LogLost uint64 `json:"lx,omitempty"`
	// LogGaps counts how often output of unknown length may have gone unread.
	LogGaps uint64 `json:"lg,omitempty"`

	// Notes say more about the losses; nil when there are none to tell of.
	Notes *Notes `json:"nt,omitempty"`
}

// Bounds of Notes.
const (
	MaxNotes    = 5  // of each sort
	MaxNoteSize = 80 // bytes of each
)

// Notes are the first examples of what a relay could not take in. Each is
// printable text, cut to MaxNoteSize; there are at most MaxNotes of a sort.
// Notes don't change once they are in a frame.
type Notes struct {
	Malformed []string `json:"mf,omitempty"` // lines, each with what is wrong with it
	Dropped   []string `json:"dr,omitempty"` // names of metrics beyond the series limit
}

// Examples are the notes as lines for people.
func (n *Notes) Examples() (lines []string) {
	if n == nil {
		return nil
	}
	for _, line := range n.Malformed {
		lines = append(lines, "malformed: "+line)
	}
	for _, name := range n.Dropped {
		lines = append(lines, "dropped, as there were too many series: "+name)
	}
	return lines
}

// Add sums the counts of another machine up, and takes its notes over as long
// as there is room for them. Neither one's notes are changed.
func (r *Received) Add(o Received) {
	r.Datagrams += o.Datagrams
	r.Values += o.Values
	r.Malformed += o.Malformed
	r.Dropped += o.Dropped
	r.Merged += o.Merged
	r.KernelDropped += o.KernelDropped
	r.Refused += o.Refused
	r.LogLines += o.LogLines
	r.LogValues += o.LogValues
	r.LogMalformed += o.LogMalformed
	r.LogLost += o.LogLost
	r.LogGaps += o.LogGaps
	if o.Notes == nil {
		return
	}
	var sum Notes
	if r.Notes != nil {
		sum = *r.Notes
	}
	sum.Malformed = firstNotes(sum.Malformed, o.Notes.Malformed)
	sum.Dropped = firstNotes(sum.Dropped, o.Notes.Dropped)
	r.Notes = &sum
}

// firstNotes returns the first distinct notes of both.
func firstNotes(have, more []string) []string {
	first := slices.Clone(have)
	for _, note := range more {
		if len(first) < MaxNotes && !slices.Contains(first, note) {
			first = append(first, note)
		}
	}
	return first
}

// check returns what is wrong with the notes.
func (n *Notes) check() error {
	for _, notes := range [][]string{n.Malformed, n.Dropped} {
		if len(notes) > MaxNotes {
			return fmt.Errorf("%d notes, want %d at most", len(notes), MaxNotes)
		}
		for _, note := range notes {
			if len(note) > MaxNoteSize {
				return fmt.Errorf("note of %d bytes, want %d at most", len(note), MaxNoteSize)
			}
		}
	}
	return nil
}

// A Ledger is the account of a run's frames on their way. It balances when
// every machine's final frame came and Stored equals Sent.
type Ledger struct {
	Received
	Sent    uint64 `json:"frames_sent"`   // sum over machines of the highest frame number known to be sent
	Stored  uint64 `json:"frames_stored"` // rows in the database
	Broken  uint64 `json:"frames_broken"` // lines of a relay's output that were no frame
	Open    int    `json:"machines_open"` // machines whose final frame has not come
	Balance bool   `json:"balanced"`
}

// Standing says in a few words whether the ledger balances, and what is amiss if
// not; over is whether nothing comes any more.
func (l Ledger) Standing(over bool) string {
	if l.Balance {
		return "balanced"
	}
	if !over {
		return "more to come"
	}
	var amiss []string
	if missing := int64(l.Sent) - int64(l.Stored); missing != 0 {
		amiss = append(amiss, fmt.Sprintf("%d frames missing", missing))
	}
	if l.Broken > 0 {
		amiss = append(amiss, fmt.Sprintf("%d broken", l.Broken))
	}
	if l.Open > 0 {
		amiss = append(amiss, fmt.Sprintf("machines without their last frame: %d", l.Open))
	}
	return "NOT balanced: " + strings.Join(amiss, ", ")
}
