package benchmark

import (
	"reflect"

	"github.com/loads/loads/loadgen/pattern"
)

// Step is one step of a sequence: a pointer to one of the types of this
// package that steps lists.
type Step interface{ isStep() }

// Action is a step that never waits, so that handlers can do it, too.
type Action interface {
	Step
	Processor
	isAction()
}

// Processor does something with a value of an answer, or is an action.
type Processor interface{ isProcessor() }

// StatusHandler does something with the status of an answer.
type StatusHandler interface{ isStatusHandler() }

// HeaderHandler does something with the headers of an answer.
type HeaderHandler interface{ isHeaderHandler() }

// What is done one after the other.
type (
	Steps          []Step
	Actions        []Action
	Processors     []Processor
	StatusHandlers []StatusHandler
	HeaderHandlers []HeaderHandler
)

type (
	asStep      struct{}
	asProcessor struct{}
	asStatus    struct{}
	asHeader    struct{}
	asAction    struct {
		asStep
		asProcessor
	}
)

func (asStep) isStep()            {}
func (asProcessor) isProcessor()  {}
func (asAction) isAction()        {}
func (asStatus) isStatusHandler() {}
func (asHeader) isHeaderHandler() {}

// names are the types that a list may hold, by their names in files.
type names map[string]reflect.Type

// steps are those that are not actions.
var steps = names{
	"httpRequest": reflect.TypeFor[HTTPRequest](), "webSocket": reflect.TypeFor[WebSocket](),
	"grpc": reflect.TypeFor[GRPC](), "tcp": reflect.TypeFor[TCP](),
	"next": reflect.TypeFor[NextSequence](), "nextSequence": reflect.TypeFor[NextSequence](),
	"breakSequence": reflect.TypeFor[BreakSequence](), "breakIfFinished": reflect.TypeFor[BreakIfFinished](),
	"loop": reflect.TypeFor[Loop](), "foreach": reflect.TypeFor[Foreach](), "stop": reflect.TypeFor[Stop](), "noop": reflect.TypeFor[NoopStep](),
	"thinkTime": reflect.TypeFor[ThinkTime](), "scheduleDelay": reflect.TypeFor[ScheduleDelay](), "awaitDelay": reflect.TypeFor[AwaitDelay](),
	"awaitVar": reflect.TypeFor[AwaitVar](), "awaitInt": reflect.TypeFor[AwaitInt](), "awaitAllResponses": reflect.TypeFor[AwaitAllResponses](),
	"template": reflect.TypeFor[Template](), "json": reflect.TypeFor[JSONQuery](), "timestamp": reflect.TypeFor[Timestamp](),
	"randomInt": reflect.TypeFor[RandomInt](), "randomItem": reflect.TypeFor[RandomItem](), "randomCsvRow": reflect.TypeFor[RandomCSVRow](),
	"randomFile": reflect.TypeFor[RandomFile](), "randomUUID": reflect.TypeFor[RandomUUID](), "stopwatch": reflect.TypeFor[Stopwatch](),
	"pullSharedMap": reflect.TypeFor[PullSharedMap](), "pushSharedMap": reflect.TypeFor[PushSharedMap](), "divide": reflect.TypeFor[Divide](),
}

var actions = names{
	"newSequence": reflect.TypeFor[NewSequence](), "restartSequence": reflect.TypeFor[RestartSequence](),
	"conditional": reflect.TypeFor[Conditional](), "fail": reflect.TypeFor[Fail](), "log": reflect.TypeFor[Log](),
	"set": reflect.TypeFor[Set](), "setInt": reflect.TypeFor[SetInt](), "unset": reflect.TypeFor[Unset](),
	"addToInt": reflect.TypeFor[AddToInt](), "stringToInt": reflect.TypeFor[StringToInt](),
	"setItem": reflect.TypeFor[SetItem](), "getItem": reflect.TypeFor[GetItem](), "addItem": reflect.TypeFor[AddItem](),
	"removeItem": reflect.TypeFor[RemoveItem](), "getIndex": reflect.TypeFor[GetIndex](), "getSize": reflect.TypeFor[GetSize](),
	"setSharedCounter": reflect.TypeFor[SetSharedCounter](), "getSharedCounter": reflect.TypeFor[GetSharedCounter](),
	"addToSharedCounter": reflect.TypeFor[AddToSharedCounter](), "publishAgentData": reflect.TypeFor[PublishAgentData](),
	"readAgentData": reflect.TypeFor[ReadAgentData](), "publishGlobalCounters": reflect.TypeFor[PublishGlobalCounters](),
	"clearHttpCache": reflect.TypeFor[ClearHTTPCache](), "markRequestInvalid": reflect.TypeFor[MarkRequestInvalid](),
}

