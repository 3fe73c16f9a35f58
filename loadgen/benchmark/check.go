package benchmark

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/internal/source"
)

// Limits of what a benchmark may ask for, far beyond what is useful.
const (
	maxRate       = 1e9
	minRate       = 1e-6
	maxUsers      = 100_000_000
	maxIterations = 1000
)

// oneOf complains unless exactly one of the fields is given.
func (c *complaints) oneOf(fields ...string) {
	n := 0
	for _, f := range fields {
		if c.has(f) {
			n++
		}
	}
	if n != 1 {
		c.of("", "has "+strconv.Itoa(n)+" of "+source.JoinWords(fields), "give one of them")
	}
}

// positive complains about fields that are given and not above 0.
func (c *complaints) positive(field string, value float64) {
	if c.has(field) && value <= 0 {
		c.of(field, "is not above 0", "give more")
	}
}

// range01 complains about a ratio outside 0 to 1.
func (c *complaints) range01(field string, value *float64) {
	if value != nil && (*value < 0 || *value > 1) {
		c.of(field, "is not a ratio", "give 0 to 1")
	}
}

func (b *Benchmark) check(c *complaints) {
	if c.has("name") && strings.TrimSpace(b.Name) == "" {
		c.of("name", "is empty", "give a name")
	}
	if b.Threads < 0 {
		c.of("threads", "is negative", "give 1 or more")
	}
	for field, why := range map[string]string{
		"agents": "loads places machines itself", "triggerUrl": "runs are started by loads itself",
	} {
		if n := c.given[field]; n != nil {
			c.d.warn(n, field, "is not used", why)
		}
	}
	names := map[string]bool{}
	for _, e := range b.HTTP {
		if e.Name != "" && names[e.Name] {
			c.of("http", "has two endpoints of the name "+source.Show(e.Name), "use another")
		}
		names[e.Name] = true
	}
}

func (e *Endpoint) check(c *complaints) {
	if c.has("protocol") && e.Protocol != "http" && e.Protocol != "https" {
		c.of("protocol", "is not known", "give http or https")
		return
	}
	if c.has("port") && (e.Port < 1 || e.Port > 65535) {
		c.of("port", "is not a port", "give 1 to 65535")
		return
	}
	if c.has("host") {
		if err := e.setHost(); err != nil {
			w, _ := err.(wrong) //nolint:errorlint // setHost returns nothing else
			c.of("host", w.what, w.want)
		}
	}
	if !e.HTTP1 && !e.HTTP2 {
		c.of("allowHttp2", "leaves no version of HTTP", "allow one")
	}
	if e.Pipelining != 1 {
		c.of("pipeliningLimit", "asks for pipelining, which is not there", "leave it out, and use more connections or HTTP/2")
	}
	if e.Streams < 1 {
		c.of("maxHttp2Streams", "is not above 0", "give more")
	}
	e.checkAddresses(c)
}

func (p *Phase) check(c *complaints) {
	switch {
	case p.Kind == Noop || c.has("scenario") != c.has("forks"):
	case c.has("scenario"):
		c.of("forks", "is given beside scenario", "give one of them")
	default:
		c.of("", "has no scenario", "give scenario, or forks")
	}
	checkForks(c, p.Forks)
	if p.MaxIterations < 1 || p.MaxIterations > maxIterations {
		c.of("maxIterations", "is not a number of iterations", "give 1 to "+strconv.Itoa(maxIterations))
	}
	if c.has("startWith") && (c.has("startTime") || c.has("startAfter") || c.has("startAfterStrict")) {
		c.of("startWith", "is given beside another condition for the start", "give only one")
	}
	switch {
	case p.Kind == AtOnce && p.Duration > 0:
		c.d.warn(c.given["duration"], child(c.path, "duration"), "is not used", "users of atOnce start at once")
	case p.Kind != AtOnce && p.Duration == 0:
		c.of("duration", "is not above 0", "give how long users start")
	}
	if p.MaxDuration > 0 && p.MaxDuration < p.Duration {
		c.of("maxDuration", "is shorter than duration", "give more, or leave it out")
	}
	switch {
	case p.Kind == AtOnce || p.Kind == AlwaysBusy:
		p.checkUsers(c)
	case p.Kind.IsOpen():
		p.checkRates(c)
	}
}

