package benchmark

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/jsonpath"
	"github.com/loads/loads/loadgen/pattern"
)

// maxTime is the longest time that a file may give: a year.
const maxTime = 366 * 24 * time.Hour

// parseTime reads a whole number with one of the units, or with none if
// unitless is above 0, the unit then.
func parseTime(s string, units map[string]time.Duration, unitless time.Duration, want string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	unit, known := units[text[len(digits):]]
	if text == digits {
		unit, known = unitless, unitless > 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	switch {
	case err != nil || !known || n < 0:
		if n == 0 && err == nil && text == digits {
			return 0, nil
		}
		return 0, wrong{"is not a time", want}
	case n > int64(maxTime/unit):
		return 0, wrong{"is too long", "a year is the most"}
	}
	return time.Duration(n) * unit, nil
}

var (
	longUnits  = map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour}
	shortUnits = map[string]time.Duration{
		"ns": time.Nanosecond, "us": time.Microsecond,
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	}
)

const (
	wantLong  = "give a whole number with ms, s, m or h; without one it is seconds"
	wantShort = "give a whole number with ns, us, ms, s, m or h"
)

func (t *Duration) fromText(s string) error {
	v, err := parseTime(s, longUnits, time.Second, wantLong)
	*t = Duration(v)
	return err
}

func (t *Latency) fromText(s string) error {
	v, err := parseTime(s, shortUnits, 0, wantShort)
	*t = Latency(v)
	return err
}

func (t *Timeout) fromText(s string) error {
	if strings.EqualFold(s, "none") {
		*t = 0
		return nil
	}
	v, err := parseTime(s, longUnits, time.Second, wantLong+", or none")
	*t = Timeout(v)
	return err
}

func (m *Millis) fromText(s string) error {
	v, err := parseTime(s, longUnits, time.Millisecond, "give a whole number of milliseconds, or with s, m or h")
	if err == nil && v < time.Millisecond {
		err = wrong{"is too short", "give 1 or more"}
	}
	*m = Millis(v / time.Millisecond)
	return err
}

func (b *Bytes) fromText(s string) error {
	text := strings.TrimSpace(s)
	digits := strings.TrimRight(text, "BKMib")
	scale, known := map[string]int64{"": 1, "B": 1, "KB": 1000, "MB": 1000_000, "KiB": 1 << 10, "MiB": 1 << 20}[text[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !known || n < 0 || n > 1<<40/scale {
		return wrong{"is not a size", "give a whole number of bytes, also with KB, MB, KiB or MiB"}
	}
	*b = Bytes(n * scale)
	return nil
}

// parseNumber reads a number to count with.
func parseNumber(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, wrong{"is not a number to count with", "give a number"}
	}
	return f, nil
}

func (f *Flag) fromText(s string) error {
	v, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return wrong{"is not right", "give true, or nothing"}
	}
	*f = Flag(v)
	return nil
}

func (r *Rate) fromText(s string) (err error) {
	r.Base, err = parseNumber(s)
	return err
}

func (c *Count) fromText(s string) (err error) {
	c.Base, err = parseInt(s)
	return err
}

func (i *IntSource) fromText(s string) error {
	n, err := parseInt(s)
	i.Value = &n
	return err
}

func (l *LengthRule) fromText(s string) error {
	l.EqualTo = &IntSource{}
	return l.EqualTo.fromText(s)
}

func parseInt(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0, wrong{"is not right", "give a whole number"}
	}
	return int(n), nil
}

func (r *Regexp) fromText(s string) error {
	re, err := regexp.Compile(s)
	if err != nil {
		return asWrong(err, "give a regular expression")
	}
	r.Regexp = re
	return nil
}

func (t *Text) fromText(s string) (err error) {
	t.Pattern, err = pattern.Parse(s)
	return asWrong(err, "")
}

func (p *Payload) fromText(s string) (err error) {
	p.Pattern, err = pattern.Parse(s)
	return asWrong(err, "")
}

func (b *Body) fromText(s string) (err error) {
	b.Pattern, err = pattern.Parse(s)
	return asWrong(err, "")
}

func (t *Transformer) fromText(s string) (err error) {
	t.Pattern, err = pattern.Parse(s)
	return asWrong(err, "")
}

func (e *Expect) fromText(s string) error {
	e.Contains = s
	return nil
}

func (c *Compression) fromText(s string) error {
	c.Encoding = s
	return nil
}

