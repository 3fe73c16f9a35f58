package report

import (
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

func TestEveryFormTellsWhatMachinesCostAndWhatIsLeft(t *testing.T) {
	d := dossierOf(load{seed: 1, seconds: 5, latency: 30, rate: 40})
	d.Run.Cost = &broker.Cost{Pool: "ec2", WorstUSD: 12.5, MaxUSD: 20}
	d.Run.Receipts = []broker.Receipt{{
		At: begin, Pool: "ec2", Launched: 2, Terminated: 1,
		Left: []broker.Remainder{{Kind: "volume", ID: "vol-1", Region: "us-west-2", State: "available"}},
	}}
	d.Archive = &broker.Archive{URL: "s3://runs/7.tar.gz", Size: 42, SHA256: "c0ffee", Checksum: "abc=-1", Done: true}
	d.Machines[0].HourUSD, d.Machines[0].LaunchedAt, d.Machines[0].ReleasedAt = 3, at(0), new(at(0).Add(30*time.Minute))
	for name, tt := range map[string]struct {
		write Writer
		want  []string
	}{
		"html":     {HTML, []string{"Cost and receipt", "1.50 USD", "12.50 USD", "20.00 USD", "ec2 says: 2 machines launched, 1 terminated; left are volume vol-1.", "s3://runs/7.tar.gz, 42 bytes, SHA-256 c0ffee"}},
		"markdown": {Markdown, []string{"1.50 USD", "12.50 USD", "20.00 USD", "2 machines launched, 1 terminated; left are volume vol-1.", "s3://runs/7.tar.gz, 42 bytes, SHA-256 c0ffee"}},
		"json":     {JSON, []string{`"spent_usd": 1.5,`, `"worst_usd": 12.5,`, `"max_usd": 20`, `"id": "vol-1"`, `"usd_per_hour": 3`, `"url": "s3://runs/7.tar.gz"`, `"sha256": "c0ffee"`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(mustWrite(t, tt.write, d))
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in it", want)
				}
			}
		})
	}
}
