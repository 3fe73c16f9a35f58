package benchmark

import (
	"regexp"
	"time"

	"github.com/loads/loads/loadgen/pattern"
)

const second = time.Second

// Duration is a time in whole ms, s, m or h; a number alone is in seconds.
type Duration time.Duration

// Latency is a time in ns, us, ms, s, m or h; a number alone is a fault.
type Latency time.Duration

// Timeout is a limit, a Duration; 0, which files write as none, is no limit.
type Timeout time.Duration

// Millis is a number of milliseconds, or a Duration with its unit.
type Millis int64

// Bytes is a number of bytes, with B, KB, MB, KiB or MiB.
type Bytes int64

// Flag is set by being there, with true or with nothing.
type Flag bool

// File is the name of a file that a step reads, relative to the benchmark's.
type File string

// SequenceRef is the name of a sequence of the scenario.
type SequenceRef string

// Reads is a variable that a step reads; the zero Reads is none.
type Reads pattern.Variable

// Writes is a variable that a step sets; the zero Writes is none.
type Writes pattern.Variable

// Regexp is a regular expression; its zero value is none.
type Regexp struct{ *regexp.Regexp }

// DataFormat says how a variable keeps bytes. It makes no difference here:
// variables keep bytes, and are read as text where text is wanted.
type DataFormat string

func (DataFormat) words() []string { return []string{"BYTEBUF", "BYTES", "STRING"} }

// Rate is a number of users a second, which may grow with each iteration.
type Rate struct {
	Base      float64 `json:"base" doc:"In the first iteration." need:"yes"`
	Increment float64 `json:"increment" doc:"More in each further one."`
}

// At is the rate of an iteration, from 0.
func (r Rate) At(iteration int) float64 { return r.Base + float64(iteration)*r.Increment }

// Count is a number of users, which may grow with each iteration.
type Count struct {
	Base      int `json:"base" doc:"In the first iteration." need:"yes"`
	Increment int `json:"increment" doc:"More in each further one."`
}

// At is the count of an iteration, from 0.
func (c Count) At(iteration int) int { return c.Base + iteration*c.Increment }

// Text is a text with variables: a pattern, or a map with one of its fields.
type Text struct {
	Pattern pattern.Pattern `json:"pattern" doc:"A text with variables."`
	Value   string          `json:"value" doc:"A text as it stands."`
	FromVar Reads           `json:"fromVar" doc:"A variable that holds it."`
}

// IsSet reports whether there is a text.
func (t Text) IsSet() bool { return !t.Pattern.IsEmpty() || t.Value != "" || t.FromVar.Name != "" }

// Literal returns the text if it has no variables.
func (t Text) Literal() (string, bool) {
	if t.Value != "" {
		return t.Value, true
	}
	if t.FromVar.Name != "" {
		return "", false
	}
	return t.Pattern.Literal()
}

// IntSource is a number, or a variable that holds one.
type IntSource struct {
	Value   *int  `json:"value" doc:"The number."`
	FromVar Reads `json:"fromVar" doc:"A variable that holds it."`
}

// IntSources are numbers of which one is chosen.
type IntSources []IntSource

// ItemMatch is an item to look for.
type ItemMatch struct {
	Value   string `json:"value" doc:"Its value."`
	FromVar Reads  `json:"fromVar" doc:"A variable that holds it."`
}

// ArraySize says how large a new array is.
type ArraySize struct {
	Size    int   `json:"size" doc:"Number of its items."`
	FromVar Reads `json:"fromVar" doc:"A collection that has as many."`
}

// ArrayTarget is a variable for an array, with its size: ids[10].
type ArrayTarget struct {
	Var  Writes
	Size int
}

// Weighted are items with their weights.
type Weighted []WeightedItem

// WeightedItem is an item, and how likely it is relative to the others.
type WeightedItem struct {
	Item   string
	Weight float64
}

// WeightedFiles are files with their weights.
type WeightedFiles []WeightedItem

// Columns are the columns of a table that become variables.
type Columns []Column

// Column is a column of a table, from 0.
type Column struct {
	Index int
	ToVar Writes
}

// Counters are variables that are added up under names.
type Counters []Counter

// Counter is a variable that is added up.
type Counter struct {
	Name    string // its own if the file gives none
	FromVar Reads
}

// Conditions all hold, or there are none.
type Conditions struct {
	Int  *IntCondition   `json:"intCondition" doc:"A condition on a number."`
	Text *TextCondition  `json:"stringCondition" doc:"A condition on a text."`
	Bool *BoolCondition  `json:"boolCondition" doc:"A condition on a text that is true or false."`
	All  []AllConditions `json:"allConditions" doc:"A list of conditions that must all hold."`
}

// AllConditions is an entry of allConditions.
type AllConditions struct{ Conditions }

// IsEmpty reports whether there is no condition.
func (c Conditions) IsEmpty() bool {
	return c.Int == nil && c.Text == nil && c.Bool == nil && len(c.All) == 0
}

