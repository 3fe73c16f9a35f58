package broker

import (
	"testing"
	"time"
)

func TestHowLongMoneyLasts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		purse purse
		want  time.Duration
		more  bool
	}{
		{"some hours, but for the time a machine may overrun", purse{max: 10, spent: 4, rate: 2}, 3*time.Hour - overrun, false},
		{"more is spent than there was", purse{max: 1, spent: 3, rate: 2}, -time.Hour - overrun, false},
		{"far more is spent, and machines are cheap", purse{max: 1, spent: 1e6, rate: 0.0001}, -forever - overrun, false},
		{"machines are very cheap", purse{max: 1e6, rate: 1e-9}, forever - overrun, false},
		{"there is no limit", purse{spent: 4, rate: 2}, 0, true},
		{"no machine costs anything", purse{max: 10, spent: 4}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			left, enough := tt.purse.lasts()
			if left != tt.want || enough != tt.more {
				t.Errorf("got %v, %v; want %v, %v", left, enough, tt.want, tt.more)
			}
		})
	}
}