var processors = names{
	"json": reflect.TypeFor[JSONQuery](), "store": reflect.TypeFor[Store](), "simple": reflect.TypeFor[Store](), "storeInt": reflect.TypeFor[StoreInt](),
	"array": reflect.TypeFor[Array](), "collection": reflect.TypeFor[Collection](), "count": reflect.TypeFor[CountValues](), "queue": reflect.TypeFor[Queue](),
	"gzipInflator": reflect.TypeFor[Gunzip](), "conditional": reflect.TypeFor[ConditionalProcessor](), "closeConnection": reflect.TypeFor[CloseConnection](),
	"logInvalid": reflect.TypeFor[LogInvalid](), "parseHtml": reflect.TypeFor[ParseHTML](),
}

var statusHandlers = names{
	"range": reflect.TypeFor[RangeCheck](), "counter": reflect.TypeFor[StatusCounter](), "store": reflect.TypeFor[StatusStore](),
	"action": reflect.TypeFor[StatusAction](), "multiplex": reflect.TypeFor[StatusMultiplex](), "stats": reflect.TypeFor[StatusStats](),
}

var headerHandlers = names{
	"filter": reflect.TypeFor[HeaderFilter](), "conditional": reflect.TypeFor[HeaderConditional](), "countHeaders": reflect.TypeFor[HeaderCount](),
	"recordHeaderTime": reflect.TypeFor[HeaderTime](), "logInvalid": reflect.TypeFor[HeaderLogInvalid](),
}

// choices are the types that lists of an interface may hold. Actions are steps
// and processors as well; where both have a name, the processor's counts.
func choices(t reflect.Type) []names {
	switch t {
	case reflect.TypeFor[Step]():
		return []names{steps, actions}
	case reflect.TypeFor[Action]():
		return []names{actions}
	case reflect.TypeFor[Processor]():
		return []names{processors, actions}
	case reflect.TypeFor[StatusHandler]():
		return []names{statusHandlers}
	case reflect.TypeFor[HeaderHandler]():
		return []names{headerHandlers}
	}
	return nil
}

// The steps that lead through a scenario.
type (
	// NewSequence starts an instance of a sequence.
	NewSequence struct {
		asAction
		Sequence          SequenceRef       `json:"sequence" doc:"Its name." need:"yes"`
		ForceSameIndex    bool              `json:"forceSameIndex" doc:"Give it the index of this instance."`
		ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy" doc:"What it means that as many instances run as may: FAIL or WARN."`
		MaxSequences      int               `json:"maxSequences" doc:"Of early files; written as sequence[N] today."`
	}
	// NextSequence starts a sequence, too. As the last step that names its own
	// sequence it starts that again, for which the parser puts RestartSequence.
	NextSequence struct {
		asStep
		Sequence SequenceRef `json:"name" doc:"Its name." need:"yes"`
	}
	// RestartSequence goes back to the first step.
	RestartSequence struct{ asAction }
	// BreakSequence ends the sequence if a condition holds.
	BreakSequence struct {
		asStep
		Conditions
		Dependency Reads   `json:"dependency" doc:"A variable that must be set before the condition is looked at."`
		OnBreak    Actions `json:"onBreak" doc:"What is done then."`
	}
	// BreakIfFinished ends the sequence once the phase starts no more users.
	BreakIfFinished struct{ asStep }
	// Loop repeats steps. It is the first step of its sequence.
	Loop struct {
		asStep
		CounterVar Writes `json:"counterVar" doc:"The variable that counts." need:"yes"`
		Repeats    int    `json:"repeats" doc:"How often." need:"yes"`
		Steps      Steps  `json:"steps" doc:"What is repeated." need:"yes"`
	}
	// Foreach starts an instance of a sequence for each item of an array.
	Foreach struct {
		asStep
		FromVar    Reads       `json:"fromVar" doc:"The array." need:"yes"`
		Sequence   SequenceRef `json:"sequence" doc:"The sequence." need:"yes"`
		CounterVar Writes      `json:"counterVar" doc:"A variable for the number of items."`
		Dependency Reads       `json:"dependency" doc:"A variable that must be set before."`
	}
	// Conditional does something if a condition holds.
	Conditional struct {
		asAction
		Conditions
		Actions Actions `json:"actions" doc:"What is done then." need:"yes"`
	}
	// Stop ends the session.
	Stop struct{ asStep }
	// Fail ends the session and makes the phase fail, if a condition holds.
	Fail struct {
		asAction
		Conditions
		Message string `json:"message" doc:"What is reported."`
	}
	// NoopStep does nothing.
	NoopStep struct{ asStep }
	// Log writes a message to the log.
	Log struct {
		asAction
		Message pattern.Pattern `json:"message" doc:"The message; {} stands for the next of vars." need:"yes"`
		Vars    []Reads         `json:"vars" doc:"Variables to log."`
	}
	// Stopwatch measures how long steps take, under the sequence's name.
	Stopwatch struct {
		asStep
		Steps Steps
	}
)

