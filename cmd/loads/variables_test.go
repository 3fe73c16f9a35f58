package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

func TestEnvironmentOfTheRun(t *testing.T) {
	file := writeFile(t, "env", "# rates\n\nRATE = 5\nHOST=a=b\nUSER_NAME\n")
	here := map[string]string{"USER_NAME": "alice", "SECRET_KEY": "s3cret"}
	tests := []struct {
		desc string
		give variables
		want strategies.Environment
	}{
		{"nothing given is nothing", variables{}, nil},
		{"a flag sets, and the last of a name wins", variables{assign: []string{"A=1", "B=2", "A=3"}}, strategies.Environment{{Name: "A", Value: "3"}, {Name: "B", Value: "2"}}},
		{"a bare name is taken from here", variables{assign: []string{"SECRET_KEY"}}, strategies.Environment{{Name: "SECRET_KEY", Value: "s3cret"}}},
		{"the value is all after the first =", variables{assign: []string{"Q=a=b "}}, strategies.Environment{{Name: "Q", Value: "a=b "}}},
		{
			"a file's lines come first, without the blanks around =",
			variables{file: file, assign: []string{"HOST=c"}},
			strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "HOST", Value: "c"}, {Name: "USER_NAME", Value: "alice"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			got, err := tt.give.environment(func(name string) string { return here[name] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEdits(t *testing.T) {
	got, err := edits([]string{"description=a=b", "steps.web.run_delay=5", `steps.web.start_after=["db"]`, "steps.web.ready=null", "steps.web.name={x"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"description": "a=b", "steps.web.run_delay": "5", "steps.web.start_after": []any{"db"},
		"steps.web.ready": nil, "steps.web.name": "{x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("edits (-want +got):\n%s", diff)
	}
}
