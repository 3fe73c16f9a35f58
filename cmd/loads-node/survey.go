package main

import (
	"context"
	"encoding/json"

	"github.com/loads/loads/relay/hoststats"
)

// runSurvey prints what is to be known of a machine before it is used again.
func runSurvey(ctx context.Context, p program, args []string) error {
	if _, err := p.parse(p.flags("survey"), args, 0); err != nil {
		return err
	}
	found, err := hoststats.Survey(ctx, "/", "/host/proc", "/proc/self/cgroup")
	if err != nil {
		return err
	}
	return json.NewEncoder(p.stdout).Encode(found)
}
