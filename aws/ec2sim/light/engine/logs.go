package engine

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// stampFormat is how engines write times before lines.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// maxPiece is how much of a line engines keep in one piece.
const maxPiece = 16 << 10

func (e *Engine) containerLogs(w http.ResponseWriter, r *http.Request, name string) error {
	q := r.URL.Query()
	if !isTrue(q.Get("stdout")) && !isTrue(q.Get("stderr")) {
		return faultf(http.StatusBadRequest, "Bad parameters: you must choose at least one stream")
	}
	since, err := readTime(q.Get("since"))
	if err != nil {
		return faultf(http.StatusBadRequest, "invalid value for \"since\": %v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	reader := &logReader{c: c, stamps: isTrue(q.Get("timestamps"))}
	if tail, err := strconv.Atoi(q.Get("tail")); err == nil && tail >= 0 {
		reader.skipTo(tail)
	}
	reader.since = since
	w.Header().Set("Content-Type", "application/vnd.docker.raw-stream")
	w.WriteHeader(http.StatusOK)
	flush(w)
	follow := isTrue(q.Get("follow"))
	for {
		e.settle()
		batch := reader.batch(e.cfg.Now())
		if len(batch) == 0 {
			if follow && c.running() && e.has(c) && e.pause(r.Context(), reader.wake()) {
				continue
			}
			return nil
		}
		if !isTrue(q.Get("stdout")) { // nothing is ever written to the other
			continue
		}
		e.mu.Unlock()
		_, err := w.Write(batch)
		flush(w)
		e.mu.Lock()
		if err != nil {
			return nil
		}
	}
}

// readTime reads seconds since 1970, with a fraction.
func readTime(text string) (time.Time, error) {
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(seconds, nanos), err
}

// logReader reads a container's output on from where it is.
type logReader struct {
	c      *container
	stamps bool
	since  time.Time

	run, line int // the next: line of the run
}

// maxBatch is how much is read at once, in bytes and about.
const maxBatch = 256 << 10

// batch returns what there is to read by now, framed as on the wire, or the
// first part of it.
func (l *logReader) batch(now time.Time) (out []byte) {
	for l.run < len(l.c.runs) {
		r := l.c.runs[l.run]
		for n := l.c.program.count(r, now); l.line < n; l.line++ {
			at := l.c.program.at(r, l.line)
			if at.Before(l.since) {
				continue
			}
			if len(out) > maxBatch {
				return out
			}
			out = l.appendLine(out, at, l.c.program.text(r, l.line))
		}
		if !r.over || l.run == len(l.c.runs)-1 {
			break
		}
		l.run, l.line = l.run+1, 0
	}
	return out
}

// appendLine writes a line in pieces, each with a header and the time.
func (l *logReader) appendLine(out []byte, at time.Time, text []byte) []byte {
	const stdout = 1
	for len(text) > 0 {
		piece := text[:min(len(text), maxPiece)]
		text = text[len(piece):]
		var stamp string
		if l.stamps {
			stamp = at.UTC().Format(stampFormat) + " "
		}
		out = append(out, stdout, 0, 0, 0)
		out = binary.BigEndian.AppendUint32(out, uint32(len(stamp)+len(piece)))
		out = append(append(out, stamp...), piece...)
	}
	return out
}

// wake is when to look again: at the next line or the end.
func (l *logReader) wake() time.Time {
	end := l.c.endsAt()
	next := l.c.program.at(*l.c.last(), l.line)
	if next.IsZero() || !end.IsZero() && end.Before(next) {
		return end
	}
	return next
}

// skipTo goes to where only the last n lines are left.
func (l *logReader) skipTo(n int) {
	now := l.c.engine.cfg.Now()
	for l.run = len(l.c.runs) - 1; l.run >= 0; l.run-- {
		count := l.c.program.count(l.c.runs[l.run], now)
		if count >= n || l.run == 0 {
			l.line = max(count-n, 0)
			return
		}
		n -= count
	}
	l.run = 0
}
