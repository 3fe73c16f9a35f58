// Package benchmark reads benchmark files: which phases there are, when each
// begins, how many users it starts and what a user does. The language is
// Hyperfoil's, that of its early guide and today's, and has steps of ours for
// more protocols. The package is pure: it opens no file and sends nothing.
// What the phases become in a run is worked out by package phases.
package benchmark

import "github.com/loads/loads/internal/source"

// Fault is a mistake in a file, with its place.
type Fault = source.Fault

// Faults are all mistakes of a file, in its order. It is an error.
type Faults = source.Faults

// Benchmark is a benchmark file. It isn't changed by being run, so that all
// phases and sessions share it.
type Benchmark struct {
	Schema     string        `json:"$schema" doc:"Address of a schema, for editors; not used."`
	Name       string        `json:"name" doc:"Name of the benchmark." need:"yes"`
	Agents     Agents        `json:"agents" doc:"Hyperfoil's load machines; not used, as the plan's step says how many machines there are."`
	Threads    int           `json:"threads" doc:"How many threads of a machine generate load; 0 is as many as it has processors."`
	HTTP       Endpoints     `json:"http" doc:"The HTTP servers that requests go to."`
	Ergonomics Ergonomics    `json:"ergonomics" doc:"What happens without being asked for in each request."`
	Phases     Phases        `json:"phases" doc:"The phases: a list of maps from the name to the type and its properties."`
	Staircase  *Staircase    `json:"staircase" doc:"Phases that alternate between a ramp and a steady load, each steadier one higher; instead of phases."`
	OnFailure  FailurePolicy `json:"failurePolicy" doc:"CANCEL cancels the phases that have not started once a phase has failed; CONTINUE does not."`
	Period     Millis        `json:"statisticsCollectionPeriod" doc:"How often machines report statistics, in milliseconds; windows of SLAs consist of such periods."`
	Pre        Hooks         `json:"pre" doc:"Commands to run before the first phase."`
	Post       Hooks         `json:"post" doc:"Commands to run after the last phase."`
	TriggerURL string        `json:"triggerUrl" doc:"Of Hyperfoil's use with Jenkins; not used."`

	// Warnings are what the file says and is not heeded, with places.
	Warnings Faults `json:"-"`
	// Files are what steps read, by their names as written, each once.
	Files []FileUse `json:"-"`
}

func (b *Benchmark) defaults() {
	b.OnFailure, b.Period = Cancel, 1000
	b.Ergonomics.defaults()
}

// FailurePolicy says what a failed phase means for those that have not started.
type FailurePolicy string

// The values of failurePolicy.
const (
	Cancel   FailurePolicy = "CANCEL"
	Continue FailurePolicy = "CONTINUE"
)

func (FailurePolicy) words() []string { return []string{string(Cancel), string(Continue)} }

// Ergonomics are the automatic behaviours of requests.
type Ergonomics struct {
	RepeatCookies        bool           `json:"repeatCookies" doc:"Keep cookies in the session and send them again."`
	UserAgent            bool           `json:"userAgentFromSession" doc:"Send a User-Agent header that names machine and session."`
	AutoRangeCheck       bool           `json:"autoRangeCheck" doc:"A status outside 200 to 399 makes the request invalid."`
	StopOnInvalid        bool           `json:"stopOnInvalid" doc:"An invalid request stops the session."`
	FollowRedirect       FollowRedirect `json:"followRedirect" doc:"Which redirects are followed."`
	CompensateIntLatency bool           `json:"compensateInternalLatency" doc:"Not needed: latency always counts from the planned start, and from sending as well."`
}

func (e *Ergonomics) defaults() {
	*e = Ergonomics{RepeatCookies: true, UserAgent: true, AutoRangeCheck: true, StopOnInvalid: true, FollowRedirect: Never}
}

// FollowRedirect says which redirects are followed.
type FollowRedirect string

// The values of followRedirect.
const (
	Never        FollowRedirect = "NEVER"
	LocationOnly FollowRedirect = "LOCATION_ONLY"
	HTMLOnly     FollowRedirect = "HTML_ONLY"
	Always       FollowRedirect = "ALWAYS"
)

func (FollowRedirect) words() []string {
	return []string{string(Never), string(LocationOnly), string(HTMLOnly), string(Always)}
}

// Agents are names with anything: they are not used.
type Agents []string

// Hook is a command to run before or after the phases.
type Hook struct {
	Name string
	Exec string
}

// Hooks run in the order of their names.
type Hooks []Hook