func (t *TextMatch) fromText(s string) error {
	t.Value = &s
	return nil
}

// arrow reads two sides of an arrow, of which the first is a variable.
func arrow(s, sign string, to *Writes, want string) (right string, err error) {
	left, right, found := strings.Cut(s, sign)
	if !found {
		return "", wrong{"can't be used", "write " + want}
	}
	return strings.TrimSpace(right), setVar((*pattern.Variable)(to), left)
}

func setVar(to *pattern.Variable, s string) (err error) {
	*to, err = pattern.ParseVariable(s)
	return asWrong(err, "")
}

func (v *Writes) set(s string) error { return setVar((*pattern.Variable)(v), s) }

func (s *Set) fromText(text string) (err error) {
	s.Value, err = arrow(text, "<-", &s.Var, "variable <- value")
	return err
}

func (s *SetInt) fromText(text string) error {
	right, err := arrow(text, "<-", &s.Var, "variable <- number")
	if err != nil {
		return err
	}
	n, err := parseInt(right)
	s.Value = &n
	return err
}

func (u *Unset) fromText(s string) error            { return u.Var.set(s) }
func (s *Store) fromText(text string) error         { return s.ToVar.set(text) }
func (s *StoreInt) fromText(text string) error      { return s.ToVar.set(text) }
func (s *StatusStore) fromText(text string) error   { return s.ToVar.set(text) }
func (c *Collection) fromText(s string) error       { return c.ToVar.set(s) }
func (c *CountValues) fromText(s string) error      { return c.ToVar.set(s) }
func (r *RandomUUID) fromText(s string) error       { return r.ToVar.set(s) }
func (t *Timestamp) fromText(s string) error        { return t.ToVar.set(s) }
func (n *NewSequence) fromText(s string) error      { n.Sequence = SequenceRef(s); return nil }
func (n *NextSequence) fromText(s string) error     { n.Sequence = SequenceRef(s); return nil }
func (a *AwaitDelay) fromText(s string) error       { a.Key = s; return nil }
func (f *Fail) fromText(s string) error             { f.Message = s; return nil }
func (h *HeaderTime) fromText(s string) error       { h.Header = s; return nil }
func (h *hookFields) fromText(s string) error       { h.Exec = s; return nil }
func (j *JSONQuery) fromText(s string) error        { return jsonText(j, s) }
func (r *ReadAgentData) fromText(s string) error    { r.Name = s; return r.ToVar.set(s) }
func (g *GetSharedCounter) fromText(s string) error { g.Key = s; return g.ToVar.set(s) }

func (p *PublishAgentData) fromText(s string) error {
	p.Name = s
	return setVar((*pattern.Variable)(&p.FromVar), s)
}

func (s *SetSharedCounter) fromText(text string) error {
	s.Key = text
	return setVar((*pattern.Variable)(&s.FromVar), text)
}

func (l *Log) fromText(s string) (err error) {
	l.Message, err = pattern.Parse(s)
	return asWrong(err, "")
}

func (t *ThinkTime) fromText(s string) error {
	t.Duration = new(Latency)
	return t.Duration.fromText(s)
}

// jsonText reads "variable <- query".
func jsonText(j *JSONQuery, s string) error {
	right, err := arrow(s, "<-", &j.ToVar, "variable <- query")
	if err != nil {
		return err
	}
	j.Query, err = jsonpath.Parse(right)
	return asWrong(err, "")
}

func (a *AwaitVar) fromText(s string) error {
	s = strings.TrimSpace(s)
	s, a.Unset = strings.CutPrefix(s, "!")
	return setVar((*pattern.Variable)(&a.Var), s)
}

func (s *StringToInt) fromText(text string) error {
	left, right, found := strings.Cut(text, "->")
	if !found {
		return wrong{"can't be used", "write fromVar -> toVar"}
	}
	return errors.Join(setVar((*pattern.Variable)(&s.FromVar), left), s.ToVar.set(right))
}

// addition reads name++, name--, name += 3 and name -= 3.
func addition(s string) (name string, n int, err error) {
	s = strings.TrimSpace(s)
	if name, ok := strings.CutSuffix(s, "++"); ok {
		return name, 1, nil
	}
	if name, ok := strings.CutSuffix(s, "--"); ok {
		return name, -1, nil
	}
	name, number, found := strings.Cut(s, "=")
	if !found || !strings.HasSuffix(name, "+") && !strings.HasSuffix(name, "-") {
		return "", 0, wrong{"can't be used", "write variable++, variable--, variable += 3 or variable -= 3"}
	}
	n, err = parseInt(number)
	if strings.HasSuffix(name, "-") {
		n = -n
	}
	return name[:len(name)-1], n, err
}

