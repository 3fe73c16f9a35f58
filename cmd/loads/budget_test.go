package main

import (
	"strings"
	"testing"
)

func TestBudget_IsShownAndSet(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t)
	for _, tt := range []struct {
		desc string
		args []string
		code int
		want string
	}{
		{"a project to have one", []string{"import", "../../examples/quickstart.yaml"}, 0, "quickstart"},
		{"none at first", []string{"budget", "quickstart"}, 0, "may cost what they like"},
		{"one that is set", []string{"budget", "quickstart", "20"}, 0, "limit        20.00 USD in 30 days"},
		{"it is kept", []string{"budget", "quickstart"}, 0, "left         20.00 USD"},
		{"as JSON", []string{"budget", "quickstart", "--json"}, 0, `"max_usd":20`},
		{"no number", []string{"budget", "quickstart", "a lot"}, 1, `the sum is "a lot"; give USD`},
		{"less than nothing", []string{"budget", "quickstart", "--", "-5"}, 1, "max_cost: -5 is not a sum"},
		{"none again", []string{"budget", "quickstart", "0"}, 0, "may cost what they like"},
		{"no such project", []string{"budget", "nobody"}, 1, "nobody"},
	} {
		i := newInvocation(t)
		i.env["LOADS_BROKER"] = url
		code := i.run(t, tt.args...)
		stdout, stderr := i.stdout.String(), i.stderr.String()
		if code != tt.code || !strings.Contains(strings.ReplaceAll(stdout+stderr, " ", ""), strings.ReplaceAll(tt.want, " ", "")) {
			t.Errorf("%s: exit code %d, %q, %q; want %d and %q", tt.desc, code, stdout, stderr, tt.code, tt.want)
		}
	}
}
