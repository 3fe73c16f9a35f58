package broker

// An Export is how far a run's metrics have come in a store beside the
// broker's own.
type Export struct {
	Run Run
	// Newest is the end of the latest second written, Unix ms; 0 for none.
	Newest  int64
	Written uint64 // points that the store has
	Refused uint64 // points that it will never take
	Waiting uint64 // frames whose points it does not have yet
	Trouble Trouble
	Detail  string // what the store said, while there is trouble
	Done    bool   // the run is completed, and nothing waits
}

// Trouble is why points can't be written now; empty while they can.
type Trouble string

// The kinds of trouble with a store.
const (
	TroubleUnreachable Trouble = "unreachable" // no answer, or it can't just now
	TroubleRefused     Trouble = "refused"     // what it says will stay so until somebody changes something
)

// A DashboardRecord is where the dashboard of a run is.
type DashboardRecord struct {
	Run     Run
	URL     string // empty before it is published
	Final   bool   // published after the run's end, with its exact time
	Trouble string // why it could not be published the last time
}
