package relay

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An engineLog writes as an engine does: when a file is full it is renamed, and
// the last is removed.
type engineLog struct {
	t     *testing.T
	path  string
	size  int64
	files int
	lines int // written
}

func newEngineLog(t *testing.T, size int64, files int) *engineLog {
	t.Helper()
	return &engineLog{t: t, path: filepath.Join(t.TempDir(), "x-json.log"), size: size, files: files}
}

// print writes n lines, which are their own numbers.
func (e *engineLog) print(n int) {
	e.t.Helper()
	for range n {
		if info, err := os.Stat(e.path); err == nil && info.Size() >= e.size {
			e.rotate()
		}
		e.lines++
		e.append(entry(fmt.Sprintf("%d\n", e.lines), "stdout"))
	}
}

func (e *engineLog) append(text string) {
	e.t.Helper()
	f, err := os.OpenFile(e.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engineLog) rotate() {
	name := func(i int) string { return fmt.Sprintf("%s.%d", e.path, i) }
	_ = os.Remove(name(e.files - 1)) // which need not be there, nor those that are renamed
	for i := e.files - 1; i > 1; i-- {
		_ = os.Rename(name(i-1), name(i))
	}
	if err := os.Rename(e.path, name(1)); err != nil {
		e.t.Fatal(err)
	}
}

// logReader reads an engineLog.
type logReader struct {
	logFiles
	*outputs
	bytes, gaps uint64 // lost
	buffer      []byte
}

func newLogReader(e *engineLog, piece int) *logReader {
	r := &logReader{outputs: newOutputs(), buffer: make([]byte, piece)}
	r.logFiles = logFiles{path: e.path, files: e.files, text: &r.jsonFile, lost: func(bytes, gaps uint64) {
		r.bytes += bytes
		r.gaps += gaps
	}}
	return r
}

func (r *logReader) advance(t *testing.T, times int) {
	t.Helper()
	for range times {
		more, err := r.logFiles.advance(r.buffer)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// want fails the test unless the lines read are these numbers.
func (r *logReader) want(t *testing.T, from, to int) {
	t.Helper()
	for i, line := range r.lines {
		if want := fmt.Sprintf("out %d", from+i); line != want {
			t.Errorf("got line %q, want %q", line, want)
			return
		}
	}
	if len(r.lines) != to-from+1 || len(r.bads) > 0 {
		t.Errorf("got %d lines and faults %q, want those from %d to %d", len(r.lines), r.bads, from, to)
	}
}

const allOfIt = 1 << 20 // pieces

func TestLogFilesAreReadOnceThroughRotation(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		e := newEngineLog(t, 1000, 5)
		r := newLogReader(e, 1+random.IntN(3000))
		for range 60 {
			// As much as the engine keeps between two looks, less what may have
			// been written to the newest file before.
			e.print(random.IntN(40))
			r.advance(t, 1+random.IntN(20))
			if len(r.open) > 5 { // else the oldest are let go
				r.advance(t, allOfIt)
			}
		}
		r.advance(t, allOfIt)
		r.end()
		if r.want(t, 1, e.lines); r.bytes+r.gaps > 0 || t.Failed() {
			t.Fatalf("seed %d: %d bytes and %d gaps", seed, r.bytes, r.gaps)
		}
	}
}

func TestLogFilesThatAreRotatedBeforeTheFirstLook(t *testing.T) {
	for _, row := range []struct {
		name  string
		lines int
		from  int
		gaps  uint64
	}{
		{"one file", 5, 1, 0},
		{"three of three files may not be all", 10 * 3, 1, 1},
		{"the first file is gone", 10 * 4, 11, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := newEngineLog(t, 10*int64(len(entry("1\n", "stdout")))-5, 3)
			e.print(row.lines)
			r := newLogReader(e, 100)
			r.advance(t, allOfIt)
			r.end()
			r.want(t, row.from, row.lines)
			if r.gaps != row.gaps || r.bytes != 0 {
				t.Errorf("got %d gaps and %d bytes lost, want %d and 0", r.gaps, r.bytes, row.gaps)
			}
		})
	}
}

func TestLogFilesThatAreRotatedAwayUnread(t *testing.T) {
	e := newEngineLog(t, 500, 3)
	r := newLogReader(e, 4096)
	e.print(1)
	r.advance(t, allOfIt)
	e.print(200)
	r.advance(t, allOfIt)
	r.end()
	// What the first file still got is read, since it is open; then a stretch is
	// missing, and what the engine has kept follows.
	first, last := r.lines[0], r.lines[len(r.lines)-1]
	if first != "out 1" || last != "out 201" || len(r.lines) >= 201 || r.gaps != 1 {
		t.Errorf("got %d lines from %q to %q, and %d gaps, want less than 201 from 1 to 201, and a gap", len(r.lines), first, last, r.gaps)
	}
}

func TestLogFilesThatWouldFillTheDiskAreLetGo(t *testing.T) {
	e := newEngineLog(t, 1, 2) // a line each
	r := newLogReader(e, 4096)
	size := uint64(len(entry("1\n", "stdout")))
	for range 9 {
		e.print(1)
		if err := r.look(); err != nil {
			t.Fatal(err)
		}
	}
	r.advance(t, allOfIt)
	r.end()
	r.want(t, 6, 9)
	if r.bytes != 5*size || r.gaps != 0 {
		t.Errorf("got %d bytes and %d gaps lost, want the %d of five lines, and 0", r.bytes, r.gaps, 5*size)
	}
}

func TestLogFilesLeftAtTheEndAreCounted(t *testing.T) {
	e := newEngineLog(t, 500, 5)
	e.print(20)
	r := newLogReader(e, len(entry("1\n", "stdout")))
	r.advance(t, 3)
	r.end()
	r.want(t, 1, 3)
	var total uint64
	for i := range e.files {
		if info, err := os.Stat(r.name(i)); err == nil {
			total += uint64(info.Size())
		}
	}
	if want := total - 3*uint64(len(r.buffer)); r.bytes != want {
		t.Errorf("got %d bytes lost, want %d", r.bytes, want)
	}
}

func TestLogFileThatIsTruncated(t *testing.T) {
	e := newEngineLog(t, 1<<20, 1)
	e.print(10)
	r := newLogReader(e, 4096)
	r.advance(t, allOfIt)
	if err := os.Truncate(e.path, 0); err != nil {
		t.Fatal(err)
	}
	e.append(entry("11\n", "stdout"))
	r.advance(t, allOfIt)
	r.end()
	// One file that the engine keeps is never known to be the first.
	if r.want(t, 1, 11); r.gaps != 2 {
		t.Errorf("got %d gaps, want 2", r.gaps)
	}
}

func TestLogFilesThatCantBeRead(t *testing.T) {
	r := newLogReader(&engineLog{path: filepath.Join(t.TempDir(), strings.Repeat("x", 300)), files: 5}, 100)
	if _, err := r.logFiles.advance(r.buffer); err == nil {
		t.Error("got no error of a name that no file can have")
	}
}
