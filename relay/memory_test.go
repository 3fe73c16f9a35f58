package relay

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

func TestPacketsAllocateNothingInTheSteadyState(t *testing.T) {
	for name, lines := range map[string]string{
		"usual":                   "lat:12.345|ms|#status:200\nhits:1|c\nbusy:3|g\nsize:7|h|@0.5",
		"several values":          "lat:1:2.5:3|ms|#a:b\nbusy:+4|g\nbusy:-4|g\nhits:1|c:2|c|@0.5",
		"sets":                    "users:alice|s\nusers:bob|s|#a:b",
		"a section that changes":  "lat:1|ms|#b:c,a:b|T1700000000\nhits:1|c|c:abc",
		"malformed":               "what is this\nhits:x|c\n\nhits:1|c|@7",
		"beyond the limit":        "one.more:1|c\nyet.one.more:1|c|#a:b",
		"beyond it, and too long": strings.Repeat("long.", 40) + ":1|c",
		"ends of line of Windows": "hits:1|c\r\nlat:2|ms\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAggregate(20, "front")
			if strings.Contains(name, "beyond") {
				for i := range 20 {
					a.packets([][]byte{fmt.Appendf(nil, "series%d:1|c", i)})
				}
			}
			packets := [][]byte{[]byte(lines)}
			for range 10 {
				a.packets(packets)
			}
			if allocs := testing.AllocsPerRun(1000, func() { a.packets(packets) }); allocs > 0 {
				t.Errorf("got %v allocations a packet, want none", allocs)
			}
		})
	}
}

// TestMemoryIsBoundedWhateverArrives sends names, tags, spellings and values
// that never come again.
func TestMemoryIsBoundedWhateverArrives(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	a := newAggregate(1000, "")
	before := heap()
	long := strings.Repeat("x", 3000)
	for i := range 60_000 {
		var packet []byte
		switch i % 4 {
		case 0:
			packet = fmt.Appendf(packet, "name%d.%s:1|c", i, long)
		case 1:
			packet = fmt.Appendf(packet, "lat:1|ms|#t%d:%d,u:%d", rnd.IntN(1e9), i, i)
		case 2:
			packet = fmt.Appendf(packet, "hits:1|c|@0.%d", 1+rnd.IntN(1e9))
		case 3:
			packet = fmt.Appendf(packet, "%s%d|zz\nusers:%d|s", long, i, i)
		}
		a.packets([][]byte{packet})
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("got %d bytes more, want less than 32 MiB", grown)
	}
	points, received := a.take()
	if len(points) > 1000 || received.Dropped == 0 || received.Malformed == 0 {
		t.Errorf("got %d series, %d dropped, %d malformed, want at most 1000, some, some", len(points), received.Dropped, received.Malformed)
	}
	if received.Values+received.Dropped+received.Malformed != 75_000 {
		t.Errorf("got %+v, want 75,000 in all", received)
	}
	runtime.KeepAlive(a)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestNotesKeepTheFirstAndStayPrintable(t *testing.T) {
	a := newAggregate(1, "")
	for i := range 20 {
		a.packets([][]byte{fmt.Appendf(nil, "a\x1b[31m%d\xff %s", i, strings.Repeat("é", 300)), fmt.Appendf(nil, "name%d:1|c", i)})
	}
	_, received := a.take()
	n := received.Notes
	if n == nil || len(n.Malformed) != 5 || len(n.Dropped) != 5 {
		t.Fatalf("got %+v, want five of each", n)
	}
	if !strings.HasPrefix(n.Malformed[0], "a.[31m0. éé") || !strings.HasSuffix(n.Malformed[0], "…: text is not printable UTF-8") {
		t.Errorf("got %q, want the beginning of the line, and why", n.Malformed[0])
	}
	if n.Dropped[0] != "name1" || n.Dropped[4] != "name5" {
		t.Errorf("got %q, want name1 to name5", n.Dropped)
	}
	for _, note := range n.Malformed {
		if len(note) > 80 {
			t.Errorf("%q has %d bytes, want 80 at most", note, len(note))
		}
	}
}