func checkForks(c *complaints, forks Forks) {
	if len(forks) == 1 {
		c.of("forks", "has one fork", "write its scenario without forks")
	}
	seen := map[string]bool{}
	for _, f := range forks {
		if seen[f.Name] {
			c.of("forks", "has two forks of the name "+source.Show(f.Name), "use another")
		}
		seen[f.Name] = true
	}
}

func (p *Phase) checkUsers(c *complaints) {
	c.oneOf("users", "usersPerAgent", "usersPerThread")
	if p.Users != nil {
		last := int64(p.Users.Base) + int64(p.Users.Increment)*int64(p.MaxIterations-1)
		if p.Users.Base < 1 || last < 1 || p.Users.Base > maxUsers || last > maxUsers {
			c.of("users", "is not a number of users in each iteration", "give 1 to "+strconv.Itoa(maxUsers))
		}
	}
	c.positive("usersPerAgent", float64(p.UsersPerAgent))
	c.positive("usersPerThread", float64(p.UsersPerThread))
}

func (p *Phase) checkRates(c *complaints) {
	if p.Kind == ConstantRate {
		if p.UsersPerSec == nil {
			c.of("usersPerSec", "is missing", "give users to start each second")
			return
		}
		p.checkRate(c, "usersPerSec", *p.UsersPerSec, minRate)
	} else {
		if p.InitialUsers == nil || p.TargetUsers == nil {
			c.of("", "lacks initialUsersPerSec or targetUsersPerSec", "give both")
			return
		}
		p.checkRate(c, "initialUsersPerSec", *p.InitialUsers, 0)
		p.checkRate(c, "targetUsersPerSec", *p.TargetUsers, 0)
		p.checkSlope(c)
	}
	c.positive("maxSessions", float64(p.MaxSessions))
	c.positive("maxSessionsEstimate", float64(p.MaxSessionsEstimate))
}

// checkRate wants the rate of every iteration to be 0, if that may be, or one
// that can be kept.
func (p *Phase) checkRate(c *complaints, field string, r Rate, least float64) {
	for _, rate := range []float64{r.At(0), r.At(p.MaxIterations - 1)} {
		if rate < least || rate > maxRate || rate != 0 && rate < minRate {
			c.of(field, "is not a rate in each iteration", fmt.Sprintf("give %g to %g users a second", least, maxRate))
			return
		}
	}
}

func (p *Phase) checkSlope(c *complaints) {
	for i := range p.MaxIterations {
		from, to := p.InitialUsers.At(i), p.TargetUsers.At(i)
		switch {
		case from == 0 && to == 0:
			c.of("targetUsersPerSec", "is 0 as initialUsersPerSec is", "let one be above 0")
		case p.Kind == IncreasingRate && from >= to:
			c.of("targetUsersPerSec", "is not above initialUsersPerSec", "use decreasingRate or constantRate")
		case p.Kind == DecreasingRate && from <= to:
			c.of("targetUsersPerSec", "is not below initialUsersPerSec", "use increasingRate or constantRate")
		default:
			continue
		}
		return
	}
}

func (s *Staircase) check(c *complaints) {
	s.Line, s.Column = c.node.Line, c.node.Column
	if s.InitialRampUp == nil {
		s.InitialRampUp = &s.RampUp
	}
	if !c.has("initialUsersPerSec") {
		s.Initial = s.Increment
	}
	c.positive("steadyStateDuration", float64(s.SteadyState))
	for field, rate := range map[string]float64{"initialUsersPerSec": s.Initial, "incrementUsersPerSec": s.Increment} {
		if c.has(field) && (rate < minRate || rate*maxIterations > maxRate) {
			c.of(field, "is not a rate above 0", "give users a second")
		}
	}
	if c.has("maxIterations") && (s.MaxIterations < 1 || s.MaxIterations > maxIterations) {
		c.of("maxIterations", "is not a number of steps", "give 1 to "+strconv.Itoa(maxIterations))
	}
	if c.has("scenario") == c.has("forks") {
		c.oneOf("scenario", "forks")
	}
	checkForks(c, s.Forks)
	if s.RampUp == 0 {
		c.d.warn(c.node, c.path, "has no rampUpDuration", "the load pauses between steps, and then jumps")
	}
}

