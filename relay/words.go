package relay

import (
	"context"

	"github.com/loads/loads/metrics"
)

// word takes in a line that is a word for the other machines. One beyond the
// limit counts as a value that was dropped. The ledger has no count of others:
// they are no values.
func (a *aggregate) word(text []byte) {
	w, err := metrics.DecodeWord(text)
	if err != nil {
		a.malformed(text, err)
		return
	}
	if a.said >= metrics.MaxWords {
		a.received.Dropped++
		a.notes.dropped(text)
		return
	}
	a.said++
	a.words = append(a.words, w)
	select {
	case a.spoke <- struct{}{}:
	default:
	}
}

// takeWords returns the words that nobody has taken.
func (a *aggregate) takeWords() []metrics.Word {
	a.mu.Lock()
	defer a.mu.Unlock()
	words := a.words
	a.words = nil
	return words
}

// passWords passes words on as they come, until ctx is done: other machines
// wait for them. Their frame repeats the account of the frame before, so it says
// nothing of a second that has not ended.
func (r *relay) passWords(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.received.spoke:
		}
		r.framing.Lock()
		if words := r.received.takeWords(); len(words) > 0 {
			f := r.last
			f.Words = words
			r.out.put(f)
		}
		r.framing.Unlock()
	}
}
