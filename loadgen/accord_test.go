package loadgen_test

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/loadgen"
	"github.com/loads/loads/metrics"
)

func write(t *testing.T, file string, m agreement.Minutes) []byte {
	t.Helper()
	text, err := m.Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return text
}

// next waits for a decision, and for nothing else.
func next(t *testing.T, a *loadgen.Accord) agreement.Decision {
	t.Helper()
	select {
	case d := <-a.Heard():
		return d
	case <-time.After(5 * time.Minute):
		t.Fatal("nothing was heard for five minutes")
		return agreement.Decision{}
	}
}

func TestAccordSendsWordsInOrderOnceItCan(t *testing.T) {
	address := waittest.FreeAddress(t)
	file := filepath.Join(t.TempDir(), "agreed.json")
	write(t, file, agreement.Minutes{Until: 5000})
	a, err := loadgen.NewAccord(address, file)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Until().Equal(time.UnixMilli(5000)) {
		t.Errorf("got %v, want 5 s after the beginning of 1970", a.Until())
	}
	words := []metrics.Word{{Phase: "a", Is: metrics.WordFailed}, {Phase: "a", Is: metrics.WordTerminated}, {Phase: "b", Is: metrics.WordFinished}}
	for _, w := range words[:2] {
		a.Tell(w)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a.Tell(words[2])
	lines := bufio.NewScanner(conn)
	for _, want := range words {
		if !lines.Scan() {
			t.Fatal("the connection ended")
		}
		if got, err := metrics.DecodeWord(lines.Bytes()); err != nil || got != want {
			t.Errorf("got %q, %v, want %+v", lines.Text(), err, want)
		}
	}
	a.Tell(metrics.Word{Phase: "last", Is: metrics.WordFinished})
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if !lines.Scan() || lines.Scan() {
		t.Errorf("after the end got %q, want the last word alone", lines.Text())
	}
}

func TestAccordSaysWhatItCouldNotSend(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	ok, long := metrics.Word{Phase: "a", Is: metrics.WordFinished}, metrics.Word{Phase: strings.Repeat("a", metrics.MaxWordSize+1), Is: metrics.WordFinished}
	for _, c := range []struct {
		name, address string
		words         []metrics.Word
		want          string
	}{
		{"nobody takes it", "127.0.0.1:1", []metrics.Word{ok}, "not told 1 times"},
		{"one can't be said", address, []metrics.Word{long, ok}, "not told 1 times"},
		{"neither", "127.0.0.1:1", []metrics.Word{long, ok}, "not told 2 times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agreed.json")
			write(t, file, agreement.Minutes{})
			a, err := loadgen.NewAccord(c.address, file)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range c.words {
				a.Tell(w)
			}
			if err := a.Close(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAccordHearsEachDecisionOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agreed.json")
	m := agreement.Minutes{}
	write(t, file, m)
	a, err := loadgen.NewAccord("127.0.0.1:1", file)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, phases := range [][]string{{"a"}, {"b", "c"}, {"d"}} {
		before := len(m.Decided)
		for _, phase := range phases {
			m.Decided = append(m.Decided, agreement.Decision{Word: metrics.Word{Phase: phase, Is: metrics.WordTerminated}, At: 7, Machine: -1})
		}
		text := write(t, file, m)
		for _, want := range m.Decided[before:] {
			if got := next(t, a); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		// Half of a file, none, and the same again tell nothing.
		if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		write(t, file, m)
	}
}

func TestWithoutAFileThereIsNoAccord(t *testing.T) {
	if a, err := loadgen.NewAccord("127.0.0.1:1", filepath.Join(t.TempDir(), "none")); a != nil || err != nil {
		t.Errorf("got %v, %v, want neither", a, err)
	}
	file := filepath.Join(t.TempDir(), "agreed.json")
	if err := os.WriteFile(file, []byte("what"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadgen.NewAccord("127.0.0.1:1", file); err == nil {
		t.Error("a file that is none of ours is no error")
	}
}
