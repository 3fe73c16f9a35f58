package broker_test

import (
	"testing"

	"github.com/loads/loads/broker"
)

func TestReceipt_IsASentence(t *testing.T) {
	for _, row := range []struct {
		name    string
		receipt broker.Receipt
		want    string
	}{
		{"all ended", broker.Receipt{Pool: "ec2", Launched: 1, Terminated: 1}, "ec2 says: 1 machine launched, 1 terminated; nothing else is left."},
		{
			"used again and kept",
			broker.Receipt{Pool: "ec2", Launched: 2, Reused: 3, Terminated: 1, Kept: 4},
			"ec2 says: 2 machines launched, 3 used again, 1 terminated, 4 kept for the next run; nothing else is left.",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.receipt.String(); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
