package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
)

func TestClientFollowsLogsOverBrokenConnections(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog()
	cutter := mustCutter(t, b.url)
	retried := make(chan error, 100)
	c := &Client{BaseURL: cutter.URL, Retrying: func(err error, _ time.Duration) { retried <- err }}
	var mu sync.Mutex
	var got, want []string
	ended := make(chan error, 1)
	go func() {
		ended <- c.Logs(t.Context(), run.UUID, broker.LogQuery{Follow: true}, func(l LogLine) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, l.Text)
			return nil
		})
	}()
	for i := range 4 {
		text := fmt.Sprint("line ", i%2) // equal lines are lines all the same
		want = append(want, text)
		b.tape.record("plan", text)
		b.eventually("the line comes", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) == len(want)
		})
		cutter.cut()
		if err := <-retried; broker.CodeOf(err) != broker.EUnavailable {
			t.Errorf("told of %v, want EUnavailable", err)
		}
	}
	b.tape.end(nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines, -want +got:\n%s", diff)
	}
}

// What the broker says at the end of a log is an answer, not a broken stream.
func TestClientFollowsLogsUntilTheBrokerSaysWhyNot(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one")
	b.tape.end(broker.Errorf(broker.EUnavailable, "The machine does not answer."))
	c := b.client()
	c.Retrying = func(err error, _ time.Duration) { t.Errorf("asked again after %v", err) }
	err := c.Logs(t.Context(), run.UUID, broker.LogQuery{Follow: true}, func(LogLine) error { return nil })
	if broker.CodeOf(err) != broker.EUnavailable || err.Error() != "The machine does not answer." {
		t.Errorf("got %v, want what the broker said", err)
	}
}

// A server that stops does not make a log look whole.
func TestLogsCutByTheServersEndAreNotWhole(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustLog("one")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(serving, ln) }()
	retried := make(chan error, 100)
	c := &Client{BaseURL: "http://" + ln.Addr().String(), Retrying: func(err error, _ time.Duration) { retried <- err }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Logs(ctx, run.UUID, broker.LogQuery{Follow: true}, func(LogLine) error { stop(); return nil })
	}()
	select {
	case err := <-ended:
		t.Fatalf("the log ended with %v", err)
	case <-retried:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
