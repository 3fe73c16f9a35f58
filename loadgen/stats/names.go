package stats

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loads/loads/metrics"
)

// Names of the metrics under which a generator's statistics are sent on. Their
// tags are phase, metric and, of counters, status: the status of HTTP, timeout,
// error, cancelled, or unsent for users who could not start.
const (
	nameLatency = "req.latency" // timer from the intended start, ms
	nameService = "req.service" // timer from when the request left, ms
	nameBlocked = "req.blocked" // timer of waiting for a connection, where there was any, ms
	nameCount   = "req.count"   // counter of requests
	nameErrors  = "req.errors"  // counter of those without a status below 400
	nameInvalid = "req.invalid" // counter of answers that were not as they should be
	nameBytesIn = "req.bytes.in"
	nameBytes   = "req.bytes.out"
	// What is measured beside requests is in no other metric.
	nameMeasured         = "req.measured"           // timer, ms
	nameMeasuredBytesIn  = "req.measured.bytes.in"  // counter
	nameMeasuredBytesOut = "req.measured.bytes.out" // counter

	nameCached  = "req.cached"  // counter of requests that a session's cache has answered
	nameNamed   = "req.counter" // counter of what the scenario counts itself, with the tag counter, its name
	nameUsers   = "gen.users"   // gauge of busy users
	nameStarted = "gen.started" // counter of users
	nameDelayed = "gen.delayed" // counter of users who started late, as too many were busy
	nameLongest = "gen.longest" // gauge of the longest such delay, ms
	// Counters with the tag reason, at the end of a run.
	nameWhyInvalid = "gen.invalid" // why the numbers must not be trusted
	nameWhyFailed  = "gen.failed"  // why a phase failed
	nameNote       = "gen.note"    // what else is worth knowing about the generator
	nameLag        = "gen.lag"     // timer of how late the generator itself started users, ms
	nameLate       = "gen.late"    // gauge of how long after the common start it began, ms
)

// eachPoint calls add for what is told of a metric.
func eachPoint(m *MetricCell, add func(metrics.Point)) {
	base := []metrics.Tag{{Name: "metric", Value: plain(m.Metric)}, {Name: "phase", Value: plain(m.Phase)}}
	counter := func(name string, n int64, status string) {
		p := metrics.Point{Kind: metrics.Counter, Name: name, Tags: base, Value: float64(n)}
		if status != "" {
			p.Tags = append(slices.Clone(base), metrics.Tag{Name: "status", Value: status})
		}
		add(p)
	}
	for _, n := range m.Named {
		tags := append(slices.Clone(base), metrics.Tag{Name: "counter", Value: plain(n.Name)})
		add(metrics.Point{Kind: metrics.Counter, Name: nameNamed, Tags: tags, Value: float64(n.Count)})
	}
	if m.hasNoRequests() {
		return
	}
	if m.Measured {
		timer(nameMeasured, &m.Latency, base, add)
		if m.BytesIn+m.BytesOut > 0 {
			counter(nameMeasuredBytesIn, m.BytesIn, "")
			counter(nameMeasuredBytesOut, m.BytesOut, "")
		}
		return
	}
	if m.CacheHits > 0 {
		counter(nameCached, m.CacheHits, "")
	}
	count := func(status string, n int64, bad bool) {
		if n <= 0 {
			return
		}
		counter(nameCount, n, status)
		if bad {
			counter(nameErrors, n, status)
		}
	}
	rest := m.Responses // those of a protocol that has no status
	for _, status := range m.Statuses {
		const bad = 400
		count(strconv.Itoa(status.Status), status.Count, status.Status >= bad)
		rest -= status.Count
	}
	if len(m.Statuses) == 0 {
		count("invalid", m.Invalid, true)
		rest -= m.Invalid
	}
	count("ok", rest, false)
	count("timeout", m.Timeouts, true)
	count("error", m.Connections+m.Internal, true)
	count("cancelled", m.Cancelled, false)
	// So that the metrics are there when no request fails: no errors, or no
	// measuring of them, would look the same.
	counter(nameErrors, 0, "")
	counter(nameInvalid, m.Invalid, "")
	counter(nameBytesIn, m.BytesIn, "")
	counter(nameBytes, m.BytesOut, "")
	timer(nameLatency, &m.Latency, base, add)
	timer(nameService, &m.Service, base, add)
	if m.Blocked.Max() > 0 {
		timer(nameBlocked, &m.Blocked, base, add)
	}
}

// eachUserPoint calls add for what is told of a phase's users.
func eachUserPoint(p *PhaseUsers, add func(metrics.Point)) {
	base := []metrics.Tag{{Name: "phase", Value: plain(p.Phase)}}
	add(metrics.Point{Kind: metrics.Gauge, Name: nameUsers, Tags: base, Value: float64(p.Busy)})
	add(metrics.Point{Kind: metrics.Counter, Name: nameStarted, Tags: base, Value: float64(p.Started)})
	if p.Delayed > 0 {
		add(metrics.Point{Kind: metrics.Counter, Name: nameDelayed, Tags: base, Value: float64(p.Delayed)})
		add(metrics.Point{Kind: metrics.Gauge, Name: nameLongest, Tags: base, Value: p.Longest})
	}
	if p.Unstarted > 0 {
		tags := append(slices.Clone(base), metrics.Tag{Name: "status", Value: "unsent"})
		add(metrics.Point{Kind: metrics.Counter, Name: nameCount, Tags: tags, Value: float64(p.Unstarted)})
		add(metrics.Point{Kind: metrics.Counter, Name: nameErrors, Tags: tags, Value: float64(p.Unstarted)})
	}
	timer(nameLag, &p.Lag, base, add)
}

// eachSelfPoint calls add for what is told of the generator itself. When it
// began is told once.
func eachSelfPoint(r *Report, add func(metrics.Point)) {
	if r.Period == 0 && r.Self.LateMS > 0 {
		add(metrics.Point{Kind: metrics.Gauge, Name: nameLate, Value: r.Self.LateMS})
	}
}

func timer(name string, sketch *metrics.Sketch, tags []metrics.Tag, add func(metrics.Point)) {
	if sketch.Count() > 0 {
		add(metrics.Point{Kind: metrics.Timer, Name: name, Tags: tags, Sketch: sketch})
	}
}

var separators = strings.NewReplacer(",", "_", ":", "_", "|", "_", "#", "_", "@", "_")

// longestName is what a name may be long, in bytes; the relay takes no lines
// without end.
const longestName = 1000

// plain replaces what separates fields in a line of statsd, and what can't be
// read, and shortens what is too long: a name may be any path.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, separators.Replace(s))
	if len(s) > longestName {
		s = strings.ToValidUTF8(s[:longestName], "")
	}
	return s
}
