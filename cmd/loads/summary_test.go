package main

import (
	"strings"
	"testing"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

func TestLedgerSaysWhatWasLostAndShowsExamples(t *testing.T) {
	var clean, lossy strings.Builder
	r := api.Report{Run: api.Run{State: broker.Completed}}
	r.Ledger = metrics.Ledger{Sent: 3, Stored: 3, Balance: true}
	if err := writeLedger(&clean, r); err != nil {
		t.Fatal(err)
	}
	if got, want := clean.String(), "frames: 3 sent, 3 stored, 0 broken; balanced\nvalues: 0 in 0 datagrams, 0 malformed, 0 dropped\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.Ledger.KernelDropped, r.Ledger.Malformed, r.Ledger.Dropped = 7, 1, 2
	r.Ledger.LogLines, r.Ledger.LogValues, r.Ledger.LogMalformed = 120, 60, 3
	r.Ledger.LogLost, r.Ledger.LogGaps = 4096, 1
	r.Ledger.Notes = &metrics.Notes{Malformed: []string{"x\x1b: type is unknown"}, Dropped: []string{"one.more"}}
	if err := writeLedger(&lossy, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LOST before they were read: 7 datagrams, dropped by a kernel; 0 TCP connections, refused\n",
		"output: 120 lines read, 60 values, 3 malformed\n",
		"LOST before it was read: 4096 bytes of output, and 1 times as much as nobody knows\n",
		`malformed, for example: "x\x1b: type is unknown"` + "\n", `over the series limit, for example: "one.more"` + "\n",
	} {
		if !strings.Contains(lossy.String(), want) {
			t.Errorf("got %q, want %q in it", lossy.String(), want)
		}
	}
}
