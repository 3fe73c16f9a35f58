package report

import (
	"fmt"
	"time"

	"github.com/loads/loads/broker"
)

// rentedLines say what rented machines have cost, could have cost, and what
// their providers say is left of them; nothing for runs that rented none.
func rentedLines(d broker.Dossier) []count {
	var lines []count
	if c := d.Run.Cost; c != nil {
		lines = append(lines,
			count{"cost of the machines, about", usd(spent(d))},
			count{"worst possible bill, as known at the start", usd(c.WorstUSD)})
		if c.Partial {
			lines = append(lines, count{"prices", "not all were known"})
		}
		if c.MaxUSD > 0 {
			lines = append(lines, count{"limit", usd(c.MaxUSD)})
		}
	}
	for _, i := range d.Run.Images {
		lines = append(lines, count{"image", i.String()})
	}
	for _, r := range d.Run.Receipts {
		lines = append(lines, count{"receipt of " + instant(&r.At) + " UTC", r.String()})
	}
	return lines
}

// archiveLine says where the run is archived; empty when it is not.
func archiveLine(d broker.Dossier) string {
	if d.Archive == nil {
		return ""
	}
	return d.Archive.String()
}

// spent is what the machines have cost so far, in USD.
func spent(d broker.Dossier) float64 { return d.SpentUSD(time.Now()) }

func usd(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.4f USD", v)
	}
	return fmt.Sprintf("%.2f USD", v)
}

func markdownRented(out *errWriter, d broker.Dossier) {
	lines := rentedLines(d)
	if len(lines) == 0 {
		return
	}
	rows := [][]string{{"rented machines", ""}}
	for _, line := range lines {
		rows = append(rows, []string{line.Name, line.Value})
	}
	out.table("Cost and receipt", rows, 0)
}
