package web

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

const dash = "–"

// functions are those of the templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"instant": instant, "moment": moment, "iso": iso, "clock": clock, "length": length,
		"orDash": orDash, "figure": figure, "ms": milliseconds,
		"standing": standing, "mark": mark, "lower": strings.ToLower, "isLink": isLink, "short": short, "join": strings.Join,
		"when": when, "kind": metrics.Kind.Word,
		"usd": usd, "hourly": hourly, "worst": worst, "aboutSeconds": aboutSeconds, "budgetLines": budgetLines,
	}
}

// instant writes a time in UTC; a dash when there is none.
func instant(t *time.Time) string {
	if t == nil || t.IsZero() {
		return dash
	}
	return moment(*t)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clock writes the time of day, of a pointer or a value.
func clock(t any) string {
	switch t := t.(type) {
	case *time.Time:
		if t != nil {
			return t.UTC().Format("15:04:05.000")
		}
	case time.Time:
		return t.UTC().Format("15:04:05.000")
	}
	return dash
}

// length writes how long a run took, or has taken.
func length(r broker.Run) string {
	to := time.Now()
	if r.CompletedAt != nil {
		to = *r.CompletedAt
	}
	return seconds(to.Sub(r.CreatedAt))
}

// seconds writes a time to the second: 42 s, 1:05, 2:03:04.
func seconds(d time.Duration) string {
	s := max(0, int(d.Round(time.Second)/time.Second))
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// figure writes a number for people, with four digits that matter, or in full
// when it is a whole one.
func figure(x float64) string {
	size := math.Abs(x)
	if x == math.Trunc(x) && size < 1e15 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	if size >= 1e15 || size < 0.0001 {
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
	digits := 3 - int(math.Floor(math.Log10(size)))
	return strconv.FormatFloat(x, 'f', min(max(digits, 0), 4), 64)
}

// milliseconds writes a number of them; a dash when there is none.
func milliseconds(x *float64) string {
	if x == nil {
		return dash
	}
	return figure(*x) + " ms"
}

// standing is a run's verdict, or its state while it has none that stands.
func standing(r broker.Run) string {
	if r.State != broker.Completed || r.Verdict == "" {
		return r.State.String()
	}
	return string(r.Verdict)
}

// mark is a sign beside a word, for those who do not see its colour.
func mark(word string) string {
	switch strings.ToLower(word) {
	case "pass", "held", "holds":
		return "✓"
	case "fail", "failed", "error", "invalid", "lost", "does not hold":
		return "✗"
	case "aborted":
		return "■"
	}
	return "●"
}

// isLink reports whether text is an address to follow.
func isLink(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// short cuts a digest to what tells it from others.
func short(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return digest[:min(12, len(digest))]
}

// when says when a step starts, and when it ends at the latest.
func when(s strategies.Step) string {
	if s.Monitor {
		return "not run"
	}
	var parts []string
	for _, after := range s.StartAfter {
		event := "is ready"
		if after.Event == strategies.EventEnd {
			event = "has ended"
		}
		parts = append(parts, fmt.Sprintf("once %s %s", after.Step, event))
	}
	switch {
	case s.RunDelay > 0:
		parts = append(parts, fmt.Sprintf("%d s after the start", s.RunDelay))
	case len(parts) == 0:
		parts = append(parts, "at the start")
	}
	if s.NodeDelay > 0 && s.InstanceCount > 1 {
		parts = append(parts, fmt.Sprintf("one machine every %d s", s.NodeDelay))
	}
	return strings.Join(parts, ", ")
}
