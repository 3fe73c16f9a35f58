package broker

import (
	"testing"
	"time"
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
