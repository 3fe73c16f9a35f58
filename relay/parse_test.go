package relay

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

func TestParseLineTakesStatsd(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"counter", "hits:1|c", "c hits @1 [1]"},
		{"set", "users:alice:x|s|@0.5", `s users "alice:x"`},
		{"counter downwards", "hits:-3|c", "c hits @1 [-3]"},
		{"gauge", "users:12|g", "g users @1 [12]"},
		{"gauge up by", "users:+2|g", "g users @1 [+2]"},
		{"gauge down by", "users:-2.5|g", "g users @1 [-2.5]"},
		{"timer", "lat:3.25|ms", "ms lat @1 [3.25]"},
		{"histogram", "size:1e3|h", "ms size @1 [1000]"},
		{"distribution", "size:.5|d", "ms size @1 [0.5]"},
		{"sample rate", "hits:2|c|@0.1", "c hits @0.1 [2]"},
		{"tags", "lat:1|ms|#status:200,path:/a b", "ms lat @1 [1] path=/a b status=200"},
		{"tags with a value that has a colon", "lat:1|ms|#url:http://x", "ms lat @1 [1] url=http://x"},
		{"tag without a value", "lat:1|ms|#canary,", "ms lat @1 [1] canary=true"},
		{"of a tag given twice the last", "lat:1|ms|#a:1,b:2,a:3", "ms lat @1 [1] a=3 b=2"},
		{"no tags after the mark", "lat:1|ms|#", "ms lat @1 [1]"},
		{"rate, then tags", "lat:1|ms|@0.5|#a:b", "ms lat @0.5 [1] a=b"},
		{"tags, then rate", "lat:1|ms|#a:b|@0.5", "ms lat @0.5 [1] a=b"},
		{"several values", "lat:1:2.5:-3|ms|@1", "ms lat @1 [1 2.5 -3]"},
		{"container id and time of DogStatsD", "lat:1|g|#a:b|c:ci-123|T1656581400", "g lat @1 [1] a=b"},
		{"a name beyond ASCII", "größe:1|c", "c größe @1 [1]"},
		{"a name with blanks and slashes", "GET /a b:1|c", "c GET /a b @1 [1]"},
		{"a large number", "n:123456789012|c", "c n @1 [123456789012]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := parseLine([]byte(c.line))
			if err != nil {
				t.Fatalf("%q: %v", c.line, err)
			}
			if diff := cmp.Diff(c.want, l.brief()); diff != "" {
				t.Errorf("%q (-want +got):\n%s", c.line, diff)
			}
		})
	}
}

func (l line) brief() string {
	var values []string
	if l.kind == metrics.Set {
		return fmt.Sprintf("s %s %q", l.name, l.values)
	}
	l.each(func(v float64, delta bool) {
		text := fmt.Sprintf("%.15g", v)
		if delta && v > 0 {
			text = "+" + text
		}
		values = append(values, text)
	})
	text := fmt.Sprintf("%s %s @%v %v", l.kind, l.name, l.rate, values)
	var tags tagList
	tags.read(l.tags)
	for _, tag := range tags.strings() {
		text += " " + tag.Name + "=" + tag.Value
	}
	return text
}

