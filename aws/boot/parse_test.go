package boot_test

import (
	"testing"
	"time"

	"github.com/loads/loads/aws/boot"
)

func TestParseRenewal(t *testing.T) {
	written, err := boot.Renewal{Term: 2, Seq: 7, Lease: time.Minute, End: time.Hour}.File()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		want       boot.Renewal // zero for none
	}{
		{"what File writes", string(written), boot.Renewal{Term: 2, Seq: 7, Lease: time.Minute, End: time.Hour}},
		{"without the end of the line", "loads-lease 0 1 5 6 .", boot.Renewal{Seq: 1, Lease: 5 * time.Second, End: 6 * time.Second}},
		{"nothing of the lease left", "loads-lease 0 1 0 6 .\n", boot.Renewal{Seq: 1, End: 6 * time.Second}},
		{"cut off", "loads-lease 0 1 5 6", boot.Renewal{}},
		{"cut off within a number", "loads-lease 0 1 5", boot.Renewal{}},
		{"another word", "loads-state 0 1 5 6 .\n", boot.Renewal{}},
		{"a number too long", "loads-lease 0 1 5 1000000000000000 .\n", boot.Renewal{}},
		{"a number with a zero before it", "loads-lease 0 1 05 6 .\n", boot.Renewal{}},
		{"a number below zero", "loads-lease 0 1 -5 6 .\n", boot.Renewal{}},
		{"one word more", "loads-lease 0 1 5 6 7 .\n", boot.Renewal{}},
		{"nothing", "", boot.Renewal{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := boot.ParseRenewal([]byte(row.text))
			if got != row.want || (err == nil) != (row.want != boot.Renewal{}) {
				t.Errorf("got %+v, %v; want %+v", got, err, row.want)
			}
		})
	}
}
