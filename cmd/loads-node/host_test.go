package main

import (
	"strings"
	"syscall"
	"testing"
)

func TestRelayTellsOfItsMachineUnlessToldNotTo(t *testing.T) {
	relay, _ := startRelay(t)
	await(t, relay.stdout, `("usage_active":)`) // in the second frame: the first begins the measuring
	endRelay(t, relay, syscall.SIGTERM)

	quiet, _ := startRelay(t, "--host=false")
	await(t, quiet.stdout, `("q":2)`)
	endRelay(t, quiet, syscall.SIGTERM)
	if out := quiet.stdout.String(); strings.Contains(out, `"h":`) {
		t.Errorf("got %s, want frames without a host", out)
	}
}