func TestParseLineRefusesTheRest(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       error
	}{
		{"nothing but a name", "hits", errType},
		{"no type", "hits:1", errType},
		{"empty type", "hits:1|", errType},
		{"unknown type", "hits:1|x", errType},
		{"a set without a value", "users:|s", errNoValue},
		{"an event", "_e{1,1}:a|b", errType},
		{"no value", "hits:|c", errNoValue},
		{"no colon", "hits|c", errNoValue},
		{"no name", ":1|c", errNoName},
		{"a word for a number", "hits:many|c", errNumber},
		{"NaN", "lat:NaN|ms", errNumber},
		{"infinity", "lat:+Inf|ms", errNumber},
		{"a number beyond range", "lat:1e999|ms", errNumber},
		{"a hexadecimal number", "lat:0x1p4|ms", errNumber},
		{"a number with underscores", "lat:1_000|ms", errNumber},
		{"one bad value among good ones", "lat:1:x:3|ms", errNumber},
		{"an empty value at the end", "lat:1:|ms", errNumber},
		{"a blank in the number", "lat: 1|ms", errNumber},
		{"rate zero", "hits:1|c|@0", errRate},
		{"rate above one", "hits:1|c|@1.1", errRate},
		{"negative rate", "hits:1|c|@-0.1", errRate},
		{"rate that is no number", "hits:1|c|@NaN", errRate},
		{"rate that would overflow", "hits:1|c|@1e-300", errRate},
		{"two rates", "hits:1|c|@0.1|@0.1", errTwice},
		{"tags twice", "hits:1|c|#a|#b", errTwice},
		{"unknown section", "hits:1|c|zz", errSection},
		{"empty section", "hits:1|c||@0.1", errSection},
		{"a control character", "hi\x00ts:1|c", errText},
		{"broken UTF-8", "hi\xffts:1|c", errText},
		{"an endless line", strings.Repeat("x", maxLine) + ":1|c", errLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseLine([]byte(c.line)); !errors.Is(err, c.want) {
				t.Errorf("%.40q: got %v, want %v", c.line, err, c.want)
			}
		})
	}
}

func TestParseLineAllocatesNothing(t *testing.T) {
	text := []byte("req.latency:12.345:6|ms|@0.5|#status:200")
	sum := 0.0
	allocs := testing.AllocsPerRun(1000, func() {
		l, err := parseLine(text)
		if err != nil {
			t.Error(err)
		}
		l.each(func(v float64, _ bool) { sum += v })
	})
	if allocs > 0 {
		t.Errorf("got %v allocations a line, want none", allocs)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"hits:1|c", "lat:1:2:3|ms|@0.1|#a:b,c", "g:+5|g\ng:-5|g", "x:1e-5|h|#é:ü|T1", "a:b:c|d", "a:b|s", "a:1|c:2|ms|@0.1:x|s", "b:7.25|ms|#x:1\nb:8|ms|#x:1", "\r\n\n:|", "x:|c|@|#", strings.Repeat("a:1|c\n", 50),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		before := bytes.Clone(datagram)
		a := newAggregate(10, "")
		a.packets([][]byte{datagram})
		a.packets([][]byte{datagram})
		if !bytes.Equal(before, datagram) {
			t.Fatal("the datagram was changed")
		}
		points, ledger := a.take()
		if lines := bytes.Count(datagram, []byte("\n")) + 1; ledger.Malformed > uint64(2*lines) {
			t.Fatalf("got %d malformed of %d lines", ledger.Malformed, 2*lines)
		}
		if _, err := metrics.Encode(metrics.Frame{Seq: 1, Time: 1, Points: points, Ledger: ledger}); err != nil {
			t.Fatalf("what was received can't be sent: %v", err)
		}
		counted := 0.0
		for _, p := range points {
			counted += p.Count
			if p.Distinct != nil && p.Distinct.Count() == 0 {
				t.Fatalf("%s: got a set of nothing", p.Name)
			}
			if p.Sketch != nil {
				counted += p.Sketch.Count()
			}
			if math.IsNaN(p.Value) {
				t.Fatalf("%s: got NaN", p.Name)
			}
		}
		if len(points) > 0 && ledger.Values == 0 {
			t.Fatalf("got points %+v out of no values", points)
		}
	})
}

func BenchmarkPackets(b *testing.B) {
	for _, lines := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d-lines", lines), func(b *testing.B) {
			var datagram []byte
			for i := range lines {
				datagram = fmt.Appendf(datagram, "req.latency%d:%d.5|ms|#status:200\n", i%4, 10+i)
			}
			a := newAggregate(DefaultMaxSeries, "")
			packets := [][]byte{datagram}
			b.ReportAllocs()
			for b.Loop() {
				a.packets(packets)
			}
		})
	}
}