// IntCondition holds if the number in a variable fits.
type IntCondition struct {
	FromVar Reads `json:"fromVar" doc:"The variable." need:"yes"`
	IsSet   *bool `json:"isSet" doc:"Whether it is set."`
	IntMatch
}

// IntMatch says which numbers fit: those for which all that is given holds.
type IntMatch struct {
	EqualTo          *IntSource `json:"equalTo" doc:"Is this."`
	NotEqualTo       *IntSource `json:"notEqualTo" doc:"Is another."`
	LessThan         *IntSource `json:"lessThan" doc:"Is less."`
	LessOrEqualTo    *IntSource `json:"lessOrEqualTo" doc:"Is not more."`
	GreaterThan      *IntSource `json:"greaterThan" doc:"Is more."`
	GreaterOrEqualTo *IntSource `json:"greaterOrEqualTo" doc:"Is not less."`
}

// TextCondition holds if the text in a variable fits.
type TextCondition struct {
	FromVar Reads `json:"fromVar" doc:"The variable." need:"yes"`
	IsSet   *bool `json:"isSet" doc:"Whether it is set."`
	TextMatch
}

// TextMatch says which texts fit: those for which all that is given holds.
type TextMatch struct {
	Value         *string     `json:"value" doc:"Is this."`
	EqualTo       *string     `json:"equalTo" doc:"Is this."`
	NotEqualTo    *string     `json:"notEqualTo" doc:"Is another."`
	MatchVar      Reads       `json:"matchVar" doc:"Is what this variable holds."`
	StartsWith    *string     `json:"startsWith" doc:"Begins so."`
	EndsWith      *string     `json:"endsWith" doc:"Ends so."`
	Length        *LengthRule `json:"length" doc:"Its length: a number, or a map."`
	Negate        bool        `json:"negate" doc:"Texts fit that would not."`
	CaseSensitive bool        `json:"caseSensitive" doc:"Whether case counts."`
}

func (t *TextMatch) defaults() { t.CaseSensitive = true }

// LengthRule says which lengths fit.
type LengthRule struct{ IntMatch }

// BoolCondition holds if the text in a variable is true, or false.
type BoolCondition struct {
	FromVar Reads `json:"fromVar" doc:"The variable." need:"yes"`
	BoolMatch
}

// BoolMatch says which of the two fits.
type BoolMatch struct {
	Value bool `json:"value" doc:"Which of the two." need:"yes"`
}

// Metric is the name under which a request is counted. No rules are the
// default name.
type Metric []MetricRule

// MetricRule names a metric. The first rule of which RE matches the path
// counts; a rule without RE always does.
type MetricRule struct {
	RE   Regexp // none matches everything
	Name string // with $1 for a group; empty is what RE matches
}

// SLAs are limits that all must be kept.
type SLAs []SLA

// MetricSLAs are limits by the name of their metric.
type MetricSLAs map[string]SLAs

// SLA is a set of limits for the requests of a metric in a phase.
type SLA struct {
	Window           Duration `json:"window" doc:"Judge each stretch of this length, not only the whole phase."`
	ErrorRatio       *float64 `json:"errorRatio" doc:"Errors of all requests, 0 to 1, at which it is broken: connections and timeouts, not statuses."`
	InvalidRatio     *float64 `json:"invalidRatio" doc:"Invalid answers of all requests, 0 to 1, at which it is broken."`
	MeanResponseTime Latency  `json:"meanResponseTime" doc:"Mean latency at which it is broken."`
	BlockedRatio     *float64 `json:"blockedRatio" doc:"Time blocked of all time, 0 to 1, above which it is broken; 1 is no limit."`
	Limits           Limits   `json:"limits" doc:"Latencies by percentile, 0 to 1, at which it is broken: 0.99: 200 ms."`
}

func (s *SLA) defaults() {
	var none float64
	s.BlockedRatio = &none
}

// Limits are latencies by percentile.
type Limits []Limit

// Limit is the latency that a percentile must stay below.
type Limit struct {
	Percentile float64 // 0 to 1
	Latency    Latency
}

// Transformers change a value, one after the other.
type Transformers []Transformer

// Transformer changes a value: into a pattern that may use it, or what actions
// make of it.
type Transformer struct {
	Pattern pattern.Pattern      `json:"pattern" doc:"What stands for the value."`
	Actions *TransformingActions `json:"actions" doc:"What is done with the value."`
}

// TransformingActions put the value into a variable, act, and take a pattern.
type TransformingActions struct {
	Var     Writes          `json:"var" doc:"The variable for the value." need:"yes"`
	Actions Actions         `json:"actions" doc:"What is done." need:"yes"`
	Pattern pattern.Pattern `json:"pattern" doc:"What stands for the value then." need:"yes"`
	Format  DataFormat      `json:"format" doc:"How the variable keeps it."`
}