// CounterOperator says how a value changes a shared counter.
type CounterOperator string

func (CounterOperator) words() []string { return []string{"ADD", "SUBTRACT"} }

// ConcurrencyPolicy says what too many instances of a sequence mean.
type ConcurrencyPolicy string

func (ConcurrencyPolicy) words() []string { return []string{"FAIL", "WARN"} }

func (n *NewSequence) defaults() { n.ConcurrencyPolicy = "FAIL" }

// Delay is a pause, or a point in time to wait for.
type Delay struct {
	Duration *Latency  `json:"duration" doc:"Its length, or its mean."`
	Random   RandomLaw `json:"random" doc:"CONSTANT, LINEAR: evenly between min and max, or NEGATIVE_EXPONENTIAL with the mean duration."`
	Min      *Latency  `json:"min" doc:"The shortest."`
	Max      *Latency  `json:"max" doc:"The longest."`
	FromNow  Flag      `json:"fromNow" doc:"Counts from now."`
	FromLast Flag      `json:"fromLast" doc:"Counts from the point of the delay before, so that a rhythm doesn't drift."`
	Type     string    `json:"type" doc:"FROM_NOW or FROM_LAST, instead of the two above."`
}

// RandomLaw is the law of a random delay.
type RandomLaw string

func (RandomLaw) words() []string { return []string{"CONSTANT", "LINEAR", "NEGATIVE_EXPONENTIAL"} }

func (d *Delay) defaults() { d.Random = "CONSTANT" }

// The steps that wait.
type (
	// ThinkTime waits as a user does between two clicks.
	ThinkTime struct {
		asStep
		Delay
		Key string `json:"key" doc:"Name of the delay, for fromLast."`
	}
	// ScheduleDelay sets a point in time for AwaitDelay.
	ScheduleDelay struct {
		asStep
		Delay
		Key string `json:"key" doc:"Name of the delay." need:"yes"`
	}
	// AwaitDelay waits for the point in time.
	AwaitDelay struct {
		asStep
		Key string `json:"key" doc:"Name of the delay." need:"yes"`
	}
	// AwaitVar waits until a variable is set, or unset.
	AwaitVar struct {
		asStep
		Var   Reads `json:"var" doc:"The variable; !var waits until it is unset." need:"yes"`
		Unset bool  `json:"-"`
	}
	// AwaitInt waits until a condition holds for a number.
	AwaitInt struct {
		asStep
		Var Reads `json:"var" doc:"The variable." need:"yes"`
		IntMatch
	}
	// AwaitAllResponses waits until no request of the session is under way.
	AwaitAllResponses struct{ asStep }
)

