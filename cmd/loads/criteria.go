package main

import (
	"fmt"
	"io"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// writeCriteria prints what became of a run's criteria, and what was at fault
// with the instrument.
func writeCriteria(w io.Writer, r api.Run) error {
	if len(r.Criteria) > 0 {
		var t table
		t.row("criterion", "state", "value", "limit", "")
		for _, c := range r.Criteria {
			t.row(c.Name, string(c.State), valueOf(c), orDash(c.Bound), c.Detail)
		}
		if err := t.write(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	for _, fault := range r.Instrument {
		fmt.Fprintf(w, "instrument at fault: %s\n", fault)
	}
	return nil
}

func valueOf(c broker.CriterionResult) string {
	if c.Value == nil {
		return "-"
	}
	return figure(*c.Value)
}