func (s *SLA) check(c *complaints) {
	c.range01("errorRatio", s.ErrorRatio)
	c.range01("invalidRatio", s.InvalidRatio)
	c.range01("blockedRatio", s.BlockedRatio)
	c.positive("meanResponseTime", float64(s.MeanResponseTime))
	c.positive("window", float64(s.Window))
}

func (b *Body) check(c *complaints) {
	if c.given != nil {
		c.oneOf("text", "pattern", "fromVar", "fromFile", "form")
	}
}

func (i *Input) check(c *complaints) {
	if n := len(c.given); c.has("name") && n > 2 {
		c.oneOf("value", "fromVar", "pattern")
	}
	if _, err := i.Pattern.URLEncoded(); err != nil {
		c.of("pattern", "can't be used: "+err.Error(), "leave urlencode out, fields of forms are encoded anyway")
	}
}

func (t *Text) check(c *complaints) {
	if c.given != nil {
		c.oneOf("pattern", "value", "fromVar")
	}
}

func (p *Payload) check(c *complaints) {
	if c.given != nil {
		c.oneOf("text", "pattern", "fromVar", "fromFile", "base64")
	}
}

func (r *RangeCheck) check(c *complaints) {
	if c.given != nil && (r.Min < 100 || r.Max > 999 || r.Min > r.Max) {
		c.of("", "is not a range of statuses", "give min and max, such as 200 and 299")
	}
}

func (s *StatusCounter) check(c *complaints) {
	if c.has("add") == c.has("set") {
		c.oneOf("add", "set")
	}
}

func (f *Fail) check(c *complaints) {
	if c.given != nil && f.IsEmpty() && f.Message == "" {
		c.of("", "has neither a message nor a condition", "give one")
	}
}

func (r *Conditional) check(c *complaints) { checkConditions(c, r.Conditions) }

func (r *BreakSequence) check(c *complaints) { checkConditions(c, r.Conditions) }

func (r *ConditionalProcessor) check(c *complaints) { checkConditions(c, r.Conditions) }

func (r *HeaderConditional) check(c *complaints) { checkConditions(c, r.Conditions) }

func checkConditions(c *complaints, conditions Conditions) {
	if conditions.IsEmpty() {
		c.of("", "has no condition", "give intCondition, stringCondition, boolCondition or allConditions")
	}
}

func (d *Delay) check(c *complaints) {
	exponential := d.Random == "NEGATIVE_EXPONENTIAL"
	switch {
	case c.given == nil:
		return
	case d.Random == "LINEAR" && (d.Min == nil || d.Max == nil):
		c.of("", "is LINEAR without min or max", "give both")
	case (d.Random == "CONSTANT" || exponential) && d.Duration == nil:
		c.of("", "has no duration", "give one, such as 2s")
	}
	if d.Min != nil && d.Max != nil && *d.Min > *d.Max {
		c.of("max", "is less than min", "give more")
	}
	switch strings.ToUpper(d.Type) {
	case "":
	case "FROM_NOW":
		d.FromNow = true
	case "FROM_LAST":
		d.FromLast = true
	default:
		c.of("type", "is not known", "give FROM_NOW or FROM_LAST")
	}
	if d.FromNow && d.FromLast {
		c.of("fromLast", "is given beside fromNow", "give one of them")
	}
}

func (t *ThinkTime) check(c *complaints) {
	t.Delay.check(c)
	c.d.uses = append(c.d.uses, use{useSchedule, t.Key, c.node, c.path})
	if t.FromLast && t.Key == "" {
		c.of("fromLast", "has no delay before to count from", "give key")
	}
}

