package metrics_test

import (
	"testing"

	"github.com/loads/loads/metrics"
)

func TestLedgerSaysHowItStands(t *testing.T) {
	for _, test := range []struct {
		name   string
		ledger metrics.Ledger
		over   bool
		want   string
	}{
		{"all came", metrics.Ledger{Sent: 9, Stored: 9, Balance: true}, true, "balanced"},
		{"it goes on", metrics.Ledger{Sent: 9, Stored: 8, Open: 2}, false, "more to come"},
		{"frames lost", metrics.Ledger{Sent: 9, Stored: 7, Broken: 1}, true, "NOT balanced: 2 frames missing, 1 broken"},
		{"machines lost", metrics.Ledger{Sent: 9, Stored: 9, Open: 2}, true, "NOT balanced: machines without their last frame: 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.ledger.Standing(test.over); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