// The steps that set variables.
type (
	// Set gives a variable a value, or a new array.
	Set struct {
		asAction
		Var         Writes     `json:"var" doc:"The variable." need:"yes"`
		Value       string     `json:"value" doc:"Its value."`
		ObjectArray *ArraySize `json:"objectArray" doc:"A new array of values."`
		IntArray    *ArraySize `json:"intArray" doc:"A new array of numbers."`
	}
	// SetInt gives a variable a number.
	SetInt struct {
		asAction
		Var       Writes     `json:"var" doc:"The variable." need:"yes"`
		Value     *int       `json:"value" doc:"The number."`
		FromVar   Reads      `json:"fromVar" doc:"A variable that holds it."`
		Min       IntSources `json:"min" doc:"The smallest of these."`
		Max       IntSources `json:"max" doc:"The largest of these."`
		OnlyUnset bool       `json:"onlyIfNotSet" doc:"Leave a variable alone that is set."`
		Condition *IntMatch  `json:"intCondition" doc:"Only if this holds for the variable."`
	}
	// Unset takes a variable's value.
	Unset struct {
		asAction
		Var Writes `json:"var" doc:"The variable." need:"yes"`
	}
	// AddToInt adds to a number: var++, var += 3.
	AddToInt struct {
		asAction
		Var    Writes `json:"var" doc:"The variable." need:"yes"`
		Value  int    `json:"value" doc:"What is added." need:"yes"`
		OrElse *int   `json:"orElseSetTo" doc:"Its value if it is not set."`
	}
	// StringToInt reads a number from a text.
	StringToInt struct {
		asAction
		FromVar Reads  `json:"fromVar" doc:"The variable with the text." need:"yes"`
		ToVar   Writes `json:"toVar" doc:"Another variable, for the number." need:"yes"`
	}
	// SetItem sets an item of an array.
	SetItem struct {
		asAction
		ToVar   Writes     `json:"toVar" doc:"The array." need:"yes"`
		Index   *IntSource `json:"index" doc:"Which item, from 0." need:"yes"`
		Value   string     `json:"value" doc:"Its value."`
		FromVar Reads      `json:"fromVar" doc:"A variable that holds it."`
	}
	// GetItem takes an item from an array.
	GetItem struct {
		asAction
		FromVar Reads      `json:"fromVar" doc:"The array." need:"yes"`
		Index   *IntSource `json:"index" doc:"Which item, from 0." need:"yes"`
		ToVar   Writes     `json:"toVar" doc:"The variable for it." need:"yes"`
	}
	// AddItem appends to a collection.
	AddItem struct {
		asAction
		ToVar   Writes `json:"toVar" doc:"The collection." need:"yes"`
		Value   string `json:"value" doc:"The value."`
		FromVar Reads  `json:"fromVar" doc:"A variable that holds it."`
	}
	// RemoveItem takes an item out of a collection.
	RemoveItem struct {
		asAction
		FromVar Reads      `json:"fromVar" doc:"The collection." need:"yes"`
		Index   *IntSource `json:"index" doc:"Which item, from 0." need:"yes"`
	}
	// GetIndex finds an item in a collection.
	GetIndex struct {
		asAction
		Collection Reads      `json:"collection" doc:"The collection." need:"yes"`
		Item       *ItemMatch `json:"item" doc:"The item." need:"yes"`
		ToVar      Writes     `json:"toVar" doc:"The variable for its index, -1 if it is not there." need:"yes"`
	}
	// GetSize counts items of a collection.
	GetSize struct {
		asAction
		FromVar   Reads      `json:"fromVar" doc:"The collection." need:"yes"`
		ToVar     Writes     `json:"toVar" doc:"The variable for the number." need:"yes"`
		Undefined *int       `json:"undefinedValue" doc:"The number if the collection is not set."`
		Text      *TextMatch `json:"stringFilter" doc:"Count only these."`
		Int       *IntMatch  `json:"intFilter" doc:"Count only these."`
		Bool      *BoolMatch `json:"boolFilter" doc:"Count only these."`
	}
	// Template writes a pattern into a variable.
	Template struct {
		asStep
		Pattern pattern.Pattern `json:"pattern" doc:"The pattern." need:"yes"`
		ToVar   Writes          `json:"toVar" doc:"The variable." need:"yes"`
	}
	// Timestamp writes the time into a variable.
	Timestamp struct {
		asStep
		ToVar   Writes `json:"toVar" doc:"The variable." need:"yes"`
		Pattern string `json:"pattern" doc:"Such as yyyy-MM-dd HH:mm:ss; ms since 1970 if it is missing."`
		Locale  string `json:"localeCountry" doc:"Country whose names of days and months are used."`
	}
	// RandomInt draws a whole number: v <- 1 .. 9, both included.
	RandomInt struct {
		asStep
		ToVar Writes    `json:"toVar" doc:"The variable." need:"yes"`
		Min   IntSource `json:"min" doc:"The least; 0 if it is missing."`
		Max   IntSource `json:"max" doc:"The most; 2147483647 if it is missing."`
	}
	// RandomItem draws an item: v <- array.
	RandomItem struct {
		asStep
		ToVar   Writes   `json:"toVar" doc:"The variable." need:"yes"`
		List    Weighted `json:"list" doc:"Items, or a map from items to weights."`
		File    File     `json:"file" doc:"A file with an item on each line."`
		FromVar Reads    `json:"fromVar" doc:"An array."`
	}
	// RandomCSVRow draws a row of a table.
	RandomCSVRow struct {
		asStep
		File         File    `json:"file" doc:"The file." need:"yes"`
		Columns      Columns `json:"columns" doc:"Variables by the number of their column, from 0." need:"yes"`
		Separator    string  `json:"separator" doc:"One character, a comma if it is missing."`
		SkipComments bool    `json:"skipComments" doc:"Leave out lines that begin with #."`
		RemoveQuotes bool    `json:"removeQuotes" doc:"Of early files: quotes are always taken off."`
	}
	// RandomFile draws the content of a file.
	RandomFile struct {
		asStep
		Files       WeightedFiles `json:"files" doc:"Files, or a map from files to weights." need:"yes"`
		ToVar       Writes        `json:"toVar" doc:"The variable for the content." need:"yes"`
		FilenameVar Writes        `json:"filenameVar" doc:"A variable for the name."`
	}
	// RandomUUID makes a random UUID.
	RandomUUID struct {
		asStep
		ToVar Writes `json:"toVar" doc:"The variable." need:"yes"`
	}
	// Divide divides a number: v /= 3.
	Divide struct {
		asStep
		FromVar Reads  `json:"fromVar" doc:"The variable with the number." need:"yes"`
		ToVar   Writes `json:"toVar" doc:"The variable for the quotient." need:"yes"`
		Divisor int    `json:"divisor" doc:"Not 0." need:"yes"`
	}
)

