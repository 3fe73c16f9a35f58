package strategies_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// validFiles are the test's files that have no faults.
func validFiles() []string {
	return []string{"testdata/valid/loads_v2.json", "testdata/valid/everything.yaml"}
}

func TestPlansKeptAsJSONAreReadBackEqual(t *testing.T) {
	for _, file := range validFiles() {
		project, err := strategies.ParseFile(file, mustRead(t, file))
		if err != nil {
			t.Fatal(err)
		}
		project.UUID, project.Plans[0].UUID, project.Plans[0].Steps[0].UUID = "u1", "u2", "u3"
		data, err := json.Marshal(project)
		if err != nil {
			t.Fatal(err)
		}
		var got strategies.Project
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(project, got); diff != "" {
			t.Errorf("%s: project differs (-want +got):\n%s", file, diff)
		}
	}
}

func TestPlansWrittenAsJSONParseToTheSame(t *testing.T) {
	for _, file := range validFiles() {
		want, err := strategies.ParseFile(file, mustRead(t, file))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.MarshalIndent(want, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		got, err := strategies.Parse("again.json", data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: project differs (-want +got):\n%s", file, diff)
		}
	}
}

func TestUnmarshalFillsDefaultsAndIgnoresUnknownKeys(t *testing.T) {
	var got strategies.Plan
	data := `{"name": "p", "created_at": "2026-01-01", "steps": [
		{"name": "s", "container_name": "alpine", "plan_id": 7, "ready": {"health": true}, "start_after": ["a", {"step": "b"}]}]}`
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	want := strategies.Plan{Name: "p", Steps: []strategies.Step{step("s", func(s *strategies.Step) {
		s.Ready = &strategies.Ready{Health: true, Timeout: 60}
		s.StartAfter = []strategies.StartAfter{{Step: "a", Event: strategies.EventReady}, {Step: "b", Event: strategies.EventReady}}
	})}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan differs (-want +got):\n%s", diff)
	}
}

func TestEnvironmentKeepsItsOrderInJSON(t *testing.T) {
	for _, data := range []string{`{"Z":"1","A":"<&>","M":"true"}`, `["Z=1","A=<&>","M=true"]`, `{"Z":1,"A":"<&>","M":true}`} {
		var env strategies.Environment
		if err := json.Unmarshal([]byte(data), &env); err != nil {
			t.Fatal(err)
		}
		want := strategies.Environment{{Name: "Z", Value: "1"}, {Name: "A", Value: "<&>"}, {Name: "M", Value: "true"}}
		if diff := cmp.Diff(want, env); diff != "" {
			t.Errorf("%s: environment differs (-want +got):\n%s", data, diff)
		}
		got, err := json.Marshal(env)
		if err != nil || string(got) != `{"Z":"1","A":"\u003c\u0026\u003e","M":"true"}` {
			t.Errorf("got %s, error %v", got, err)
		}
	}
	got, err := json.Marshal(strategies.Environment(nil))
	if err != nil || string(got) != "{}" {
		t.Errorf("got %s, error %v; want {}", got, err)
	}
}

func TestUnmarshalSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, data, want string
		into             any
	}{
		{"a step's field of the wrong type", `{"steps": [{"run_delay": "soon"}]}`, "1:26: steps[0].run_delay: \"soon\" is text; give a whole number", new(strategies.Plan)},
		{"a variable given twice", `{"A": 1, "A": 2}`, "1:10: A is given twice, first on line 1; leave one", new(strategies.Environment)},
		{"a size that is none", `"much"`, `1:1: "much" is not a size; give bytes, or a size such as 512m or 2g`, new(strategies.Bytes)},
		{"a limit that is none", `[1]`, "1:1: is a list; give a number, or soft:hard", new(strategies.Ulimit)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(c.data), c.into); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestBytesAndLimitsHaveAShortForm(t *testing.T) {
	var got struct {
		Memory []strategies.Bytes
		Limits []strategies.Ulimit
		After  []strategies.StartAfter
	}
	data := `{"memory": [1024, "6m", "2g", "1.5k"], "limits": [5, "5", "5:9", "unlimited", {"soft": 1, "hard": 2}],
		"after": ["a", {"step": "b", "event": "end"}]}`
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]strategies.Bytes{1024, 6 << 20, 2 << 30, 1536}, got.Memory); diff != "" {
		t.Errorf("sizes differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]strategies.Ulimit{{Soft: 5, Hard: 5}, {Soft: 5, Hard: 5}, {Soft: 5, Hard: 9}, {Soft: -1, Hard: -1}, {Soft: 1, Hard: 2}}, got.Limits); diff != "" {
		t.Errorf("limits differ (-want +got):\n%s", diff)
	}
	want := []strategies.StartAfter{{Step: "a", Event: strategies.EventReady}, {Step: "b", Event: strategies.EventEnd}}
	if diff := cmp.Diff(want, got.After); diff != "" {
		t.Errorf("waits differ (-want +got):\n%s", diff)
	}
}
