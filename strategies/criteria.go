package strategies

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/loads/loads/internal/source"
)

// OnInvalid says what an instrument at fault means for a run's verdict.
type OnInvalid string

// What an instrument at fault may mean; empty is InvalidFails.
const (
	InvalidFails OnInvalid = "fail" // the verdict is INVALID
	InvalidWarns OnInvalid = "warn" // it is told, and the criteria alone decide
)

// Role says what a step is in the test.
type Role string

// What a step may be; empty leaves it to what the step sends.
const (
	RoleGenerator Role = "generator" // it makes load and measures
	RoleTarget    Role = "target"    // it is measured
)

// Bounds of what criteria may cost.
const (
	maxCriteria   = 100
	maxExpression = 500 // characters
	maxNodes      = 200 // of an expression's tree
)

// DefaultMaxSkewMS is the limit for a step's start skew in ms when the plan
// sets none: starts of containers on a busy engine spread over seconds, and a
// spread beyond this is no common start any more.
const DefaultMaxSkewMS = 10_000

// DefaultMaxCPUPercent is how busy the processors of a generator may be when
// the plan sets no limit. Beyond it, work waits for its turn, and that wait is
// in the times that it measures.
const DefaultMaxCPUPercent = 95

// A Criterion is what a run must fulfil to pass. In a file the bare text of an
// expression stands for one that has nothing else.
type Criterion struct {
	Expr   string  `json:"expr" doc:"The expression that must hold, such as p95(\"req.latency\") < 250."`
	Name   string  `json:"name,omitempty" doc:"What reports call it; the expression when left out."`
	For    Seconds `json:"for,omitempty" doc:"Each second is judged by itself, and the criterion fails when it does not hold for this long without a break: seconds, or 30s, 2m."`
	Stop   bool    `json:"stop,omitempty" doc:"True ends the run at once, with FAIL, when the criterion fails while the run goes on."`
	During string  `json:"during,omitempty" doc:"Name of a step: only the time from its start to its end counts."`
}

// Seconds is a time in whole seconds. Files may give it a unit, as in 30s or 2m.
type Seconds int

// Title is what reports call the criterion.
func (c Criterion) Title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Expr
}

// SkewLimitMS is the largest start skew of a step in ms with which the plan's
// result counts.
func (p Plan) SkewLimitMS() int {
	if p.MaxSkewMS > 0 {
		return p.MaxSkewMS
	}
	return DefaultMaxSkewMS
}

// CPULimitPercent is how busy the processors of machines that make load may be,
// in percent over ten seconds, for the result to count. 100 is never exceeded.
func (p Plan) CPULimitPercent() int {
	if p.MaxCPUPercent > 0 {
		return p.MaxCPUPercent
	}
	return DefaultMaxCPUPercent
}

// Enough is how many of the step's machines must last for the result to count.
func (s Step) Enough() int {
	if s.Quorum > 0 {
		return s.Quorum
	}
	return s.InstanceCount
}

// cost checks what machines may cost.
func (c *checker) cost(at string, usd float64) {
	if !(usd >= 0 && usd <= maxCost) {
		c.add(child(at, "max_cost"), strconv.FormatFloat(usd, 'g', -1, 64), "is not a sum that machines may cost",
			fmt.Sprintf("give USD from 0, no limit, to %d", maxCost))
	}
}

// judgement checks what the plan says of its verdict.
func (c *checker) judgement(at string, p Plan) {
	c.bounded(at, "max_skew_ms", p.MaxSkewMS)
	c.bounded(at, "max_cpu_percent", p.MaxCPUPercent)
	c.cost(at, p.MaxCost)
	if p.OnInvalid != "" && p.OnInvalid != InvalidFails && p.OnInvalid != InvalidWarns {
		c.add(child(at, "on_invalid"), source.Show(string(p.OnInvalid)), "is not known", "give fail or warn")
	}
	list := child(at, "criteria")
	if len(p.Criteria) > maxCriteria {
		c.add(list, "", fmt.Sprintf("has %d criteria", len(p.Criteria)), fmt.Sprintf("%d are the most", maxCriteria))
		return
	}
	first := map[string]int{}
	for i, criterion := range p.Criteria {
		if c.isFull() {
			return
		}
		item := element(list, i)
		c.criterion(item, criterion)
		c.during(at, child(item, "during"), p, criterion.During)
		title := criterion.Title()
		if j, ok := first[title]; ok && title != "" {
			c.add(item, source.Show(title), fmt.Sprintf("is what criteria[%d] is called, too", j), "give each criterion a name of its own")
			continue
		}
		first[title] = i
	}
}

// criterion checks all that can be said of a criterion alone.
func (c *checker) criterion(at string, criterion Criterion) {
	c.printable(child(at, "name"), criterion.Name)
	if n := len([]rune(criterion.Name)); n > maxName {
		c.add(child(at, "name"), source.Show(criterion.Name), fmt.Sprintf("has %d characters", n), fmt.Sprintf("%d are the most", maxName))
	}
	if criterion.For < 0 || criterion.For > maxSeconds {
		c.add(child(at, "for"), strconv.Itoa(int(criterion.For)), "is not a time that can be waited for",
			fmt.Sprintf("give seconds, from 1 to %d", maxSeconds))
	}
	_, wrongs := compile(criterion.Expr)
	for _, w := range wrongs {
		c.add(child(at, "expr"), w.value, w.what, w.want)
	}
}

// during checks the name of the step whose time counts; at is the plan.
func (c *checker) during(at, field string, p Plan, name string) {
	if name == "" {
		return
	}
	var names []string
	for i, s := range p.Steps {
		if c.isUnknown(child(element(child(at, "steps"), i), "name")) {
			return // it could be the one
		}
		names = append(names, s.Name)
	}
	switch i := slices.Index(names, name); {
	case i < 0:
		c.add(field, source.Show(name), "is not a step of the plan", wantStep(name, names))
	case p.Steps[i].Monitor:
		c.add(field, source.Show(name), "is the monitor, of which there is nothing to judge", "name another step")
	}
}

// role checks what the step is said to be.
func (c *checker) role(at string, s Step) {
	if s.Role != "" && s.Role != RoleGenerator && s.Role != RoleTarget {
		c.add(child(at, "role"), source.Show(string(s.Role)), "is not known", "give generator or target")
	}
}

// quorum checks how many machines of the step are said to be enough.
func (c *checker) quorum(at string, s Step) {
	field, value := child(at, "quorum"), strconv.Itoa(s.Quorum)
	c.bounded(at, "quorum", s.Quorum)
	switch {
	case s.Quorum > s.InstanceCount && s.InstanceCount > 0:
		c.add(field, value, "is more than instance_count", fmt.Sprintf("give %d at most", s.InstanceCount))
	case s.Quorum > 0 && s.Quorum < s.InstanceCount && !s.PruneRunning:
		c.add(field, value, "has no effect where prune_running is false: the first machine lost fails the step",
			"leave one of them out")
	}
}
