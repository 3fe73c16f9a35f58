package aws

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/broker"
)

// A record is all that is kept of a machine, from before it is launched until
// it is given back.
type record struct {
	Request broker.MachineRequest
	Region  string
	// Call is the token of the call that was to make the machine, which is for
	// others, too: see calls.go.
	Call  string
	At    choice // where it was to
	Image string // the AMI
	// Asked is when the call was planned, and Called when it was made last: EC2
	// may refuse it for long as coming too soon.
	Asked, Called time.Time
	// Authority signed the machine's certificate, which is for Name and lasts
	// until Until: a machine that is used again keeps it.
	Authority, Name string
	Until           time.Time
	// Ends is when the machine's term ends.
	Ends time.Time
	// Instance is EC2's id of the machine; empty until EC2 has told it.
	Instance        string
	Private, Public string // its addresses
	// Seq is the number of the last renewal of its lease, and Term of its term.
	Seq, Term uint64
	// Tried are the launches that came to nothing.
	Tried []attempt
	// Idle is since when the machine is kept for the next run; Request is still
	// that of the last one. Zero means that it is in use.
	Idle time.Time `json:",omitzero"`
	// Taken is when Request took the machine over, if another had it before, and
	// Fitting says that it is not ready for Request yet.
	Taken   time.Time `json:",omitzero"`
	Fitting bool      `json:",omitempty"`
}

// name is the name in the machine's certificate.
func (rec record) name() string { return cmp.Or(rec.Name, rec.Request.Token) }

// An attempt is a launch that came to nothing, and why.
type attempt struct {
	At     choice
	Kind   kind
	Reason string
}

// A ledger keeps records, a file each. Its methods may be called concurrently.
type ledger struct {
	dir string

	mu      sync.Mutex
	entries map[string]*entry // by token
	idle    map[*entry]bool   // those whose machine is kept for the next run
}

// An entry is one record of a ledger.
type entry struct {
	path string
	mu   sync.Mutex
	rec  record
	gone bool

	// What follows is under the ledger's lock.
	held bool // by whoever changes what the machine is for, or ends it
}

// suffix ends the names of files of records; those being written have another.
const suffix = ".json"

func openLedger(dir string) (*ledger, error) {
	l := &ledger{dir: dir, entries: map[string]*entry{}, idle: map[*entry]bool{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger of machines: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger of machines: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		token, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok {
			_ = os.Remove(path) // half written when the process was killed
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read record of machine %s: %w", token, err)
		}
		e := &entry{path: path}
		if err := json.Unmarshal(data, &e.rec); err != nil {
			return nil, fmt.Errorf("read record of machine %s: %w", token, err)
		}
		l.entries[cmp.Or(e.rec.Request.Token, token)] = e
		if !e.rec.Idle.IsZero() {
			l.idle[e] = true
		}
	}
	return l, nil
}

// get returns the entry of the token; nil if there is none.
func (l *ledger) get(token string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[token]
}

// open returns the entry of the request's token, or a new one that is not on
// disk yet.
func (l *ledger) open(req broker.MachineRequest, region string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[req.Token]
	if e == nil {
		e = &entry{
			path: filepath.Join(l.dir, filepath.Base(req.Token)+suffix),
			rec:  record{Request: req, Region: region},
		}
		l.entries[req.Token] = e
	}
	return e
}

// remove forgets the machine of the token.
func (l *ledger) remove(token string) error {
	if e := l.get(token); e != nil {
		return l.drop(e)
	}
	return nil
}

// drop forgets the entry.
func (l *ledger) drop(e *entry) error {
	l.mu.Lock()
	if token := e.read().Request.Token; l.entries[token] == e {
		delete(l.entries, token)
	}
	delete(l.idle, e)
	l.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	if err := os.Remove(e.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove record of a machine: %w", err)
	}
	return nil
}

// list returns the entries.
func (l *ledger) list() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.entries))
}

// all returns copies of the records.
func (l *ledger) all() []record {
	var out []record
	for _, e := range l.list() {
		out = append(out, e.read())
	}
	return out
}

// byInstance returns copies of the records of machines that were launched, by
// EC2's ids.
func (l *ledger) byInstance() map[string]record {
	out := map[string]record{}
	for _, rec := range l.all() {
		if rec.Instance != "" {
			out[rec.Instance] = rec
		}
	}
	return out
}

// of returns the entry of the instance; nil if there is none.
func (l *ledger) of(instance string) *entry {
	for _, e := range l.list() {
		if e.read().Instance == instance {
			return e
		}
	}
	return nil
}

// ranOutFor is how long after its term's end a machine is surely gone.
const ranOutFor = 24 * time.Hour

// forget removes the records of machines that nobody gave back, and that have
// long ended by themselves.
func (l *ledger) forget(now time.Time) error {
	var errs []error
	for _, rec := range l.all() {
		if !rec.Ends.IsZero() && now.Sub(rec.Ends) > ranOutFor {
			errs = append(errs, l.remove(rec.Request.Token))
		}
	}
	return errors.Join(errs...)
}

// authorities are those that signed certificates of machines in the ledger.
func (l *ledger) authorities() []string {
	var ids []string
	for _, rec := range l.all() {
		if rec.Authority != "" && !slices.Contains(ids, rec.Authority) {
			ids = append(ids, rec.Authority)
		}
	}
	return ids
}

// read returns a copy of the record.
func (e *entry) read() record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec
}

// update changes the record, and returns when that is on disk.
func (e *entry) update(change func(*record)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.rec
	change(&next)
	if e.gone {
		return broker.Errorf(broker.ENotFound, "machine %s has been given back", next.Instance)
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write record of a machine: %w", err)
	}
	if err := writeWhole(e.path, data); err != nil {
		return fmt.Errorf("write record of a machine: %w", err)
	}
	e.rec = next
	return nil
}

// writeWhole replaces the file, which is on disk when it returns: the whole new
// one, or, after an error, the whole old one.
func writeWhole(path string, data []byte) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
