// Package stats counts what a load generator has done: by phase, metric and
// second, with sketches of the latencies, so that the counts of many loops,
// machines and seconds add up to those of one. It judges the limits that a
// benchmark sets, and writes what was counted for people and programs.
package stats

import "github.com/loads/loads/metrics"

// Failure says why a request has no answer, or none that counts.
type Failure uint8

// The failures of requests. Each request has one at most.
const (
	None       Failure = iota
	Timeout            // no complete answer in time
	Connection         // refused, reset, closed, or what came was no answer
	Internal           // the generator could not do what the scenario says
	Cancelled          // the phase was over before the answer came
)

// Request is how a request went. Times are in ns of one clock.
type Request struct {
	Intended int64 // when it should have left
	Sent     int64 // when it left; 0 if it never did
	End      int64
	Blocked  int64 // how long it waited for a connection, in ns
	Status   int   // 0 if none came, or the protocol has none
	Failure  Failure
	Invalid  bool // an answer came, but not as it should be
	BytesIn  int64
	BytesOut int64
}

// Counts are the numbers of requests, and of what became of them.
type Counts struct {
	Requests    int64 `json:"requests"`  // that have ended
	Responses   int64 `json:"responses"` // complete answers, whatever their status
	Invalid     int64 `json:"invalid"`
	Timeouts    int64 `json:"timeouts"`
	Connections int64 `json:"connection_errors"`
	Internal    int64 `json:"internal_errors"`
	Cancelled   int64 `json:"cancelled"`
	BytesIn     int64 `json:"bytes_in"`
	BytesOut    int64 `json:"bytes_out"`
	CacheHits   int64 `json:"cache_hits,omitempty"` // requests that were answered from a session's cache, and not sent: in no other number
}

// Errors is how many requests have failed; those of a bad status have not.
func (c Counts) Errors() int64 { return c.Timeouts + c.Connections + c.Internal }

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Responses += o.Responses
	c.Invalid += o.Invalid
	c.Timeouts += o.Timeouts
	c.Connections += o.Connections
	c.Internal += o.Internal
	c.Cancelled += o.Cancelled
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
	c.CacheHits += o.CacheHits
}

// StatusCount is how many complete answers had a status: one that broke off is
// counted with the failures only.
type StatusCount struct {
	Status int   `json:"status"`
	Count  int64 `json:"count"`
}

// NamedCount is a counter that the scenario has given a name.
type NamedCount struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// maxNamed is how many names a cell tells apart; later ones are counted under
// Others.
const maxNamed = 100

// Cell is what is counted of a metric in a phase. The sketches are in ms. Those
// of latency hold every request that was answered or timed out: a request
// that timed out took as long as it waited, at least, and percentiles that left
// it out would be the better, the more requests time out. Connections that
// failed are in neither.
type Cell struct {
	Counts
	Statuses []StatusCount  `json:"statuses,omitempty"`
	Named    []NamedCount   `json:"counters,omitempty"` // what the scenario itself counts, by name
	Latency  metrics.Sketch `json:"latency"`            // from the intended start
	Service  metrics.Sketch `json:"service"`            // from when the request left
	Blocked  metrics.Sketch `json:"blocked"`            // waiting for a connection
}

// Add counts a request. It allocates nothing once the cell has seen requests
// like it.
func (c *Cell) Add(r *Request) {
	const ms = 1e-6
	c.Requests++
	c.BytesIn += r.BytesIn
	c.BytesOut += r.BytesOut
	switch r.Failure {
	case None:
		c.Responses++
		if r.Invalid {
			c.Invalid++
		}
		if r.Status != 0 {
			c.addStatus(r.Status, 1)
		}
	case Timeout:
		c.Timeouts++
	case Connection:
		c.Connections++
	case Internal:
		c.Internal++
	case Cancelled:
		c.Cancelled++
	}
	if r.Failure == None || r.Failure == Timeout {
		c.Latency.Add(float64(r.End-r.Intended)*ms, 1)
		if r.Sent != 0 {
			c.Service.Add(float64(r.End-r.Sent)*ms, 1)
		}
	}
	if r.Failure != Connection || r.Blocked > 0 {
		c.Blocked.Add(float64(r.Blocked)*ms, 1)
	}
}

