package db

import (
	"context"
	"fmt"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

const (
	blocksOfRun = "SELECT step_idx, body FROM series_block WHERE run_id = ? ORDER BY id"
	totalsOfRun = "SELECT step_idx, body FROM series_total WHERE run_id = ? ORDER BY id"
)

// ReadSeries makes the series of a run from all that is stored of it, condensed
// or not, as of one moment.
func (d *DB) ReadSeries(ctx context.Context, runUUID string) (*metrics.Series, error) {
	return d.readSeries(ctx, runUUID, blocksOfRun)
}

// ReadTotals is like ReadSeries, but what has been condensed is in the series'
// Summary and Hosts only. It reads little, however long the run was.
func (d *DB) ReadTotals(ctx context.Context, runUUID string) (*metrics.Series, error) {
	return d.readSeries(ctx, runUUID, totalsOfRun)
}

func (d *DB) readSeries(ctx context.Context, runUUID, condensed string) (*metrics.Series, error) {
	s := metrics.NewSeries()
	err := d.read(ctx, "read series", func(ctx context.Context, t *tx) error {
		run, err := findRun(ctx, t, runUUID)
		if err != nil {
			return err
		}
		key, err := findRunKey(ctx, t, runUUID)
		if err != nil {
			return err
		}
		name := func(step int) string { return run.Plan.Steps[step].Name }
		err = d.eachBlock(ctx, t, condensed, key.ID, func(step int, b metrics.Block) { s.AddBlock(name(step), b) })
		if err != nil {
			return err
		}
		var ranges []frameRange
		err = t.SelectContext(ctx, &ranges, `SELECT r.machine_id, m.step_idx, m.idx, r.first, r.last
			FROM machine m JOIN frame_range r ON r.machine_id = m.id WHERE m.run_id = ?`, key.ID)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			s.Skip(name(r.Step), r.Index, r.First, r.Last)
		}
		return d.addFrames(ctx, t, &run, s)
	})
	return s, err
}

// addFrames adds the frames that are not condensed.
func (d *DB) addFrames(ctx context.Context, t *tx, run *broker.Run, s *metrics.Series) error {
	list, err := machines(ctx, t, "WHERE r.uuid = ?", run.UUID)
	if err != nil {
		return err
	}
	byID := make(map[int64]broker.Machine, len(list))
	for _, m := range list {
		byID[m.ID] = m
	}
	stop, err := d.eachFrame(ctx, t, run.UUID, func(f broker.StoredFrame) error {
		frame, err := metrics.DecodeStored(f.Body)
		if err != nil {
			return fmt.Errorf("frame %d of machine %d: %w", f.Seq, f.MachineID, err)
		}
		m := byID[f.MachineID]
		s.Add(run.Plan.Steps[m.Step].Name, m.Index, frame)
		return nil
	})
	if stop != nil {
		return stop
	}
	return err
}

// eachBlock calls yield for each block that the query selects.
func (d *DB) eachBlock(ctx context.Context, t *tx, query string, runID int64, yield func(step int, b metrics.Block)) error {
	rows, err := t.QueryContext(ctx, query, runID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var step int
		var body []byte
		if err := rows.Scan(&step, &body); err != nil {
			return err
		}
		b, err := d.decodeBlock(body)
		if err != nil {
			return err
		}
		yield(step, b)
	}
	return rows.Err()
}

func (d *DB) decodeBlock(body []byte) (metrics.Block, error) {
	opened, err := d.bodies.unpack(body)
	if err != nil {
		return metrics.Block{}, err
	}
	return metrics.DecodeBlock(opened)
}
