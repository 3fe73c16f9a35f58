package metrics

import (
	"strings"
	"unicode"
)

// MergedSuffix ends the names of measurements that are merged over all
// machines of a run; the others are of one machine. They are apart so that a
// sum over a measurement counts nothing twice.
const MergedSuffix = "_merged"

// LedgerMeasurement is the measurement of what each machine's relay has
// received so far.
const LedgerMeasurement = "loads_ledger"

// Measurement returns a metric's name in a database of time series, as
// Telegraf's statsd input writes it: with its separator of parts, "_", for the
// dots.
func Measurement(name string) string { return Printable(strings.ReplaceAll(name, ".", "_")) }

// Printable replaces what InfluxDB's line protocol can't carry at every place:
// control characters and backslashes.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\\' || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, text)
}