func (c *Cell) addStatus(status int, n int64) {
	for i := range c.Statuses {
		if c.Statuses[i].Status == status {
			c.Statuses[i].Count += n
			return
		}
	}
	c.Statuses = append(c.Statuses, StatusCount{status, n})
}

// Count adds to a counter of the scenario. It allocates for new names only.
func (c *Cell) Count(name []byte, n int64) {
	for i := range c.Named {
		if c.Named[i].Name == string(name) {
			c.Named[i].Count += n
			return
		}
	}
	text := string(name)
	if len(c.Named) >= maxNamed && text != Others {
		c.Count([]byte(Others), n)
		return
	}
	c.Named = append(c.Named, NamedCount{text, n})
}

// Merge adds what another cell has.
func (c *Cell) Merge(o *Cell) {
	c.add(o.Counts)
	for _, s := range o.Statuses {
		c.addStatus(s.Status, s.Count)
	}
	for _, n := range o.Named {
		c.Count([]byte(n.Name), n.Count)
	}
	// Merging has no error for sketches that this program made.
	_ = c.Latency.Merge(&o.Latency)
	_ = c.Service.Merge(&o.Service)
	_ = c.Blocked.Merge(&o.Blocked)
}

func (c *Cell) reset() {
	c.Counts, c.Statuses, c.Named = Counts{}, c.Statuses[:0], c.Named[:0]
	c.Latency.Reset()
	c.Service.Reset()
	c.Blocked.Reset()
}

func (c *Cell) isEmpty() bool { return c.hasNoRequests() && len(c.Named) == 0 }

// hasNoRequests reports whether nothing is counted but what the scenario counts itself.
func (c *Cell) hasNoRequests() bool {
	return c.Requests == 0 && c.CacheHits == 0 && c.BytesIn == 0 && c.BytesOut == 0
}

// Class is how many answers had a status of the class, such as 2 for 200 to 299.
func (c *Cell) Class(class int) (n int64) {
	for _, s := range c.Statuses {
		if s.Status/100 == class {
			n += s.Count
		}
	}
	return n
}

// Users are the users of a phase.
type Users struct {
	Started   int64          `json:"started"`
	Ended     int64          `json:"ended"`
	Busy      int64          `json:"busy"`      // at the end of the time, or most at once in a total
	Delayed   int64          `json:"delayed"`   // started late, as too many were busy
	Longest   float64        `json:"longest"`   // ms that one of them was delayed
	Unstarted int64          `json:"unstarted"` // due, and never started
	Lag       metrics.Sketch `json:"lag"`       // ms by which the generator itself started users late
}

func (u *Users) add(o *Users) {
	u.Started += o.Started
	u.Ended += o.Ended
	u.Delayed += o.Delayed
	u.Longest = max(u.Longest, o.Longest)
	u.Unstarted += o.Unstarted
	_ = u.Lag.Merge(&o.Lag)
}

func (u *Users) isEmpty() bool {
	return u.Started == 0 && u.Ended == 0 && u.Busy == 0 && u.Unstarted == 0 && u.Delayed == 0
}

// Key names what is counted together.
type Key struct {
	Phase  string `json:"phase"`
	Metric string `json:"metric"`
	// Measured is what a scenario measures itself, beside its requests: the time
	// between two steps, one that a header tells, or one from a rhythm. Its Requests
	// are measurements.
	Measured bool `json:"measured,omitempty"`
}

// String returns the key as files name it.
func (k Key) String() string { return k.Phase + "." + k.name(".measured") }

func (k Key) name(ifMeasured string) string {
	if k.Measured {
		return k.Metric + ifMeasured
	}
	return k.Metric
}

// maxMetrics is how many metrics a phase has at most; names that come later,
// as a rule can make them of paths, are counted together.
const maxMetrics = 500

