package ec2sim

import (
	"strings"
	"time"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// A rate is a limit: so many at once, and so many more each second.
type rate struct{ size, perSecond float64 }

// The limits of requests that AWS documents for actions that have none of their
// own.
var (
	readRate      = rate{100, 20}
	wideReadRate  = rate{50, 10} // of reading without filter and page
	writeRate     = rate{50, 5}
	requestLimits = map[string]rate{
		"RunInstances": {5, 2}, "StartInstances": {5, 2}, "TerminateInstances": {100, 5},
		"CreateTags": {100, 10}, "DeleteTags": {100, 10},
		"DescribeSpotInstanceRequests": {50, 3}, "DescribeSpotPriceHistory": {100, 20},
	}
	// resourceLimits count what a call is about, not the call.
	resourceLimits = map[string]rate{
		"RunInstances": {1000, 2}, "StartInstances": {1000, 2},
		"TerminateInstances": {1000, 20}, "StopInstances": {1000, 20},
	}
)

// A bucket holds the tokens that are left.
type bucket struct {
	rate
	tokens float64
	at     time.Time
}

// take takes tokens, or none if there are too few.
func (b *bucket) take(n float64, now time.Time) bool {
	b.tokens = min(b.size, b.tokens+b.perSecond*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

func errLimit() *wire.Error {
	return wire.Errorf("RequestLimitExceeded", "Request limit exceeded.").With(503)
}

// takeRequest counts a call against the limit of its action in its region.
func (c *call) takeRequest() *wire.Error {
	limit, own := requestLimits[c.action]
	switch {
	case own:
	case !isReading(c.action):
		limit = writeRate
	case c.isWide():
		return c.take("wide "+c.action, wideReadRate, 1)
	default:
		limit = readRate
	}
	return c.take(c.action, limit, 1)
}

// takeResources counts what a call is about.
func (c *call) takeResources(n int) *wire.Error {
	if limit, ok := resourceLimits[c.action]; ok {
		return c.take("resources "+c.action, limit, n)
	}
	return nil
}

func (c *call) take(name string, limit rate, n int) *wire.Error {
	if !c.sim.drill.Limits.Throttle {
		return nil
	}
	b := c.region.buckets[name]
	if b == nil {
		b = &bucket{rate: limit, tokens: limit.size, at: c.now}
		c.region.buckets[name] = b
	}
	if !b.take(float64(n), c.now) {
		return errLimit()
	}
	return nil
}

func isReading(action string) bool {
	return strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get")
}

// isWide reports whether a call reads everything at once.
func (c *call) isWide() bool {
	if c.params.Has("MaxResults") || c.params.Has("NextToken") {
		return false
	}
	return !c.params.Narrowed()
}
