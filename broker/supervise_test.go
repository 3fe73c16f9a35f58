package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/strategies"
)

// A step that is taken up again when its containers have ended already, as after
// a failure of the store, is not waited for: that they were started and that they
// have ended is known at the same moment then, and either may be seen first.
func TestStepWhoseContainersHaveEndedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for range 64 {
		synctest.Test(t, func(t *testing.T) {
			x := &execution{ref: &Run{}, run: Run{StepRecords: []StepRecord{{State: StepReady, StartAt: &now, StartedAt: &now}}}}
			x.ref.Plan.Steps = []strategies.Step{{Name: "one", RunMaxTime: 3600}}
			s := &supervision{x: x, started: make(chan struct{}), stopping: make(chan struct{})}
			s.cancel = func() {}
			close(s.started)
			ended := make(chan struct{})
			close(ended)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s.keepTime(ctx, ended)
			if ctx.Err() != nil {
				t.Fatal("it went on waiting")
			}
		})
	}
}