// The steps by which sessions share data.
type (
	// SetSharedCounter sets a counter that sessions of a thread share.
	SetSharedCounter struct {
		asAction
		Key     string `json:"key" doc:"Its name." need:"yes"`
		Value   *int   `json:"value" doc:"Its value."`
		FromVar Reads  `json:"fromVar" doc:"A variable that holds it."`
	}
	// GetSharedCounter reads a shared counter.
	GetSharedCounter struct {
		asAction
		Key   string `json:"key" doc:"Its name." need:"yes"`
		ToVar Writes `json:"toVar" doc:"The variable; key if it is missing."`
	}
	// AddToSharedCounter adds to a shared counter: key++.
	AddToSharedCounter struct {
		asAction
		Key      string          `json:"key" doc:"Its name." need:"yes"`
		Value    *int            `json:"value" doc:"What is added."`
		FromVar  Reads           `json:"fromVar" doc:"A variable that holds it."`
		Operator CounterOperator `json:"operator" doc:"ADD or SUBTRACT."`
	}
	// PullSharedMap takes variables from a shared map.
	PullSharedMap struct {
		asStep
		Key   string   `json:"key" doc:"Name of the map." need:"yes"`
		Match Reads    `json:"match" doc:"A variable that must be the same in the map; any map if it is missing."`
		Vars  []Writes `json:"vars" doc:"The variables; all if they are missing."`
	}
	// PushSharedMap puts variables into a shared map.
	PushSharedMap struct {
		asStep
		Key  string  `json:"key" doc:"Name of the map." need:"yes"`
		Vars []Reads `json:"vars" doc:"The variables." need:"yes"`
	}
	// PublishAgentData gives a value to all sessions of the machine, once.
	PublishAgentData struct {
		asAction
		Name    string `json:"name" doc:"Name of the value." need:"yes"`
		FromVar Reads  `json:"fromVar" doc:"The variable that holds it." need:"yes"`
	}
	// ReadAgentData reads such a value.
	ReadAgentData struct {
		asAction
		Name  string `json:"name" doc:"Name of the value." need:"yes"`
		ToVar Writes `json:"toVar" doc:"The variable for it." need:"yes"`
	}
	// PublishGlobalCounters adds variables up over all sessions and machines, in
	// the statistics.
	PublishGlobalCounters struct {
		asAction
		Key  string   `json:"key" doc:"The metric under which they are counted." need:"yes"`
		Vars Counters `json:"vars" doc:"Variables with numbers, or a map from names of counters to variables." need:"yes"`
	}
	// ClearHTTPCache empties the session's HTTP cache.
	ClearHTTPCache struct{ asAction }
	// MarkRequestInvalid makes the request under way invalid.
	MarkRequestInvalid struct{ asAction }
)

// NameOf returns the name by which files know what v, a step, action, handler or
// processor of this package, is.
func NameOf(v any) string {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return ""
	}
	found := ""
	for _, list := range []names{steps, actions, processors, statusHandlers, headerHandlers} {
		for name, of := range list {
			if of == t.Elem() && (found == "" || name < found) {
				found = name
			}
		}
	}
	return found
}