func (a *AddToInt) fromText(s string) error {
	name, n, err := addition(s)
	a.Value = n
	if err != nil {
		return err
	}
	return a.Var.set(name)
}

func (a *AddToSharedCounter) fromText(s string) error {
	name, n, err := addition(s)
	a.Key, a.Value = strings.TrimSpace(name), &n
	return err
}

func (d *Divide) fromText(s string) error {
	right, err := arrow(s, "/=", &d.ToVar, "variable /= number")
	if err != nil {
		return err
	}
	d.FromVar = Reads(d.ToVar)
	d.Divisor, err = parseInt(right)
	return err
}

func (r *RandomInt) fromText(s string) error {
	const want = "variable <- 1 .. 9"
	right, err := arrow(s, "<-", &r.ToVar, want)
	if err != nil {
		return err
	}
	least, most, found := strings.Cut(right, "..")
	if !found {
		return wrong{"can't be used", "write " + want}
	}
	return errors.Join(r.Min.fromText(least), r.Max.fromText(most))
}

func (r *RandomItem) fromText(s string) error {
	right, err := arrow(s, "<-", &r.ToVar, "variable <- array")
	if err != nil {
		return err
	}
	return setVar((*pattern.Variable)(&r.FromVar), right)
}

func (a *Array) fromText(s string) error {
	var target ArrayTarget
	err := target.parse(s)
	a.ToVar, a.MaxSize = target.Var, target.Size
	return err
}

func (t *ArrayTarget) parse(s string) error {
	name, size, err := nameAndSize(s)
	if err != nil || size == 0 {
		return wrong{"can't be used", "write variable[size]"}
	}
	t.Size = size
	return t.Var.set(name)
}

// nameAndSize reads name or name[3]; the size is 0 then or 3.
func nameAndSize(s string) (name string, size int, err error) {
	name, rest, found := strings.Cut(strings.TrimSpace(s), "[")
	if !found {
		return name, 0, nil
	}
	number, closed := strings.CutSuffix(rest, "]")
	size, err = strconv.Atoi(number)
	if err != nil || !closed || size < 1 || size > maxArray {
		return "", 0, fmt.Errorf("%q has no number in brackets", s)
	}
	return name, size, nil
}

func (r *RangeCheck) fromText(s string) error {
	text := strings.TrimSpace(s)
	least, most, isRange := strings.Cut(text, "-")
	if !isRange {
		least, most = text, text
	}
	var err1, err2 error
	r.Min, err1 = strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(least), "x", "0"))
	r.Max, err2 = strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(most), "x", "9"))
	if err1 != nil || err2 != nil || r.Min < 100 || r.Max > 999 || r.Min > r.Max {
		return wrong{"is not a range of statuses", "give one such as 200, 2xx or 200-399"}
	}
	return nil
}

// setHost reads host, with a protocol before it and a port after it.
func (e *Endpoint) setHost() error {
	host := e.Host
	if strings.Contains(host, "://") {
		u, err := url.Parse(host)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return wrong{"is not a host", "give a name, or one as in https://shop.test:8443"}
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
			return wrong{"has more than a host and a port", "put the path into the requests"}
		case e.Protocol != "" && e.Protocol != u.Scheme:
			return wrong{"has another protocol than protocol", "leave one of them out"}
		}
		e.Protocol, host = u.Scheme, u.Host
	}
	if e.Protocol == "" {
		e.Protocol = "http"
	}
	at := url.URL{Host: host}
	isBareIPv6 := strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[")
	if port := at.Port(); port != "" && !isBareIPv6 {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || e.Port != 0 && e.Port != int(n) {
			return wrong{"has no port from 1 to 65535, or another than port", "give one of them"}
		}
		host, e.Port = at.Hostname(), int(n)
	}
	if e.Host = strings.Trim(host, "[]"); e.Host == "" || strings.ContainsAny(e.Host, " /") {
		return wrong{"is not a host", "give a name, or one as in https://shop.test:8443"}
	}
	if e.Port == 0 {
		e.Port = defaultPorts[e.Protocol]
	}
	return nil
}

// joinHostPort is host:port, with brackets around an IPv6 address.
func joinHostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}
