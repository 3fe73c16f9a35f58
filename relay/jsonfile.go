package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// longestOutput is the most bytes that a line of a container's output may have,
// in as many entries of the log as it takes.
const longestOutput = 1 << 20

// longestEntry is the most bytes that an entry of the log may have. The engine
// cuts output to 16 KiB an entry.
const longestEntry = 1 << 20

// What is wrong with output.
var (
	errOutputLost = errors.New("the rest of the line was lost")
	errEntry      = errors.New("entry of the engine's log can't be read")
)

// A jsonFile reads what the engine's driver json-file writes: an object of JSON
// a line, with a piece of output that ends with a newline when it is the last
// of its line. The pieces of a stream's lines are put together. It is for one
// goroutine at a time.
type jsonFile struct {
	// line gets each line of output without its end; bad gets what can't be
	// read. Their slices are valid until they return.
	line func(text []byte, stderr bool)
	bad  func(text []byte, why error)

	rest     []byte // of an entry that has not ended
	skipping bool   // the entry is too long, the rest of it is passed over
	streams  [2]output
	scratch  []byte
}

// output is a line of one stream that has not ended.
type output struct {
	text     []byte
	skipping bool // it is too long; what comes until its end is passed over
}

// write reads on.
func (f *jsonFile) write(text []byte) {
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			f.keep(text)
			return
		}
		entry := text[:i]
		if len(f.rest) > 0 || f.skipping || len(entry) > longestEntry {
			f.keep(entry)
			entry = f.rest
		}
		if !f.skipping {
			f.entry(entry)
		}
		f.rest, f.skipping, text = f.rest[:0], false, text[i+1:]
	}
}

// keep adds to the entry that has not ended.
func (f *jsonFile) keep(text []byte) {
	if f.skipping {
		return
	}
	if f.rest = append(f.rest, text...); len(f.rest) > longestEntry {
		f.bad(f.rest, errEntry)
		f.rest, f.skipping = nil, true
	}
}

// next says that what comes is of another file: an entry never goes on there.
func (f *jsonFile) next() {
	if len(f.rest) > 0 {
		f.bad(f.rest, errEntry)
	}
	f.rest, f.skipping = f.rest[:0], false
}

// lost says that output was lost: lines that have begun never end.
func (f *jsonFile) lost() {
	f.next()
	for i := range f.streams {
		if o := &f.streams[i]; len(o.text) > 0 {
			f.bad(o.text, errOutputLost)
		}
		f.streams[i] = output{}
	}
}

// end takes in last lines without an end.
func (f *jsonFile) end() {
	f.next()
	for i := range f.streams {
		o := &f.streams[i]
		if len(o.text) > 0 {
			f.line(o.text, i == 1)
		}
		*o = output{}
	}
}

func (f *jsonFile) entry(text []byte) {
	piece, stderr, ok := f.plainEntry(text)
	if !ok {
		var e struct {
			Log    string `json:"log"`
			Stream string `json:"stream"`
		}
		if err := json.Unmarshal(text, &e); err != nil {
			f.bad(text, errEntry)
			return
		}
		piece, stderr = append(f.scratch[:0], e.Log...), e.Stream == "stderr"
		f.scratch = piece
	}
	o := &f.streams[0]
	if stderr {
		o = &f.streams[1]
	}
	whole, ended := bytes.CutSuffix(piece, []byte{'\n'})
	if !o.skipping && len(o.text)+len(whole) > longestOutput {
		f.bad(o.text, errLong)
		o.text, o.skipping = nil, true
	}
	switch {
	case !ended && !o.skipping:
		o.text = append(o.text, whole...)
	case ended:
		if !o.skipping {
			if len(o.text) > 0 {
				o.text = append(o.text, whole...)
				whole = o.text
			}
			f.line(bytes.TrimSuffix(whole, []byte{'\r'}), stderr)
		}
		o.text, o.skipping = o.text[:0], false
	}
}

// plainEntry reads an entry as the engine writes nearly all of them,
//
//	{"log":"text\n","stream":"stdout",...
//
// which is many times faster than reading any JSON, and gives the same.
func (f *jsonFile) plainEntry(text []byte) (piece []byte, stderr, ok bool) {
	body, found := bytes.CutPrefix(text, []byte(`{"log":"`))
	if !found {
		return nil, false, false
	}
	piece = f.scratch[:0]
	for {
		i := plainLen(body)
		piece = append(piece, body[:i]...)
		if i == len(body) {
			return nil, false, false
		}
		if body[i] == '"' {
			body = body[i+1:]
			break
		}
		var n int
		if piece, n = unescape(piece, body[i:]); n == 0 {
			return nil, false, false
		}
		body = body[i+n:]
	}
	f.scratch = piece
	if !utf8.Valid(piece) {
		return nil, false, false
	}
	for i, stream := range []string{`,"stream":"stdout","time":"`, `,"stream":"stderr","time":"`} {
		if rest, found := bytes.CutPrefix(body, []byte(stream)); found {
			stamp, found := bytes.CutSuffix(rest, []byte(`"}`))
			return piece, i == 1, found && isStamp(stamp)
		}
	}
	return nil, false, false
}

// plainLen is how many bytes of the text stand for themselves in a string of
// JSON.
func plainLen(text []byte) int {
	for i, c := range text {
		if c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return len(text)
}

// isStamp reports whether the text has nothing in it but what a time has.
func isStamp(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && !bytes.ContainsRune([]byte("-:.TZ+"), rune(c)) {
			return false
		}
	}
	return true
}

// unescape appends what the escape at the beginning of the text stands for, and
// returns its length, 0 for one that is seldom and left to others.
func unescape(to, text []byte) ([]byte, int) {
	if len(text) < 2 || text[0] != '\\' {
		return to, 0
	}
	switch c := text[1]; c {
	case 'n':
		return append(to, '\n'), 2
	case 't':
		return append(to, '\t'), 2
	case 'r':
		return append(to, '\r'), 2
	case '"', '\\', '/':
		return append(to, c), 2
	case 'u':
		if len(text) < 6 || text[2] != '0' || text[3] != '0' {
			return to, 0
		}
		r := hexDigit(text[4])<<4 | hexDigit(text[5])
		if r < 0 {
			return to, 0
		}
		return utf8.AppendRune(to, r), 6
	}
	return to, 0
}

// hexDigit is the value of a hexadecimal digit, -1 << 8 for others.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c - 'a' + 10)
	case 'A' <= c && c <= 'F':
		return rune(c - 'A' + 10)
	}
	return -1 << 8
}
