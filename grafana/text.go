package grafana

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/broker"
)

// runText sums the run up in Markdown. What changes every second is in it only
// once the run is completed.
func runText(in Input) string {
	run := in.Report.Run
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** of project %s, run `%s`\n\n", cell(run.PlanName), cell(run.ProjectName), run.UUID)
	fmt.Fprintf(&b, "%s\n\n", verdictText(run))
	b.WriteString("| step | machines | started | ended | start skew |\n|---|---|---|---|---|\n")
	for _, s := range run.StepRecords {
		name := strconv.Itoa(s.Index)
		if s.Index < len(run.Plan.Steps) {
			name = run.Plan.Steps[s.Index].Name
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", cell(name), machinesOf(in.Report, s.Index),
			moment(s.StartedAt), moment(s.CompletedAt), skew(s.SkewMS))
	}
	if run.State == broker.Completed {
		b.WriteString("\n" + ledgerText(in))
	}
	return b.String()
}

func verdictText(run broker.Run) string {
	if run.State != broker.Completed {
		return "The run is under way."
	}
	if run.Reason == "" {
		return "**" + string(run.Verdict) + "**"
	}
	return "**" + string(run.Verdict) + "**: " + cell(run.Reason)
}

func ledgerText(in Input) string {
	l := in.Report.Ledger
	word := l.Standing(in.Report.Run.State == broker.Completed)
	if strings.HasPrefix(word, "NOT") {
		word = "**" + word + "**"
	}
	text := fmt.Sprintf("Ledger: %d frames sent, %d stored, %d broken; %s. %d values in %d datagrams, %d malformed, %d dropped.\n",
		l.Sent, l.Stored, l.Broken, word, l.Values, l.Datagrams, l.Malformed, l.Dropped)
	if e := in.Export; e != nil {
		text += fmt.Sprintf("\nInfluxDB: %d points written, %d refused, %d frames to be written.\n", e.Written, e.Refused, e.Waiting)
	}
	return text
}

func machinesOf(r broker.Report, step int) (n int) {
	for _, m := range r.Machines {
		if m.Step == step {
			n++
		}
	}
	return n
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("15:04:05.000")
}

func skew(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return strconv.FormatFloat(*ms, 'f', 1, 64) + " ms"
}

// cell keeps a text from ending its cell or being markup.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "`", "'", "[", `\[`).Replace(cmp.Or(text, "-"))
}

// An Annotation marks a time on a run's dashboard.
type Annotation struct {
	Key  string // names it among those of the run
	From int64  // Unix ms
	To   int64  // Unix ms; equal to From for a moment
	Text string
	Tags []string
}

// Annotations returns the marks of a run: for each step from its start to its
// end, and for the run from its start to its end. What is not over yet is a
// moment.
func Annotations(run broker.Run) (marks []Annotation) {
	add := func(key, text string, from, to *time.Time, tags ...string) {
		if from == nil {
			return
		}
		if to == nil || to.Before(*from) {
			to = from
		}
		marks = append(marks, Annotation{
			Key: key, From: from.UnixMilli(), To: to.UnixMilli(), Text: text,
			Tags: append([]string{"loads", key}, tags...),
		})
	}
	add("run", "Run", run.StartedAt, run.CompletedAt)
	for _, s := range run.StepRecords {
		name := strconv.Itoa(s.Index)
		if s.Index < len(run.Plan.Steps) {
			name = run.Plan.Steps[s.Index].Name
		}
		text := "Step " + name
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		add("step-"+strconv.Itoa(s.Index), text, s.StartedAt, s.CompletedAt, name)
	}
	return marks
}
