package strategies_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// What is given with a run gets to its containers, so each name has to be one
// that an environment can hold.
func TestCheckVariablesOfTheRun(t *testing.T) {
	plan := strategies.Plan{Name: "p", Steps: []strategies.Step{step("web", nil)}}
	good := strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "log.level", Value: "$x"}, {Name: "RUN_ID", Value: "mine"}, {Name: "EMPTY"}}
	if err := strategies.CheckVariables(plan, good); err != nil {
		t.Errorf("got %v, want no fault", err)
	}
	err := strategies.CheckVariables(plan, strategies.Environment{{Name: ""}, {Name: "A=B", Value: "1"}, {Name: "1ST"}, {Name: "NUL", Value: "a\x00"}})
	if err == nil {
		t.Fatal("got no fault, want four")
	}
	const want = `environment: "" is not a name for a variable; use letters, digits and _, no digit first
environment: A=B is not a name for a variable; use letters, digits and _, no digit first
environment: 1ST is not a name for a variable; use letters, digits and _, no digit first
environment.NUL holds a NUL character; leave it out`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("faults, -want +got:\n%s", diff)
	}
}
