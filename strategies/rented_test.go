package strategies_test

import (
	"testing"
	"time"

	"github.com/loads/loads/strategies"
)

func TestLongestTakesAllTheTimeThatStepsMayTake(t *testing.T) {
	ready := &strategies.Ready{Port: 80, Timeout: 30}
	for _, c := range []struct {
		name  string
		steps []strategies.Step
		want  time.Duration
	}{
		{"one step, with its stop", []strategies.Step{
			step("a", func(s *strategies.Step) { s.RunMaxTime, s.StopTimeout = 60, 15 }),
		}, 75 * time.Second},
		{"the later of two", []strategies.Step{
			step("a", func(s *strategies.Step) { s.RunMaxTime, s.StopTimeout = 60, 0 }),
			step("b", func(s *strategies.Step) { s.RunDelay, s.RunMaxTime, s.StopTimeout = 50, 20, 0 }),
		}, 70 * time.Second},
		{"one that waits for an end", []strategies.Step{
			step("b", func(s *strategies.Step) {
				s.RunMaxTime, s.StopTimeout = 10, 0
				s.StartAfter = []strategies.StartAfter{{Step: "a", Event: strategies.EventEnd}}
			}),
			step("a", func(s *strategies.Step) { s.RunMaxTime, s.StopTimeout = 60, 5 }),
		}, 75 * time.Second},
		{"one that waits for readiness, which comes late", []strategies.Step{
			step("a", func(s *strategies.Step) {
				s.RunMaxTime, s.StopTimeout, s.Ready, s.PortMapping = 60, 0, ready, "80:80"
			}),
			step("b", func(s *strategies.Step) { s.RunMaxTime, s.StopTimeout = 100, 0 }),
		}, 130 * time.Second},
		{"the monitor does not count", []strategies.Step{
			{Name: "m", Monitor: true},
			step("a", func(s *strategies.Step) { s.RunMaxTime, s.StopTimeout = 5, 0 }),
		}, 5 * time.Second},
		{"not more than can be", []strategies.Step{
			step("a", func(s *strategies.Step) { s.RunDelay, s.RunMaxTime = 366*24*3600, 366*24*3600 }),
		}, 366 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := strategies.Plan{Name: "p", Steps: c.steps}
			if got := p.Longest(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
