package broker

import (
	"context"

	"github.com/loads/loads/metrics"
)

// A Dossier is all that a report of a run is written from.
type Dossier struct {
	Report
	Lines  []metrics.Line     // each metric second by second, merged over all machines
	Busy   []metrics.HostLine // how busy the machines' processors were over time, in percent
	Events []Event
	Tails  []LogTail // by step and machine; none unless asked for
}

// A LogTail is the end of one container's output.
type LogTail struct {
	Step    string
	Machine int // index in the step
	Lines   []LogLine
	Fault   string // why the output could not be read; empty when it could
}

// Dossier returns what there is to say of a run so far, with the last tail
// lines of each container's output; none when tail is 0. An output that can't
// be read, for example as its machine is gone, is no error: its LogTail says so.
func (b *Broker) Dossier(ctx context.Context, runUUID string, tail int) (Dossier, error) {
	var d Dossier
	var err error
	if d.Report, err = b.Report(ctx, runUUID); err != nil {
		return Dossier{}, err
	}
	if d.Lines, err = b.Series(ctx, runUUID, metrics.Query{}); err != nil {
		return Dossier{}, err
	}
	if d.Busy, err = b.HostSeries(ctx, runUUID, metrics.HostQuery{Measurement: "cpu", Field: "usage_active"}); err != nil {
		return Dossier{}, err
	}
	if d.Events, err = b.Events(ctx, runUUID, 0); err != nil {
		return Dossier{}, err
	}
	if tail > 0 {
		d.Tails, err = b.logTails(ctx, d.Report, tail)
	}
	return d, err
}

func (b *Broker) logTails(ctx context.Context, r Report, tail int) ([]LogTail, error) {
	tails := make([]LogTail, 0, len(r.Machines))
	for _, m := range r.Machines {
		if r.Run.Plan.Steps[m.Step].Monitor {
			continue
		}
		t := LogTail{Step: r.Run.Plan.Steps[m.Step].Name, Machine: m.Index}
		q := LogQuery{Step: t.Step, Machine: &m.Index, Tail: tail}
		err := b.Logs(ctx, r.Run.UUID, q, func(l LogLine) error {
			t.Lines = append(t.Lines, l)
			return nil
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			t.Fault = err.Error()
		}
		tails = append(tails, t)
	}
	return tails, nil
}
