package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/metrics"
)

const (
	// lookEvery is the pause between two looks at what is decided.
	lookEvery = 50 * time.Millisecond
	// tellPause is the pause before a word is sent again that could not be sent.
	tellPause = 200 * time.Millisecond
)

// An Accord is a generator's side of what machines agree on: it sends words to
// the machine's relay, and reads the file in which the broker writes what is
// decided. Its methods may be called by many goroutines at once.
type Accord struct {
	link  *Link
	file  string
	until time.Time
	heard chan agreement.Decision
	stop  chan struct{}
	work  sync.WaitGroup

	mu      sync.Mutex
	words   []metrics.Word // to be sent
	spoke   chan struct{}  // there are words
	refused int            // words that can't be sent
	last    error          // why, or why those to be sent were not when it was last tried
}

// NewAccord returns the accord of a generator that has the file, with the TCP
// address of its relay; nil when there is no such file: then nobody decides
// anything. Close it in the end.
func NewAccord(address, file string) (*Accord, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what machines agree on: %w", err)
	}
	minutes, err := agreement.Decode(text)
	if err != nil {
		return nil, err
	}
	a := &Accord{
		link: NewLink(address), file: file, until: time.UnixMilli(minutes.Until), heard: make(chan agreement.Decision),
		stop: make(chan struct{}), spoke: make(chan struct{}, 1),
	}
	a.work.Go(a.send)
	a.work.Go(a.read)
	return a, nil
}

// Until is when other machines are waited for no more.
func (a *Accord) Until() time.Time { return a.until }

// Heard returns what is decided: each once, in the order of its coming.
func (a *Accord) Heard() <-chan agreement.Decision { return a.heard }

// Tell sends a word, again and again until it could be sent. It does not wait.
func (a *Accord) Tell(w metrics.Word) {
	a.mu.Lock()
	a.words = append(a.words, w)
	a.mu.Unlock()
	select {
	case a.spoke <- struct{}{}:
	default:
	}
}

// send sends words in their order.
func (a *Accord) send() {
	for {
		select {
		case <-a.spoke:
		case <-a.stop:
			a.sendAll() // those of the last moment
			return
		}
		for !a.sendAll() {
			select {
			case <-time.After(tellPause):
			case <-a.stop:
				a.sendAll()
				return
			}
		}
	}
}

// sendAll sends what there is, and reports whether it could.
func (a *Accord) sendAll() bool {
	a.mu.Lock()
	words := a.words
	a.words = nil
	a.mu.Unlock()
	var lines bytes.Buffer
	sendable := words[:0]
	for _, w := range words {
		line, err := metrics.EncodeWord(w)
		if err != nil {
			a.mu.Lock()
			a.refused, a.last = a.refused+1, err
			a.mu.Unlock()
			continue
		}
		sendable = append(sendable, w)
		lines.Write(append(line, '\n'))
	}
	if lines.Len() == 0 {
		return true
	}
	if _, err := a.link.Write(lines.Bytes()); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.words = append(sendable, a.words...) // to say a word twice does no harm
		a.last = err
		return false
	}
	return true
}

// read passes on what is new in the file.
func (a *Accord) read() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	known, before := 0, []byte(nil)
	for {
		select {
		case <-tick.C:
		case <-a.stop:
			return
		}
		text, err := os.ReadFile(a.file)
		if err != nil || bytes.Equal(text, before) {
			continue
		}
		minutes, err := agreement.Decode(text)
		if err != nil {
			continue // it is being replaced
		}
		for ; known < len(minutes.Decided); known++ {
			select {
			case a.heard <- minutes.Decided[known]:
			case <-a.stop:
				return
			}
		}
		before = text
	}
}

// Close sends the last words, and ends the connection. It is an error if words
// could not be sent.
func (a *Accord) Close() error {
	close(a.stop)
	a.work.Wait()
	_ = a.link.Close() // what it lost was sent again, or is told here
	if unsent := a.refused + len(a.words); unsent > 0 {
		return fmt.Errorf("other machines were not told %d times how far this one was, the last time: %w", unsent, a.last)
	}
	return nil
}
