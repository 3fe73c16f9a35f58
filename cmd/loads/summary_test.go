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

func TestTheBusiestMachinesAreListed(t *testing.T) {
	var r api.Report
	for i := range 12 {
		r.Hosts = append(r.Hosts, metrics.HostSummary{
			Step: "users", Machine: i, CPU: &metrics.Level{Mean: 1, Max: float64(10 + i)}, Memory: &metrics.Level{Max: 50},
		})
	}
	r.Hosts = append(r.Hosts, metrics.HostSummary{Step: "web", Steal: &metrics.Level{Max: 5}}) // told nothing of its processors
	r.Hosts[3].CPU.Max, r.Hosts[3].Steal = 99.96, &metrics.Level{Max: 2.25}
	var out strings.Builder
	if err := writeHosts(&out, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 12 || !strings.HasPrefix(lines[1], "users/3 ") || !strings.HasPrefix(lines[2], "users/11 ") || !strings.HasPrefix(lines[10], "users/2 ") {
		t.Errorf("got %s, want a head, the ten with the highest maximum from users/3 to users/2, and how many are left out", out.String())
	}
	if got, want := strings.Join(strings.Fields(lines[1]), " "), "users/3 1.0 % 100.0 % 2.2 % 50.0 %"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := lines[len(lines)-1], "2 more machines were less busy"; got != want {
		t.Errorf("got %q at the end, want %q", got, want)
	}
	out.Reset()
	if err := writeHosts(&out, api.Report{}); err != nil || out.String() != "The machines told nothing of themselves.\n" {
		t.Errorf("without machines: got %q, %v", out.String(), err)
	}
}