// hookFields is a hook that is written as a map.
type hookFields struct {
	Exec string `json:"exec" doc:"The command, for sh -c." need:"yes"`
}

// FileUse is a file that a step reads, and where the benchmark says so.
type FileUse struct {
	Name         string
	Line, Column int
}

// Phases are the phases of a file, in its order.
type Phases []Phase

// Kind is how a phase starts its users.
type Kind string

// The kinds of phases, by the names of today.
const (
	AtOnce         Kind = "atOnce"
	AlwaysBusy     Kind = "always"
	ConstantRate   Kind = "constantRate"
	IncreasingRate Kind = "increasingRate"
	DecreasingRate Kind = "decreasingRate"
	RampRate       Kind = "rampPerSec" // up or down
	Noop           Kind = "noop"
)

// kinds are the types of phases that files name. constantPerSec is the early
// name of constantRate.
var kinds = map[string]Kind{
	"atOnce": AtOnce, "always": AlwaysBusy, "constantRate": ConstantRate, "constantPerSec": ConstantRate,
	"increasingRate": IncreasingRate, "decreasingRate": DecreasingRate, "rampPerSec": RampRate, "noop": Noop,
}

// IsOpen reports whether users of the kind start on a timetable, however many
// are still busy.
func (k Kind) IsOpen() bool { return k == ConstantRate || k.isRamp() }

func (k Kind) isRamp() bool { return k == IncreasingRate || k == DecreasingRate || k == RampRate }

// isFor reports whether a phase of the kind has the fields of a group.
func (k Kind) isFor(group string) bool {
	switch group {
	case "work":
		return k != Noop
	case "open":
		return k.IsOpen()
	case "constant":
		return k == ConstantRate
	case "ramp":
		return k.isRamp()
	case "closed":
		return k == AtOnce || k == AlwaysBusy
	}
	return true
}

// Phase is a phase as its file has it, before iterations and forks are made of
// it. Times count from the start of the run, or of the phase.
type Phase struct {
	Name string `json:"-"`
	Kind Kind   `json:"-"`

	StartTime        Duration   `json:"startTime" doc:"The earliest start, from the start of the run; of the first iteration only."`
	StartAfter       PhaseRefs  `json:"startAfter" doc:"Phases that must be finished: they start no more users."`
	StartAfterStrict PhaseRefs  `json:"startAfterStrict" doc:"Phases that must be terminated: none of their users is left."`
	StartWith        *StartWith `json:"startWith" doc:"A phase that starts together with this one, or a delay before it; instead of the three above."`
	Duration         Duration   `json:"duration" doc:"In which users start."`
	MaxDuration      Duration   `json:"maxDuration" doc:"After which users still busy are stopped, from the start of the phase; 0 is never."`
	MaxIterations    int        `json:"maxIterations" doc:"How often the phase is repeated, each time after all users of the time before have ended."`
	IsWarmup         bool       `json:"isWarmup" doc:"Reports leave the phase out."`

	CustomSLA MetricSLAs `json:"customSla" for:"work" doc:"Limits for metrics that belong to no request, by their names."`
	Scenario  *Scenario  `json:"scenario" for:"work" doc:"What a user does."`
	Forks     Forks      `json:"forks" for:"work" doc:"Several kinds of users with their weights; instead of scenario."`

	Users          *Count `json:"users" for:"closed" doc:"How many users, on all machines together."`
	UsersPerAgent  int    `json:"usersPerAgent" for:"closed" doc:"How many users on each machine; instead of users."`
	UsersPerThread int    `json:"usersPerThread" for:"closed" doc:"How many users on each thread of each machine; instead of users."`

	UsersPerSec  *Rate `json:"usersPerSec" for:"constant" doc:"Users to start each second."`
	InitialUsers *Rate `json:"initialUsersPerSec" for:"ramp" doc:"Users to start each second, at the start of the phase."`
	TargetUsers  *Rate `json:"targetUsersPerSec" for:"ramp" doc:"Users to start each second, at its end."`

	Variance            bool          `json:"variance" for:"open" doc:"Random gaps between users, as in a Poisson process, instead of even ones."`
	MaxSessions         int           `json:"maxSessions" for:"open" doc:"Most users busy at once, on all machines together; 0 is no limit."`
	MaxSessionsEstimate int           `json:"maxSessionsEstimate" for:"open" doc:"How many users will be busy at once; only to prepare memory."`
	SessionLimitPolicy  SessionPolicy `json:"sessionLimitPolicy" for:"open" doc:"Whether users delayed by maxSessions make the phase fail (FAIL) or not (CONTINUE)."`

	Line, Column int `json:"-"` // of its name
}

