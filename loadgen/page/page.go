// Package page finds tags in HTML pages while their bytes arrive. It keeps
// nothing but the tag that is being read, up to a limit, so memory stays flat
// whatever the size of a page, and of its scripts and texts. What is a tag is
// what HTML says: not what stands in comments, scripts and the like.
package page

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
)

// Limits of what is kept of a tag: an attribute beyond them is left out, as if
// the tag didn't have it.
const (
	maxName = 64
	maxTag  = 16 << 10
)

// Tag is a start tag. It is good only in the call that tells of it.
type Tag struct {
	Name  string // as it was given to New
	text  []byte // names, in lower case, and values
	attrs []attr
}

// attr is an attribute: where its name and its value are in the tag's text.
type attr struct{ name, value, end int }

// Get returns the value of an attribute, whose name is in lower case, without
// character references; ok is false if the tag doesn't have it.
func (t *Tag) Get(name string) (value string, ok bool) {
	for _, a := range t.attrs {
		if string(t.text[a.name:a.value]) == name {
			return unescape(string(t.text[a.value:a.end])), true
		}
	}
	return "", false
}

// unescape resolves character references as they are meant in attributes, where
// &copy=1 is none.
func unescape(value string) string {
	if !strings.Contains(value, "&") {
		return value
	}
	z := html.NewTokenizer(strings.NewReader(`<a b="` + strings.ReplaceAll(value, `"`, "&#34;") + `">`))
	z.Next()
	_, plain, _ := z.TagAttr()
	if plain == nil {
		_, plain, _ = z.TagAttr()
	}
	return string(plain)
}

// state is where in the page a Scanner is.
type state uint8

const (
	text        state = iota
	tagOpen           // behind <
	endOpen           // behind </
	declaration       // behind <!
	dash              // behind <!-
	comment           // behind <!--
	bogus             // in <!DOCTYPE, <? and the like
	tagName
	beforeName // of an attribute
	name
	afterName
	beforeValue
	quoted // by s.quote
	bare
	raw      // in the text of script, style and the like
	rawOpen  // behind < there
	rawEnd   // behind </ there
	rawBang  // behind <! there
	rawStart // behind < and a letter, in what hides a script
	plain    // behind <plaintext>, up to the end
)

// Scanner reads a page. It is for one goroutine.
type Scanner struct {
	wanted []string
	found  func(*Tag)

	state  state
	quote  byte
	word   []byte // name of the tag that is being read
	long   bool   // it is too long to be wanted
	end    bool   // it is an end tag
	tag    Tag
	wants  bool // the tag is wanted
	broken bool // the attribute that is being read is too large
	raw    string
	hidden int  // how deep a script hides its text by <!-- and <script
	dashes int  // that have come one after the other
	begin  bool // a comment has only dashes yet
	bang   bool // it has --! at its end
}

// New returns a Scanner that calls found for each start tag with one of the
// names, which are in lower case.
func New(wanted []string, found func(*Tag)) *Scanner { return &Scanner{wanted: wanted, found: found} }

// Reset begins another page.
func (s *Scanner) Reset() {
	s.state, s.word, s.raw, s.hidden, s.dashes = text, s.word[:0], "", 0, 0
}

