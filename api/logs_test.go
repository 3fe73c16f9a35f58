package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
)

// A tape is an engine that knows only logs: those recorded on it. Following
// goes on until the tape is ended.
type tape struct {
	broker.Engine // everything else is missing and not called

	mu    sync.Mutex
	lines map[string][]string // by container
	fail  error               // after the lines
	more  chan struct{}       // closed and made anew at each change
	ended bool
	calls int // of Logs, under way
}

func newTape() *tape { return &tape{lines: map[string][]string{}, more: make(chan struct{})} }

func (p *tape) Close() error { return nil }

func (p *tape) record(container, text string) {
	p.change(func() { p.lines[container] = append(p.lines[container], text) })
}

func (p *tape) end(err error) { p.change(func() { p.ended, p.fail = true, err }) }

func (p *tape) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.more)
	p.more = make(chan struct{})
}

func (p *tape) Logs(ctx context.Context, id string, o broker.LogOptions, stdout, stderr io.Writer) error {
	p.change(func() { p.calls++ })
	defer p.change(func() { p.calls-- })
	for next := 0; ; {
		p.mu.Lock()
		lines, more, ended, fail := p.lines[id], p.more, p.ended, p.fail
		p.mu.Unlock()
		if o.Tail > 0 && next == 0 {
			next = max(0, len(lines)-o.Tail)
		}
		for ; next < len(lines); next++ {
			w := stdout
			if strings.HasPrefix(lines[next], "error") {
				w = stderr
			}
			if _, err := fmt.Fprintf(w, "2026-11-21T10:00:00.000000001Z %s\n", lines[next]); err != nil {
				return err
			}
		}
		if ended || !o.Follow {
			return fail
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mustLog stores a run with one machine whose containers are on the tape.
func (b *bench) mustLog(lines ...string) broker.Run {
	b.Helper()
	run := b.mustStore(b.mustPlan())
	m := broker.Machine{
		State: broker.MachinePrepared, RelayID: "relay", ContainerID: "plan", StartedAt: new(time.Now()),
	}
	if err := b.store.SaveMachine(b.Context(), &run, &m); err != nil {
		b.Fatal(err)
	}
	for _, line := range lines {
		b.tape.record("plan", line)
	}
	b.tape.record("relay", "from the relay")
	return run
}

func TestLogsInText(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one", "error two", "three")
	path := "/api/run/" + run.UUID + "/logs"
	const at = "2026-11-21T10:00:00.000000Z one/0 "
	for query, want := range map[string]string{
		"":                    at + "one\n" + at + "error two\n" + at + "three\n",
		"?step=one&machine=0": at + "one\n" + at + "error two\n" + at + "three\n",
		"?tail=1":             at + "three\n",
		"?relay":              at + "from the relay\n",
		"?relay=0&tail=1":     at + "three\n",
	} {
		got := b.do("GET", path+query, "")
		if diff := cmp.Diff(want, got.body); diff != "" {
			t.Errorf("logs%s, -want +got:\n%s", query, diff)
		}
		if kind := got.header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			t.Errorf("logs%s: got content type %q", query, kind)
		}
	}
}

func TestLogsInJSON(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one", "error two")
	got := b.do("GET", "/api/run/"+run.UUID+"/logs", "", "Accept", "application/x-ndjson, */*;q=0.1")
	want := `{"at":"2026-11-21T10:00:00.000000Z","step":"one","machine":0,"stream":"stdout","text":"one"}
{"at":"2026-11-21T10:00:00.000000Z","step":"one","machine":0,"stream":"stderr","text":"error two"}
`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if kind := got.header.Get("Content-Type"); kind != contentNDJSON {
		t.Errorf("got content type %q", kind)
	}
	for line := range strings.Lines(got.body) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestClientFollowsLogs(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one")
	var mu sync.Mutex
	var got []string
	ended := make(chan error, 1)
	go func() {
		ended <- b.client().Logs(t.Context(), run.UUID, broker.LogQuery{Step: "one", Follow: true}, func(l LogLine) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%s/%d %s %s", l.Step, l.Machine, l.Stream, l.Text))
			return nil
		})
	}()
	seen := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) == n
		}
	}
	b.eventually("the first line comes", seen(1))
	b.tape.record("plan", "error two")
	b.eventually("the second line comes, live", seen(2))
	b.tape.end(nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one/0 stdout one", "one/0 stderr error two"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLogsThatBreakOff(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one")
	b.tape.end(broker.Errorf(broker.EUnavailable, "The machine does not answer."))
	t.Run("the client says why", func(t *testing.T) {
		lines := 0
		err := b.client().Logs(t.Context(), run.UUID, broker.LogQuery{}, func(LogLine) error { lines++; return nil })
		if broker.CodeOf(err) != broker.EUnavailable || !strings.Contains(err.Error(), "does not answer") || lines != 1 {
			t.Errorf("got %v after %d lines, want EUnavailable after one", err, lines)
		}
	})
	t.Run("text is cut, so that it can't be taken for whole", func(t *testing.T) {
		resp, err := http.Get(b.url + "/api/run/" + run.UUID + "/logs?follow")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("got all of %q, want an error", text)
		}
	})
	t.Run("an unknown step is not there", func(t *testing.T) {
		err := b.client().Logs(t.Context(), run.UUID, broker.LogQuery{Step: "x"}, func(LogLine) error { return nil })
		if broker.CodeOf(err) != broker.ENotFound {
			t.Errorf("got %v, want ENotFound", err)
		}
	})
	t.Run("the caller's error is returned as it is", func(t *testing.T) {
		mine := errors.New("mine")
		err := b.client().Logs(t.Context(), run.UUID, broker.LogQuery{}, func(LogLine) error { return mine })
		if err != mine {
			t.Errorf("got %v, want %v", err, mine)
		}
	})
}

// A caller who follows and goes away frees what the server held for them.
func TestFollowerWhoLeavesIsForgotten(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one")
	ctx, cancel := context.WithCancel(t.Context())
	err := b.client().Logs(ctx, run.UUID, broker.LogQuery{Follow: true}, func(LogLine) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	b.eventually("the engine is not asked any more", func() bool {
		b.tape.mu.Lock()
		defer b.tape.mu.Unlock()
		return b.tape.calls == 0
	})
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("got errors in the log:\n%s", log)
	}
}