func (p *Phase) defaults() {
	p.MaxIterations, p.Variance, p.SessionLimitPolicy = 1, true, PolicyFail
}

// SessionPolicy says what it means that users were delayed since as many
// were busy as may be.
type SessionPolicy string

// The values of sessionLimitPolicy.
const (
	PolicyFail     SessionPolicy = "FAIL"
	PolicyContinue SessionPolicy = "CONTINUE"
)

func (SessionPolicy) words() []string { return []string{string(PolicyFail), string(PolicyContinue)} }

// PhaseRefs name phases that come before.
type PhaseRefs []PhaseRef

// PhaseRef names a phase, or an iteration or fork of one.
type PhaseRef struct {
	Phase     string            `json:"phase" doc:"Name of the phase; phase/001/fork names a part of one." need:"yes"`
	Iteration RelativeIteration `json:"iteration" doc:"Which iteration: none is the whole phase, same and previous count from the own iteration."`
	Fork      string            `json:"fork" doc:"Name of a fork; none is all of them."`

	Line, Column int `json:"-"`
}

func (r *PhaseRef) defaults() { r.Iteration = IterationNone }

func (r *PhaseRef) fromText(s string) error {
	r.Phase = s
	return nil
}

// RelativeIteration tells an iteration of a phase by that of another.
type RelativeIteration string

// The values of iteration.
const (
	IterationNone     RelativeIteration = "none"
	IterationSame     RelativeIteration = "same"
	IterationPrevious RelativeIteration = "previous"
)

func (RelativeIteration) words() []string {
	return []string{string(IterationNone), string(IterationSame), string(IterationPrevious)}
}

// StartWith names a phase by whose start this one starts.
type StartWith struct {
	PhaseRef
	Delay Duration `json:"delay" doc:"From the start of that phase to the start of this one."`
}

func (s *StartWith) defaults() { s.PhaseRef.defaults() }

// Forks are kinds of users among which a phase is divided.
type Forks []Fork

// Fork is a part of a phase with a scenario of its own.
type Fork struct {
	Name     string    `json:"-"`
	Weight   float64   `json:"weight" doc:"Its part of the users, relative to the weights of the others."`
	Scenario *Scenario `json:"scenario" doc:"What its users do." need:"yes"`
}

func (f *Fork) defaults() { f.Weight = 1 }

// Staircase is short for a ramp and steady phases that follow each other.
type Staircase struct {
	InitialRampUp *Duration  `json:"initialRampUpDuration" doc:"Of the ramp from 0 to initialUsersPerSec; as rampUpDuration if it is missing."`
	SteadyState   Duration   `json:"steadyStateDuration" doc:"Of each steady phase." need:"yes"`
	RampUp        Duration   `json:"rampUpDuration" doc:"Of each ramp between them; 0 is none."`
	Initial       float64    `json:"initialUsersPerSec" doc:"Users a second of the first steady phase; as incrementUsersPerSec if it is missing."`
	Increment     float64    `json:"incrementUsersPerSec" doc:"By how many users a second each steady phase has more." need:"yes"`
	MaxIterations int        `json:"maxIterations" doc:"How many steady phases." need:"yes"`
	MaxSessions   int        `json:"maxSessions" doc:"Most users busy at once in a phase; 0 is no limit."`
	MaxOverrun    Duration   `json:"maxOverrun" doc:"How long after the end of a phase users still busy are stopped; 0 is never."`
	Variance      bool       `json:"variance" doc:"Random gaps between users instead of even ones."`
	CustomSLA     MetricSLAs `json:"customSla" doc:"As of a phase."`
	Scenario      *Scenario  `json:"scenario" doc:"As of a phase."`
	Forks         Forks      `json:"forks" doc:"As of a phase."`
	Line, Column  int        `json:"-"`
}

func (s *Staircase) defaults() { s.Variance = true }

// Scenario is what a user does: sequences of steps, which can run next to each
// other.
type Scenario struct {
	Sequences    []Sequence // all, Initial first
	Initial      int        // how many of them start with the session
	MaxRequests  int        // requests under way at once in a session; 0 is the engine's choice
	MaxSequences int        // sequences running at once in a session; 0 is the engine's choice
}

// Sequence is a list of steps that follow each other.
type Sequence struct {
	Name        string
	Concurrency int // how many instances may run at once, 1 or more
	Steps       Steps
	Line        int // of its name
	Column      int
}