// Write reads the next bytes of the page, which may end anywhere. It never
// fails: all bytes are a page.
func (s *Scanner) Write(p []byte) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch s.state {
		case text, raw:
			if s.state == raw && s.hidden > 0 {
				s.inRaw(c)
				continue
			}
			next := bytes.IndexByte(p[i:], '<')
			if next < 0 {
				return
			}
			i += next
			if s.state == raw {
				s.inRaw('<')
			} else {
				s.state = tagOpen
			}
		case bogus:
			if c == '>' {
				s.state = text
			}
		case comment:
			s.inComment(c)
		case quoted:
			if c == s.quote {
				s.state = beforeName
				s.endAttr()
			} else {
				s.keep(c)
			}
		case plain:
			return
		case rawOpen, rawEnd, rawBang, rawStart:
			s.inRaw(c)
		case beforeName, name, afterName, beforeValue, bare:
			s.inTag(c)
		default:
			s.open(c)
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' }

func isLetter(c byte) bool { return 'a' <= lower(c) && lower(c) <= 'z' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// open reads what follows <, and the name of a tag.
func (s *Scanner) open(c byte) {
	switch s.state {
	case tagOpen:
		switch {
		case c == '/':
			s.state = endOpen
		case c == '!':
			s.state = declaration
		case c == '?':
			s.state = bogus
		case isLetter(c):
			s.beginTag(c, false)
		case c != '<':
			s.state = text
		}
	case endOpen:
		switch {
		case isLetter(c):
			s.beginTag(c, true)
		case c == '>':
			s.state = text
		default:
			s.state = bogus
		}
	case declaration:
		s.closing(c, '-', dash)
	case dash:
		s.closing(c, '-', comment)
		s.dashes, s.begin, s.bang = 0, true, false
	case tagName:
		switch {
		case isSpace(c) || c == '/':
			s.named()
			s.state = beforeName
		case c == '>':
			s.named()
			s.endTag()
		case len(s.word) < maxName:
			s.word = append(s.word, lower(c))
		default:
			s.long = true
		}
	}
}

// closing goes on if the byte is the one that is looked for, and lets all else
// pass up to >.
func (s *Scanner) closing(c, wanted byte, next state) {
	switch c {
	case wanted:
		s.state = next
	case '>':
		s.state = text
	default:
		s.state = bogus
	}
}

func (s *Scanner) inComment(c byte) {
	switch {
	case c == '>' && (s.dashes >= 2 || s.begin || s.bang):
		s.state = text
	case c == '-':
		s.dashes++
		s.bang = false
		return
	case c == '!' && s.dashes >= 2:
		s.bang = true
	default:
		s.bang = false
	}
	s.dashes, s.begin = 0, false
}

func (s *Scanner) beginTag(c byte, end bool) {
	s.state, s.end, s.long = tagName, end, false
	s.word = append(s.word[:0], lower(c))
}

// named looks whether the tag is wanted.
func (s *Scanner) named() {
	s.wants, s.tag.text, s.tag.attrs = false, s.tag.text[:0], s.tag.attrs[:0]
	if s.end || s.long {
		return
	}
	for _, w := range s.wanted {
		if string(s.word) == w {
			s.wants, s.tag.Name = true, w
		}
	}
}

// inTag reads attributes.
func (s *Scanner) inTag(c byte) {
	switch {
	case c == '>' && (s.state != beforeName):
		s.endAttr()
		fallthrough
	case c == '>':
		s.endTag()
	case s.state == bare && isSpace(c):
		s.endAttr()
		s.state = beforeName
	case s.state == bare:
		s.keep(c)
	case s.state == beforeValue && !isSpace(c):
		if s.state, s.quote = quoted, c; c != '"' && c != '\'' {
			s.state = bare
			s.keep(c)
		}
	case s.state == beforeValue || s.state == beforeName && (isSpace(c) || c == '/'):
	case s.state == beforeName:
		s.beginAttr(c)
	case s.state == name && isSpace(c):
		s.state = afterName
	case c == '/': // in or behind a name
		s.endAttr()
		s.state = beforeName
	case c == '=':
		if s.wants {
			s.last().value = len(s.tag.text)
		}
		s.state = beforeValue
	case s.state == name:
		s.keepName(c)
	case !isSpace(c): // behind a name
		s.endAttr()
		s.beginAttr(c)
	}
}

func (s *Scanner) last() *attr { return &s.tag.attrs[len(s.tag.attrs)-1] }

func (s *Scanner) beginAttr(c byte) {
	s.state = name
	if s.wants {
		n := len(s.tag.text)
		s.tag.attrs, s.broken = append(s.tag.attrs, attr{name: n, value: -1}), false
	}
	s.keepName(c)
}

func (s *Scanner) keepName(c byte) {
	if s.wants && len(s.tag.text)-s.last().name >= maxName {
		s.broken = true
	}
	s.keep(lower(c))
}

// keep notes a byte of a name or value.
func (s *Scanner) keep(c byte) {
	switch {
	case !s.wants || s.broken:
	case len(s.tag.text) >= maxTag:
		s.broken = true
	default:
		s.tag.text = append(s.tag.text, c)
	}
}

// endAttr ends an attribute; one that is too large is forgotten.
func (s *Scanner) endAttr() {
	if !s.wants {
		return
	}
	a := s.last()
	if a.end = len(s.tag.text); a.value < 0 {
		a.value = a.end
	}
	if s.broken {
		s.tag.text = s.tag.text[:a.name]
		s.tag.attrs = s.tag.attrs[:len(s.tag.attrs)-1]
		s.broken = false
	}
}

// rawTags are those whose content has no tags but their own end. What is in
// noscript is not for those who fetch scripts, as browsers do.
var rawTags = []string{"script", "style", "title", "textarea", "iframe", "noembed", "noframes", "noscript", "xmp"}

// endTag tells of a tag, and sees what its content is.
func (s *Scanner) endTag() {
	s.state = text
	if s.wants {
		s.found(&s.tag)
	}
	if s.end || s.long {
		return
	}
	if string(s.word) == "plaintext" {
		s.state = plain
	}
	for _, tag := range rawTags {
		if string(s.word) == tag {
			s.state, s.raw, s.hidden, s.dashes = raw, tag, 0, 0
		}
	}
}

// inRaw reads the text of scripts and the like. What begins with <!-- in a
// script hides it from old browsers, and its end tag if there is a start tag
// before it.
func (s *Scanner) inRaw(c byte) {
	script := s.raw == "script"
	switch s.state {
	case rawOpen:
		switch {
		case c == '/':
			s.state, s.word = rawEnd, s.word[:0]
			return
		case c == '!' && script && s.hidden == 0:
			s.state, s.dashes = rawBang, 0
			return
		case script && s.hidden == 1 && isLetter(c):
			s.state, s.word = rawStart, append(s.word[:0], lower(c))
			return
		}
	case rawBang:
		if c == '-' {
			if s.dashes++; s.dashes == 2 {
				s.state, s.hidden = raw, 1
			}
			return
		}
	case rawEnd, rawStart:
		if isLetter(c) && len(s.word) < len(s.raw) {
			s.word = append(s.word, lower(c))
			return
		}
		if string(s.word) == s.raw && (isSpace(c) || c == '/' || c == '>') {
			s.rawTag(c)
			return
		}
	}
	s.state = raw
	switch {
	case c == '<':
		s.state, s.dashes = rawOpen, 0
	case c == '-':
		s.dashes++
	default:
		if c == '>' && s.dashes >= 2 {
			s.hidden = 0
		}
		s.dashes = 0
	}
}

// rawTag is called behind the name of the tag that the text belongs to, at its
// start or end.
func (s *Scanner) rawTag(c byte) {
	switch {
	case s.state == rawStart:
		s.state, s.hidden = raw, 2
	case s.hidden == 2:
		s.state, s.hidden = raw, 1
	default:
		s.end, s.wants, s.raw = true, false, ""
		if s.state = beforeName; c == '>' {
			s.endTag()
		}
	}
}
