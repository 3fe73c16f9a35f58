package relay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// entry is what an engine writes of a piece of output.
func entry(text, stream string) string {
	quoted, _ := json.Marshal(text) // of a string, which can't fail
	return fmt.Sprintf(`{"log":%s,"stream":"%s","time":"2026-11-21T05:00:00.123456789Z"}`+"\n", quoted, stream)
}

// outputs collects the lines and the faults of a jsonFile.
type outputs struct {
	jsonFile
	lines, bads []string
}

func newOutputs() *outputs {
	o := &outputs{}
	o.line = func(text []byte, stderr bool) {
		stream := "out "
		if stderr {
			stream = "err "
		}
		o.lines = append(o.lines, stream+string(text))
	}
	o.bad = func(_ []byte, why error) { o.bads = append(o.bads, why.Error()) }
	return o
}

func TestJSONFile(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	for _, row := range []struct {
		name, text  string
		lines, bads []string
	}{
		{"lines of both streams", entry("a\n", "stdout") + entry("b\n", "stderr"), []string{"out a", "err b"}, nil},
		{"a line in pieces, with another stream in between", entry(long, "stdout") + entry("b\n", "stderr") + entry("end\n", "stdout"), []string{"err b", "out " + long + "end"}, nil},
		{"a carriage return at the end", entry("a\r\n", "stdout") + entry("\r\n", "stdout"), []string{"out a", "out "}, nil},
		{"what JSON escapes", entry("\"\\\t\x01<&>é\u2028\U0001f600\n", "stdout"), []string{"out \"\\\t\x01<&>é\u2028\U0001f600"}, nil},
		{"bytes that were no UTF-8", `{"log":"a\ufffd` + "\\n" + `","stream":"stdout","time":"2026"}` + "\n", []string{"out a\ufffd"}, nil},
		{"attributes in between", `{"log":"a\n","stream":"stderr","attrs":{"tag":"x"},"time":"2026"}` + "\n", []string{"err a"}, nil},
		{"the last line without an end", entry("a\n", "stdout") + entry("b", "stdout"), []string{"out a", "out b"}, nil},
		{"no JSON", "plain text\n" + entry("a\n", "stdout"), []string{"out a"}, []string{errEntry.Error()}},
		{"an entry that was cut", entry("a\n", "stdout") + `{"log":"b`, []string{"out a"}, []string{errEntry.Error()}},
		{"a line that is too long", strings.Repeat(entry(long, "stdout"), 65) + entry("end\n", "stdout") + entry("a\n", "stdout"), []string{"out a"}, []string{errLong.Error()}},
		{"an entry that is too long", `{"log":"` + strings.Repeat("x", longestEntry) + `"}` + "\n" + entry("a\n", "stdout"), []string{"out a"}, []string{errEntry.Error()}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOutputs()
			o.write([]byte(row.text))
			o.end()
			if !slices.Equal(o.lines, row.lines) || !slices.Equal(o.bads, row.bads) {
				t.Errorf("got lines %.200q and faults %q, want %.200q and %q", o.lines, o.bads, row.lines, row.bads)
			}
		})
	}
}

func TestJSONFileAfterALoss(t *testing.T) {
	o := newOutputs()
	o.write([]byte(entry("begun", "stdout") + entry("a\n", "stderr")))
	o.lost()
	o.write([]byte(entry("b\n", "stdout")))
	o.end()
	if want := []string{"err a", "out b"}; !slices.Equal(o.lines, want) || !slices.Equal(o.bads, []string{errOutputLost.Error()}) {
		t.Errorf("got %q and faults %q, want %q, and the line that had begun", o.lines, o.bads, want)
	}
}

// FuzzJSONFile checks that what comes out does not depend on where reading was
// interrupted, and that the fast way reads what JSON says.
func FuzzJSONFile(f *testing.F) {
	f.Add([]byte(entry("a\n", "stdout")+entry("b", "stderr")+entry("c\n", "stderr")), uint(7))
	f.Add([]byte(`{"log":"\u0041\u00e9\"\\\/\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}`+"\n"), uint(1))
	f.Add([]byte("{\"log\":\"a\xff\\ud83d\\n\",\"stream\":\"stdout\",\"time\":\"\"}\nx\n\n"), uint(3))
	f.Fuzz(func(t *testing.T, text []byte, piece uint) {
		whole, parts := newOutputs(), newOutputs()
		whole.write(text)
		for rest := range slices.Chunk(text, int(piece%64)+1) {
			parts.write(rest)
		}
		whole.end()
		parts.end()
		if !slices.Equal(whole.lines, parts.lines) || !slices.Equal(whole.bads, parts.bads) {
			t.Errorf("at once: %q, %q; in pieces of %d: %q, %q", whole.lines, whole.bads, piece%64+1, parts.lines, parts.bads)
		}
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			got, stderr, ok := new(jsonFile).plainEntry(line)
			if !ok {
				continue
			}
			var want struct{ Log, Stream string }
			if err := json.Unmarshal(line, &want); err != nil {
				t.Fatalf("the fast way takes what is no JSON: %q: %v", line, err)
			}
			if string(got) != want.Log || stderr != (want.Stream == "stderr") {
				t.Errorf("got %q of %q, want %q", got, line, want.Log)
			}
		}
	})
}

func BenchmarkOutput(b *testing.B) {
	for _, row := range []struct {
		name, text string
		metric     LogMetric
	}{
		{"regexp", "10.0.0.1 GET /checkout 200 12.5ms", LogMetric{Name: "l", Type: "timer", Match: ` (\d+) ([0-9.]+)ms$`, Value: "2", Tags: map[string]string{"status": "1"}}},
		{"regexp that no line fits", "10.0.0.1 GET /checkout 200 12.5ms", LogMetric{Name: "l", Type: "timer", Match: `^latency=([0-9.]+)`}},
		{"json", `{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-21T05:00:00Z","value":12.5,"tags":{"status":"200","method":"GET","url":"http://shop.test/"}}}`, LogMetric{Name: "l", Type: "timer", JSON: "data.value", Where: map[string]string{"metric": "http_req_duration"}, Tags: map[string]string{"status": "data.tags.status"}}},
	} {
		b.Run(row.name, func(b *testing.B) {
			m, err := newMatcher([]LogMetric{row.metric})
			if err != nil {
				b.Fatal(err)
			}
			l := &logs{matcher: m, received: newAggregate(DefaultMaxSeries, "")}
			file := &jsonFile{line: l.line, bad: l.received.badOutput}
			text := []byte(entry(row.text+"\n", "stdout"))
			b.ReportAllocs()
			for b.Loop() {
				file.write(text)
			}
			if _, ledger := l.received.take(); ledger.LogMalformed > 0 || ledger.LogLines != uint64(b.N) {
				b.Fatalf("got ledger %+v", ledger)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
