package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/loads/loads/strategies"
)

func TestCalm_KeepsStartsFromFrames(t *testing.T) {
	second := time.Date(2026, 11, 21, 12, 0, 7, 0, time.UTC)
	for _, row := range []struct {
		name     string
		at, want time.Duration
		n        int
	}{
		{"one machine is late by less than a millisecond", 0, 400 * time.Microsecond, 1},
		{"ten, after their frames", 5 * time.Millisecond, 5 * time.Millisecond, 10},
		{"a thousand, while frames come", 100 * time.Millisecond, 400 * time.Millisecond, 1000},
		{"a thousand, between frames", 600 * time.Millisecond, 600 * time.Millisecond, 1000},
		{"a thousand, into the next frames", 970 * time.Millisecond, 1400 * time.Millisecond, 1000},
		{"more than fit between frames", 0, 500 * time.Millisecond, 20_000},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := calm(second.Add(row.at), row.n).Sub(second); got != row.want {
				t.Errorf("got %v after the second, want %v", got, row.want)
			}
		})
	}
}

// Programs that wait for LOADS_START_AT begin together though clocks are wrong.
func TestLoadsStartIsByTheMachinesClock(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	x := newExecution(New(Config{}), Run{Plan: strategies.Plan{Steps: []strategies.Step{{Name: "s", ContainerName: "loads/node", InstanceCount: 1}}}})
	for _, c := range []struct {
		name          string
		offset, error time.Duration
		start         time.Time
		want          int64
	}{
		{"right", 0, time.Millisecond, start, 1_001_000},
		{"right as far as is known", 90 * time.Millisecond, 100 * time.Millisecond, start, 1_001_000},
		{"two seconds ahead", 2 * time.Second, 100 * time.Millisecond, start, 1_003_000},
		{"two seconds behind", -2 * time.Second, 100 * time.Millisecond, start, 999_000},
		{"without a start", 2 * time.Second, 100 * time.Millisecond, time.Time{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := x.resolve(&machine{Machine: Machine{ClockOffset: c.offset, ClockError: c.error}}, c.start)
			if err != nil {
				t.Fatal(err)
			}
			if got := strategies.Environment(r.Env).Map()["LOADS_START_AT"]; got != fmt.Sprint(c.want) {
				t.Errorf("it begins at %s, want %d", got, c.want)
			}
		})
	}
}
