package relay_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/relay"
)

// pointLine is a line of a timer with n values from 1.
func pointLine(t *testing.T, name string, n int, tags ...metrics.Tag) string {
	t.Helper()
	s := metrics.NewSketch()
	for i := range n {
		s.Add(float64(i+1), 1)
	}
	line, err := metrics.EncodePoint(metrics.Point{Kind: metrics.Timer, Name: name, Tags: tags, Sketch: s})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// sendTCP sends the text over one connection.
func sendTCP(t *testing.T, address, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// A generator's sketches are merged with each other, and with what comes as
// statsd; each value in them is in the ledger.
func TestRelayTakesSketches(t *testing.T) {
	t.Parallel()
	r := mustRun(t, relay.Config{TCP: true})
	phase := metrics.Tag{Name: "phase", Value: "main"}
	sendTCP(t, r.address, pointLine(t, "req.latency", 1000, phase)+pointLine(t, "req.latency", 500, phase)+
		"req.latency:2000|ms|#phase:main\n"+`{"t":"c","n":"req.count","g":[{"k":"phase","v":"main"}],"x":1501}`+"\n"+
		`{"t":"g","n":"gen.users","x":7}`+"\n")
	r.await(t, 1500+1+1+1)
	var sketch metrics.Sketch
	count, users := 0.0, 0.0
	frames := r.end(t)
	for _, f := range frames {
		for _, p := range f.Points {
			switch p.Name {
			case "req.latency":
				if len(p.Tags) != 1 || p.Tags[0] != phase {
					t.Errorf("got tags %v, want %v", p.Tags, phase)
				}
				if err := sketch.Merge(p.Sketch); err != nil {
					t.Fatal(err)
				}
			case "req.count":
				count += p.Value
			case "gen.users":
				users = p.Value
			}
		}
	}
	ledger := frames[len(frames)-1].Ledger
	if sketch.Count() != 1501 || sketch.Max() != 2000 || count != 1501 || users != 7 || ledger.Values != 1503 || ledger.Malformed != 0 {
		t.Errorf("got %v values up to %v, a count of %v, %v users, ledger %+v", sketch.Count(), sketch.Max(), count, users, ledger)
	}
}

func TestRelayCountsPointsThatItCannotTake(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"cut off":            `{"t":"c","n":"a"`,
		"no sketch":          `{"t":"ms","n":"a"}`,
		"a broken sketch":    `{"t":"ms","n":"a","s":"AAAA"}`,
		"a set":              `{"t":"s","n":"a","d":"AAAA"}`,
		"no name":            `{"t":"c","x":1}`,
		"an unknown field":   `{"t":"c","n":"a","x":1,"y":2}`,
		"a bar in its name":  `{"t":"c","n":"a|b","x":1}`,
		"a comma in a tag":   `{"t":"c","n":"a","g":[{"k":"a","v":"b,c:d"}],"x":1}`,
		"something after it": `{"t":"c","n":"a","x":1} {}`,
		"too long a tag":     fmt.Sprintf(`{"t":"c","n":"a","g":[{"k":"a","v":%q}],"x":1}`, strings.Repeat("x", 5000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := mustRun(t, relay.Config{TCP: true})
			sendTCP(t, r.address, line+"\nok:1|c\n")
			r.await(t, 1)
			frames := r.end(t)
			if l := frames[len(frames)-1].Ledger; l.Malformed != 1 || l.Values != 1 {
				t.Errorf("got %d malformed and %d values, want 1 and 1", l.Malformed, l.Values)
			}
		})
	}
}

func TestRelayCountsPointsBeyondItsLimit(t *testing.T) {
	t.Parallel()
	r := mustRun(t, relay.Config{TCP: true, MaxSeries: 1})
	sendTCP(t, r.address, "first:1|c\n"+pointLine(t, "second", 40)+"first:1|c\n")
	r.await(t, 2)
	frames := r.end(t)
	if l := frames[len(frames)-1].Ledger; l.Dropped != 40 || l.Values != 2 {
		t.Errorf("got %d dropped and %d values, want 40 and 2", l.Dropped, l.Values)
	}
}

// await waits until a frame tells of so many values.
func (r *running) await(t *testing.T, values uint64) {
	t.Helper()
	waittest.Until(t, "the values are in a frame", 5*time.Minute, func() bool {
		frames := r.frames(t)
		return len(frames) > 0 && frames[len(frames)-1].Ledger.Values >= values
	})
}