// Others is the name under which they are counted.
const Others = "others"

// Recorder takes down what one loop does. It belongs to the loop's goroutine:
// there are no locks. Once a second the loop hands its Batch over and gets an
// empty one.
type Recorder struct {
	phases []string
	keys   []Key
	index  []map[string]int // of keys of requests, by phase and metric
	timed  []map[string]int // of keys of what is measured
	batch  *Batch
	free   chan *Batch
}

// Batch is what a loop has counted in some time. It is the receiver's until it
// calls Free.
type Batch struct {
	Keys  []Key
	Cells []Cell  // of the keys
	Users []Users // of the phases
	free  chan *Batch
}

// batches is how many batches a loop has. When the receiver holds all others, a
// loop goes on with the one it has, so nothing is lost and seconds are merged;
// only at the end of a phase there may be more.
const batches = 4

// NewRecorder returns the recorder of a loop, for phases of these names.
func NewRecorder(phases []string) *Recorder {
	r := &Recorder{phases: phases, free: make(chan *Batch, batches)}
	for range phases {
		r.index, r.timed = append(r.index, map[string]int{}), append(r.timed, map[string]int{})
	}
	for range batches {
		r.free <- &Batch{Users: make([]Users, len(phases)), free: r.free}
	}
	r.batch = <-r.free
	return r
}

// Metric returns the number of a metric of requests in a phase. A new one allocates.
func (r *Recorder) Metric(phase int, name []byte) int {
	return r.number(r.index[phase], Key{Phase: r.phases[phase]}, name)
}

// Measured returns the number of what a scenario measures itself in a phase. A
// new one allocates.
func (r *Recorder) Measured(phase int, name []byte) int {
	return r.number(r.timed[phase], Key{Phase: r.phases[phase], Measured: true}, name)
}

func (r *Recorder) number(index map[string]int, key Key, name []byte) int {
	if i, ok := index[string(name)]; ok {
		return i
	}
	key.Metric = string(name)
	if len(index) >= maxMetrics {
		key.Metric = Others
		if i, ok := index[Others]; ok {
			return i
		}
	}
	i := len(r.keys)
	r.keys = append(r.keys, key)
	index[key.Metric] = i
	return i
}

// Cell returns where a metric is counted now. It is good until Take.
func (r *Recorder) Cell(metric int) *Cell {
	if metric >= len(r.batch.Cells) {
		r.batch.grow(len(r.keys))
	}
	return &r.batch.Cells[metric]
}

// Users returns where the users of a phase are counted now. It is good until
// Take.
func (r *Recorder) Users(phase int) *Users { return &r.batch.Users[phase] }

// Take returns what was counted since the last time, and false if the receiver
// has not given back enough yet: then it is counted on.
func (r *Recorder) Take() (*Batch, bool) {
	select {
	case next := <-r.free:
		return r.swap(next), true
	default:
		return nil, false
	}
}

// TakeAll does what Take does, also if the receiver has given nothing back: at
// the end of a phase nothing of it may be missing.
func (r *Recorder) TakeAll() *Batch {
	if b, ok := r.Take(); ok {
		return b
	}
	return r.swap(&Batch{Users: make([]Users, len(r.phases)), free: r.free})
}

func (r *Recorder) swap(next *Batch) *Batch {
	full := r.batch
	full.grow(len(r.keys))
	full.Keys = r.keys[:len(r.keys):len(r.keys)]
	r.batch = next
	return full
}

func (b *Batch) grow(n int) {
	for len(b.Cells) < n {
		b.Cells = append(b.Cells, Cell{})
	}
}

// Free empties the batch and gives it back to its loop. Any goroutine may call
// it, once.
func (b *Batch) Free() {
	for i := range b.Cells {
		b.Cells[i].reset()
	}
	for i := range b.Users {
		lag := b.Users[i].Lag
		lag.Reset()
		b.Users[i] = Users{Lag: lag}
	}
	select {
	case b.free <- b:
	default: // one that TakeAll has made beyond the others
	}
}
