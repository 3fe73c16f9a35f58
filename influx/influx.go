// Package influx writes the frames of runs into InfluxDB, version 2 or 1.8.
//
// What is to be written is derived from the frames in the broker's store, and
// the store keeps the number of the last frame written, so nothing is lost
// when InfluxDB or the broker is away, and no run waits for InfluxDB. A point
// is named by its series and its second: written again it changes nothing.
package influx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/loads/loads/broker"
)

// Store is what a Sender needs of the broker's store. Its methods are those of
// package db.
type Store interface {
	// BeginExports says that the runs from now on are to be written.
	BeginExports(ctx context.Context) error
	// Exports returns the runs that are not written to their end.
	Exports(ctx context.Context) ([]broker.Export, error)
	Machines(ctx context.Context, runUUID string) ([]broker.Machine, error)
	// FramesToExport returns frames not written yet, of each machine up to
	// limit, by machine and number.
	FramesToExport(ctx context.Context, runUUID string, limit int) ([]broker.StoredFrame, error)
	// ExportedFrames returns the written frames with from < At <= to.
	ExportedFrames(ctx context.Context, runUUID string, from, to int64) ([]broker.StoredFrame, error)
	// SaveExport stores how far the run has come, the number of the last frame
	// written by machine id, and events. ENotFound when the run was deleted.
	SaveExport(ctx context.Context, e broker.Export, cursors map[int64]uint64, events ...broker.Event) error
}

// Config is what a Sender is made of. Zero durations get sensible values.
type Config struct {
	URL    string // of the server
	Token  string // of InfluxDB 2, or user:password of 1.8; it is never shown
	Org    string // of InfluxDB 2
	Bucket string // of InfluxDB 2, or database/retention-policy of 1.8
	Store  Store
	Log    *slog.Logger
	// TLS, when not nil, says by which certificates an https server is known.
	TLS *tls.Config
	// Also, when not nil, is given the points that the server has taken, before
	// that is stored: a batch may come twice. After an error it comes again.
	Also func(points []*write.Point) error

	Every    time.Duration // between looks for new frames; 1 s
	Timeout  time.Duration // of one request; 20 s
	RetryMin time.Duration // pause after a first failure, doubled after each that follows; 1 s
	RetryMax time.Duration // longest pause; 30 s
	// RefusedEvery is the pause after a refusal that only people can end, as of
	// a wrong token; 1 minute.
	RefusedEvery time.Duration
}

// A Sender writes runs. One goroutine does all its work; it has no queue,
// since the store is one.
type Sender struct {
	cfg    Config
	client influxdb2.Client
	write  api.WriteAPIBlocking
	log    *slog.Logger

	trouble broker.Trouble // told in the log last
	pause   time.Duration  // after the last failure; 0 after success
}

// New makes a sender; Run does its work. It gives EInvalid for options that
// can't be right. The server is not asked.
func New(cfg Config) (*Sender, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, broker.Errorf(broker.EInvalid, "%q is not the address of an InfluxDB; give one such as http://127.0.0.1:8086.", redacted(u, cfg.URL))
	}
	if cfg.Bucket == "" {
		return nil, broker.Errorf(broker.EInvalid, "InfluxDB needs a bucket; give its name, or database/retention-policy for InfluxDB 1.8.")
	}
	cfg.Every = orDefault(cfg.Every, time.Second)
	cfg.Timeout = orDefault(cfg.Timeout, 20*time.Second)
	cfg.RetryMin = orDefault(cfg.RetryMin, time.Second)
	cfg.RetryMax = orDefault(cfg.RetryMax, 30*time.Second)
	cfg.RefusedEvery = orDefault(cfg.RefusedEvery, time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	options := influxdb2.DefaultOptions().SetPrecision(time.Millisecond).SetUseGZip(true).
		SetApplicationName("loads").SetHTTPRequestTimeout(uint(max(1, cfg.Timeout.Seconds())))
	if cfg.TLS != nil {
		options.SetTLSConfig(cfg.TLS)
	}
	client := influxdb2.NewClientWithOptions(cfg.URL, cfg.Token, options)
	return &Sender{
		cfg: cfg, client: client, write: client.WriteAPIBlocking(cfg.Org, cfg.Bucket),
		log: cfg.Log.With("component", "influx"),
	}, nil
}

// redacted is the address without its password.
func redacted(u *url.URL, text string) string {
	if u == nil {
		return "(unreadable)"
	}
	if u.User == nil {
		return text
	}
	return u.Redacted()
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Run writes what there is to write until ctx is done. It may be called once.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.Close()
	begun := false
	for wait := time.Duration(0); ; {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if !begun {
			if err := s.cfg.Store.BeginExports(ctx); err != nil {
				wait = s.storeFailed(ctx, err)
				continue
			}
			begun = true
		}
		wait = s.round(ctx)
	}
}

// round writes what is there of all runs, and returns the pause before the
// next round. A run that can't be read does not keep it from the others.
func (s *Sender) round(ctx context.Context) time.Duration {
	exports, err := s.cfg.Store.Exports(ctx)
	if err != nil {
		return s.storeFailed(ctx, err)
	}
	var unread error
	for i := range exports {
		err := s.run(ctx, &exports[i])
		var failed *failure
		switch {
		case ctx.Err() != nil:
			return 0
		case errors.As(err, &failed):
			return s.failed(ctx, failed, exports[i:])
		case err != nil && broker.CodeOf(err) != broker.ENotFound: // deleted meanwhile
			unread = errors.Join(unread, fmt.Errorf("run %s: %w", exports[i].Run.UUID, err))
		}
	}
	if unread != nil {
		return s.storeFailed(ctx, unread)
	}
	return s.cfg.Every
}

func (s *Sender) storeFailed(ctx context.Context, err error) time.Duration {
	if ctx.Err() == nil {
		s.log.Error("read what is to be written", "error", err)
	}
	return s.backOff()
}

func (s *Sender) backOff() time.Duration {
	s.pause = min(max(2*s.pause, s.cfg.RetryMin), s.cfg.RetryMax)
	return s.pause
}

// failed tells of a failure of the server, once in the log and once in each
// run that waits, and returns the pause before the next attempt.
func (s *Sender) failed(ctx context.Context, f *failure, waiting []broker.Export) time.Duration {
	if s.trouble != f.kind {
		s.log.Error("write to InfluxDB; it is tried again", "kind", string(f.kind), "error", f.detail)
		s.trouble = f.kind
	}
	for _, e := range waiting {
		if e.Trouble == f.kind {
			continue
		}
		e.Trouble, e.Detail = f.kind, f.detail
		note := broker.Event{Kind: broker.EventNote, State: string(f.kind), Text: f.sentence()}
		if err := s.cfg.Store.SaveExport(ctx, e, nil, note); err != nil && broker.CodeOf(err) != broker.ENotFound && ctx.Err() == nil {
			s.log.Error("note trouble with InfluxDB", "run", e.Run.UUID, "error", err)
		}
	}
	if f.kind == broker.TroubleRefused {
		return s.cfg.RefusedEvery
	}
	return max(s.backOff(), f.retryAfter)
}

// recovered tells that the server takes points again.
func (s *Sender) recovered() {
	s.pause = 0
	if s.trouble != "" {
		s.log.Info("InfluxDB takes points again")
		s.trouble = ""
	}
}
