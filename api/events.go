package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

// Rhythm of an event stream. News wake it; it looks by itself as well, so that
// a wake-up that went missing delays an event and does not lose it.
const (
	liveEvery = time.Second            // metrics of the last second
	newsEvery = 100 * time.Millisecond // at most this often the history is read
)

type eventsInput struct {
	UUID  string `path:"uuid"`
	After int64  `query:"after" minimum:"0" doc:"Number of the last event seen."`
	Last  int64  `header:"Last-Event-ID" minimum:"0" doc:"The same, as browsers give it when they connect again; it wins."`
}

func (s *Server) eventRoutes() {
	registerStream(s, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/api/run/{uuid}/events", Tags: []string{"runs"},
		Summary: "A run's history as server-sent events, live until its end",
		Description: "The event's name is its kind, its data an Event in JSON. Entries of the history (run, step, " +
			"machine, note, criterion) have their number as id, so that a broken stream goes on where it was. Each second metrics " +
			"come with the last second's. The last event is end, with the run; then the stream closes. A comment " +
			"every 15 seconds shows that the stream lives.",
		RejectUnknownQueryParameters: true,
	}, map[string]string{contentSSE: "Event"}, s.events)
}

const contentSSE = "text/event-stream"

func (s *Server) events(ctx context.Context, in *eventsInput) (func(*stream) error, error) {
	if _, err := s.broker.Run(ctx, in.UUID); err != nil {
		return nil, err
	}
	after := in.After
	if in.Last > 0 {
		after = in.Last
	}
	return func(w *stream) error {
		f := &eventFeed{server: s, out: w, run: in.UUID, after: after}
		return f.serve()
	}, nil
}

// An eventFeed sends one run's events to one caller. One goroutine uses it.
type eventFeed struct {
	server *Server
	out    *stream
	run    string
	after  int64 // the last event sent
	live   int64 // end of the last second whose metrics were sent, Unix ms
}

func (f *eventFeed) serve() error {
	changed, stop := f.server.broker.Watch(f.run)
	defer stop()
	f.out.begin(contentSSE)
	live := time.NewTicker(liveEvery)
	defer live.Stop()
	beat := time.NewTicker(f.server.heartbeat)
	defer beat.Stop()
	for {
		over, err := f.news()
		if err != nil || over {
			return err
		}
		select {
		case <-f.out.ctx.Done():
			return nil
		case <-live.C:
			err = f.metrics()
		case <-beat.C:
			err = f.beat()
		case <-changed:
			err = pause(f.out.ctx, newsEvery)
		}
		if err != nil {
			return err
		}
	}
}

// news sends the events since the last one sent, and end after them when the
// run is over. The run is read first: what it says of its end, its history
// says too.
func (f *eventFeed) news() (over bool, err error) {
	ctx := f.out.ctx
	run, err := f.server.broker.Run(ctx, f.run)
	if broker.CodeOf(err) == broker.ENotFound {
		return true, nil // deleted meanwhile; who asks again is told so
	}
	if err != nil {
		return false, err
	}
	events, err := f.server.broker.Events(ctx, f.run, f.after)
	if err != nil {
		return false, err
	}
	for _, e := range events {
		if err := f.send(eventOf(e)); err != nil {
			return false, err
		}
		f.after = e.Seq
	}
	if run.State != broker.Completed {
		return false, f.out.flush()
	}
	if err := f.send(endOf(run)); err != nil {
		return false, err
	}
	return true, f.out.flush()
}

func endOf(run broker.Run) Event {
	r := runWithPlan(run)
	e := Event{Kind: EventEnd, State: string(r.Verdict), Text: r.Reason, Run: &r}
	if r.CompletedAt != nil {
		e.At = *r.CompletedAt
	}
	return e
}

// metrics sends the run's last complete second, once.
func (f *eventFeed) metrics() error {
	m, err := f.server.broker.Live(f.out.ctx, f.run)
	if err != nil {
		return err
	}
	if m.To <= f.live || len(m.Metrics) == 0 {
		return nil
	}
	f.live = m.To
	return f.send(Event{At: Time{time.UnixMilli(m.To)}, Kind: EventMetrics, Metrics: &m})
}

// beat says that the stream lives.
func (f *eventFeed) beat() error {
	_, err := fmt.Fprint(f.out, ": still here\n\n")
	return err
}

// send writes one event; flush sends it.
func (f *eventFeed) send(e Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if e.Seq > 0 {
		_, err = fmt.Fprintf(f.out, "id: %d\n", e.Seq)
	}
	if err == nil {
		_, err = fmt.Fprintf(f.out, "event: %s\ndata: %s\n\n", e.Kind, data)
	}
	return err
}

// pause waits for d, or until ctx is done, which is no error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}
