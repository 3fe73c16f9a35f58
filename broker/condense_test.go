package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/metrics"
)

// A condensingStore notes up to when it is to condense, after failing once.
type condensingStore struct {
	Store
	mu     sync.Mutex
	failed bool
	until  []int64
}

func (s *condensingStore) ReadSeries(context.Context, string) (*metrics.Series, error) {
	return metrics.NewSeries(), nil
}

func (s *condensingStore) Machines(context.Context, string) ([]Machine, error) { return nil, nil }

func (s *condensingStore) Replaced(context.Context, string) ([]Machine, error) { return nil, nil }

func (s *condensingStore) Condense(_ context.Context, _ string, until int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.failed {
		s.failed = true
		return Errorf(EUnavailable, "the disk is full")
	}
	s.until = append(s.until, until)
	return nil
}

func TestRunUnderWayIsCondensedByParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const start = 1_700_000_040_000
		store := &condensingStore{}
		x := newExecution(New(Config{Store: store}), Run{UUID: "r"})
		ctx, cancel := context.WithCancel(t.Context())
		x.work.Go(func() { x.condense(ctx) })
		time.Sleep(time.Second / 2) // of the bubble's clock: so that nothing falls together
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for i := range 200 {
			<-second.C
			f := metrics.Frame{Seq: uint64(i + 1), Time: start + int64(i+1)*1000}
			x.seriesMu.Lock()
			x.series.Add("s", 0, f)
			x.seriesMu.Unlock()
		}
		cancel()
		x.work.Wait()
		// What is 20 seconds old, in parts of 20; the first try failed.
		var want []int64
		for part := range int64(10) {
			want = append(want, start+(part-1)*20_000)
		}
		if !slices.Equal(store.until, want) {
			t.Errorf("got condensed up to %v, want %v", store.until, want)
		}
	})
}

func TestCompletedRunIsCondensedToItsEnd(t *testing.T) {
	store := &condensingStore{failed: true}
	x := newExecution(New(Config{Store: store}), Run{UUID: "r", State: Completed})
	x.drive(t.Context())
	if want := []int64{math.MaxInt64}; !slices.Equal(store.until, want) {
		t.Errorf("got condensed up to %v, want %v", store.until, want)
	}
}

// A leftoverStore has runs that an earlier broker has left.
type leftoverStore struct {
	Store
	condensed []string
}

func (s *leftoverStore) Uncondensed(context.Context) ([]string, error) {
	return []string{"deleted", "unreadable", "whole"}, nil
}

func (s *leftoverStore) Condense(_ context.Context, uuid string, until int64) error {
	switch {
	case uuid == "deleted":
		return Errorf(ENotFound, "There is no such run.")
	case uuid == "unreadable" || until != math.MaxInt64:
		return errors.New("decode frame 7")
	}
	s.condensed = append(s.condensed, uuid)
	return nil
}

func TestRunsThatAnEarlierBrokerLeftAreCondensed(t *testing.T) {
	store := &leftoverStore{}
	var log bytes.Buffer
	b := New(Config{Store: store, Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.condenseLeftovers(t.Context())
	if !slices.Equal(store.condensed, []string{"whole"}) {
		t.Errorf("got %v condensed, want what can be", store.condensed)
	}
	if said := log.String(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "decode frame 7") || strings.Contains(said, "no such run") {
		t.Errorf("got the log %q, want only what can't be read", said)
	}
}
