package grafana

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/loads/loads/broker"
)

// Store keeps where the dashboards of runs are. Its methods are those of
// package db.
type Store interface {
	// BeginDashboards says that the runs from now on are to be published.
	BeginDashboards(ctx context.Context) error
	// Dashboards returns the runs whose dashboard is not final.
	Dashboards(ctx context.Context) ([]broker.DashboardRecord, error)
	// SaveDashboard stores the record and events. ENotFound when the run was
	// deleted.
	SaveDashboard(ctx context.Context, rec broker.DashboardRecord, events ...broker.Event) error
}

// PublisherConfig is what a Publisher is made of. Zero durations get sensible
// values.
type PublisherConfig struct {
	Client     *Client
	DataSource DataSource
	Store      Store
	// Input returns what a run's dashboard is made of.
	Input func(ctx context.Context, runUUID string) (Input, error)
	Log   *slog.Logger

	Every    time.Duration // between looks at the runs; 2 s
	RetryMax time.Duration // longest pause after failures, which begins with Every; 1 minute
}

// A Publisher brings the dashboards of runs to Grafana: when they start, when
// they have something new to show, and when they are over. No run waits for it.
type Publisher struct {
	cfg   PublisherConfig
	log   *slog.Logger
	last  map[string][]byte // what was published of the runs under way, by uuid
	pause time.Duration
}

// NewPublisher makes a publisher; Run does its work.
func NewPublisher(cfg PublisherConfig) *Publisher {
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.RetryMax <= 0 {
		cfg.RetryMax = time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Publisher{cfg: cfg, log: cfg.Log.With("component", "grafana"), last: map[string][]byte{}, pause: cfg.Every}
}

// Run publishes until ctx is done. It may be called once.
func (p *Publisher) Run(ctx context.Context) {
	wait := time.Duration(0)
	for begun := false; ; {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		var err error
		if !begun {
			err = p.cfg.Store.BeginDashboards(ctx)
			begun = err == nil
		}
		if err == nil {
			err = p.round(ctx)
		}
		if err == nil || ctx.Err() != nil {
			wait, p.pause = p.cfg.Every, p.cfg.Every
			continue
		}
		wait = p.pause
		p.pause = min(2*p.pause, p.cfg.RetryMax)
	}
}

// round looks at every run that is not published to its end. A failure with
// one does not keep it from the others; the last is returned.
func (p *Publisher) round(ctx context.Context) (last error) {
	records, err := p.cfg.Store.Dashboards(ctx)
	if err != nil {
		p.log.Error("read what is to be published", "error", err)
		return err
	}
	under := map[string][]byte{}
	for _, rec := range records {
		err := p.publish(ctx, rec)
		if err != nil && ctx.Err() == nil && broker.CodeOf(err) != broker.ENotFound {
			p.failed(ctx, rec, err)
			last = err
		}
		if text, ok := p.last[rec.Run.UUID]; ok {
			under[rec.Run.UUID] = text
		}
	}
	p.last = under
	return last
}

// publish brings one run to Grafana, if there is something new.
func (p *Publisher) publish(ctx context.Context, rec broker.DashboardRecord) error {
	in, err := p.cfg.Input(ctx, rec.Run.UUID)
	if err != nil {
		return err
	}
	in.DataSource = DataSourceUID
	text, err := Dashboard(in)
	if err != nil {
		return err
	}
	run := in.Report.Run
	final := run.State == broker.Completed
	if !final && bytes.Equal(text, p.last[run.UUID]) {
		return nil
	}
	c := p.cfg.Client
	if err := c.EnsureDataSource(ctx, p.cfg.DataSource); err != nil {
		return err
	}
	if err := c.EnsureFolder(ctx, run.ProjectUUID, run.ProjectName); err != nil {
		return err
	}
	at, err := c.PutDashboard(ctx, run.ProjectUUID, text)
	if err != nil {
		return err
	}
	if err := c.PutAnnotations(ctx, run.UUID, Annotations(run)); err != nil {
		return err
	}
	var notes []broker.Event
	if rec.URL == "" {
		notes = append(notes, broker.Event{Kind: broker.EventNote, Text: "The run's dashboard is at " + at + "."})
	}
	p.last[run.UUID] = text
	rec.URL, rec.Final, rec.Trouble = at, final, ""
	return p.cfg.Store.SaveDashboard(ctx, rec, notes...)
}

// failed tells once in the log and in the run's history that its dashboard
// can't be published now.
func (p *Publisher) failed(ctx context.Context, rec broker.DashboardRecord, err error) {
	text := err.Error()
	if rec.Trouble == "" {
		p.log.Error("publish dashboard; it is tried again", "run", rec.Run.UUID, "error", text)
		note := broker.Event{
			Kind: broker.EventNote,
			Text: fmt.Sprintf("The run's dashboard can't be published now; it is tried again: %s.", strings.TrimRight(text, ".")),
		}
		rec.Trouble = text
		if err := p.cfg.Store.SaveDashboard(ctx, rec, note); err != nil && ctx.Err() == nil {
			p.log.Error("note trouble with Grafana", "run", rec.Run.UUID, "error", err)
		}
	}
}