func (j *JSONQuery) check(c *complaints) {
	if c.given != nil && !c.has("toVar") && !c.has("toArray") && !c.has("processor") {
		c.of("", "does nothing with what it finds", "give toVar, toArray or processor")
	}
	if j.Delete && c.has("replace") {
		c.of("replace", "is given beside delete", "give one of them")
	}
	if (j.Delete || c.has("replace")) && c.has("toArray") {
		c.of("toArray", "takes values, and what is changed is a document", "give toVar or processor")
	}
}

func (s *Set) check(c *complaints) {
	if c.given != nil && c.has("var") {
		c.oneOf("value", "objectArray", "intArray")
	}
}

func (s *StringToInt) check(c *complaints) {
	if s.FromVar == Reads(s.ToVar) && s.ToVar.Name != "" {
		c.of("toVar", "is the same variable as fromVar", "use another: one holds text, the other a number")
	}
}

func (r *RandomInt) check(c *complaints) {
	if r.Min.FromVar.Name != "" || r.Max.FromVar.Name != "" {
		return
	}
	least, most := 0, math.MaxInt32
	if r.Min.Value != nil {
		least = *r.Min.Value
	}
	if r.Max.Value != nil {
		most = *r.Max.Value
	}
	if least > most {
		c.of("", fmt.Sprintf("draws from %d to %d, which is nothing", least, most), "let max be min or more")
	}
}

func (r *RandomItem) check(c *complaints) {
	if c.given != nil {
		c.oneOf("list", "file", "fromVar")
	}
	if c.has("list") && len(r.List) == 0 {
		c.of("list", "has no items to draw from", "give one")
	}
}

func (d *Divide) check(c *complaints) {
	if d.Divisor == 0 {
		c.of("divisor", "divides by 0", "give another number")
	}
}

func (l *Loop) check(c *complaints) { c.positive("repeats", float64(l.Repeats)) }

// maxArray bounds what arrays can be made to hold.
const maxArray = 1_000_000

func (a *ArraySize) check(c *complaints) {
	if a.FromVar.Name == "" && (a.Size < 1 || a.Size > maxArray) {
		c.of("size", "is not a number of items", "give 1 to "+strconv.Itoa(maxArray)+", or fromVar")
	}
}

func (q *Queue) check(c *complaints) {
	c.positive("maxSize", float64(q.MaxSize))
	c.positive("concurrency", float64(q.Concurrency))
}

func (f *FetchResource) check(c *complaints) {
	c.positive("maxResources", float64(f.MaxResources))
	c.positive("concurrency", float64(f.Concurrency))
}

func (s *ScheduleDelay) check(c *complaints) {
	s.Delay.check(c)
	c.d.uses = append(c.d.uses, use{useSchedule, s.Key, c.node, c.path})
}

func (a *AwaitDelay) check(c *complaints) {
	c.d.uses = append(c.d.uses, use{useDelay, a.Key, c.node, c.path})
}

func (p *PublishAgentData) check(c *complaints) {
	c.d.uses = append(c.d.uses, use{usePublish, p.Name, c.node, c.path})
}

func (r *ReadAgentData) check(c *complaints) {
	c.d.uses = append(c.d.uses, use{useData, r.Name, c.node, c.path})
}

// checkData finds data of the machine that no scenario publishes.
func (d *decoder) checkData() {
	d.checkMade(d.uses, usePublish, useData, "reads %s, which no step publishes", "give publishAgentData in an earlier phase")
}

// checkMade finds names that are used and never made.
func (d *decoder) checkMade(uses []use, makes, wants useKind, what, want string) {
	var made []string
	for _, u := range uses {
		if u.kind == makes {
			made = append(made, u.name)
		}
	}
	for _, u := range uses {
		if u.kind == wants && u.name != "" && !slices.Contains(made, u.name) {
			d.fault(u.node, Fault{Field: u.path, What: fmt.Sprintf(what, source.Show(u.name)), Want: cmp.Or(source.DidYouMean(u.name, made), want)})
		}
	}
}
