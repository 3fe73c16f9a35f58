package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// passMs is the longest time, in ms, that is condensed in one transaction: it
// bounds what is in memory, how long other writes wait, and how much is written
// to the log. Passes end at its multiples, so none is of two minutes.
const passMs = 20_000

// openFrames is after how many frames of a pass those of the machines so far are
// condensed in memory: with a thousand machines a pass has twenty thousand.
const openFrames = 1000

// Condense replaces the run's frames up to the time until (Unix ms) by what
// metrics.Series.Condense makes of them. The newest frame of each machine
// stays, since it carries the relay's account. Frames, numbers and totals
// change in one transaction for each part of a minute: a process that is killed
// leaves a part condensed or not. Nothing happens while the run waits for an export. It
// may be called while frames are added.
func (d *DB) Condense(ctx context.Context, runUUID string, until int64) error {
	d.condensing.Lock()
	defer d.condensing.Unlock()
	for {
		var p *condensation
		err := d.read(ctx, "read frames to condense", func(ctx context.Context, t *tx) (err error) {
			p, err = d.nextCondensation(ctx, t, runUUID, until)
			return err
		})
		if err != nil || p == nil {
			return err
		}
		// Not broken off half way: settings of the connection change meanwhile.
		if err := d.write(context.WithoutCancel(ctx), "condense frames", p.store); err != nil {
			return err
		}
	}
}

// A condensation is the frames of a part of a minute and what they become.
type condensation struct {
	runID          int64
	ranges         []frameRange
	blocks, totals map[int][]byte // packed, by index of the step
	// grown are the ids of those blocks that hold the minute's earlier parts,
	// which the new ones replace, by index of the step.
	grown map[int]int64
}

// frameRange names frames of a machine whose numbers follow each other.
type frameRange struct {
	MachineID int64  `db:"machine_id"`
	Step      int    `db:"step_idx"`
	Index     int    `db:"idx"`
	First     uint64 `db:"first"`
	Last      uint64 `db:"last"`
}

// condensable are the frames that can be condensed. Sorted as they are read.
const condensable = `FROM machine m JOIN frame f ON f.machine_id = m.id
	WHERE m.run_id = ? AND f.seq < m.frame_seq AND f.at <= ?`

// awaitsExport says whether the run's frames are still to be exported: what a
// machine sends late is merged with what others have sent, so all stay until
// the end.
const awaitsExport = `SELECT EXISTS (SELECT 1 FROM run r
	JOIN meta m ON m.name = ?2 AND r.id >= CAST(m.value AS INTEGER)
	LEFT JOIN export e ON e.run_id = r.id WHERE r.id = ?1 AND coalesce(e.done, 0) = 0)
	OR EXISTS (SELECT 1 FROM monitor_export WHERE run_id = ?1 AND done = 0)`

// nextCondensation returns that of the oldest frames, nil when there is none.
func (d *DB) nextCondensation(ctx context.Context, t *tx, runUUID string, until int64) (*condensation, error) {
	key, err := findRunKey(ctx, t, runUUID)
	if err != nil {
		return nil, err
	}
	var waits bool
	if err := t.GetContext(ctx, &waits, awaitsExport, key.ID, exportFrom); err != nil || waits {
		return nil, err
	}
	var oldest *int64
	if err := t.GetContext(ctx, &oldest, "SELECT min(f.at) "+condensable, key.ID, until); err != nil || oldest == nil {
		return nil, err
	}
	p := &condensation{runID: key.ID}
	pass, err := d.readPass(ctx, t, p, min(until, (*oldest+passMs-1)/passMs*passMs))
	if err != nil {
		return nil, err
	}
	blocks := pass.Blocks()
	sum := metrics.NewSeries()
	if err := d.eachBlock(ctx, t, totalsOfRun, key.ID, func(step int, b metrics.Block) { sum.AddBlock(strconv.Itoa(step), b) }); err != nil {
		return nil, err
	}
	for step, b := range blocks {
		sum.AddBlock(step, b)
	}
	if p.totals, err = d.packBlocks(sum.Totals()); err != nil {
		return nil, err
	}
	if err := d.growBlocks(ctx, t, p, blocks); err != nil {
		return nil, err
	}
	p.blocks, err = d.packBlocks(blocks)
	return p, err
}

// growBlocks adds to each block the one stored last for its step, if that is of
// the same minute: so a machine has one sketch a minute, however many parts the
// minute was condensed in.
func (d *DB) growBlocks(ctx context.Context, t *tx, p *condensation, blocks map[string]metrics.Block) error {
	p.grown = make(map[int]int64)
	var last []struct {
		ID   int64  `db:"id"`
		Step int    `db:"step_idx"`
		Body []byte `db:"body"`
	}
	err := t.SelectContext(ctx, &last, `SELECT id, step_idx, body FROM series_block
		WHERE id IN (SELECT max(id) FROM series_block WHERE run_id = ? GROUP BY step_idx)`, p.runID)
	if err != nil {
		return err
	}
	for _, l := range last {
		step := strconv.Itoa(l.Step)
		fresh, ok := blocks[step]
		if !ok {
			continue
		}
		before, err := d.decodeBlock(l.Body)
		if err != nil {
			return err
		}
		if minute, whole := before.Minute(); !whole {
			continue
		} else if own, whole := fresh.Minute(); !whole || own != minute {
			continue
		}
		s := metrics.NewSeries()
		s.AddBlock(step, before)
		s.AddBlock(step, fresh)
		blocks[step], p.grown[l.Step] = s.Blocks()[step], l.ID
	}
	return nil
}

// readPass makes a condensed series of the frames up to the time, its steps
// named by their indexes, and notes their numbers.
func (d *DB) readPass(ctx context.Context, t *tx, p *condensation, until int64) (*metrics.Series, error) {
	rows, err := t.QueryContext(ctx, "SELECT f.machine_id, m.step_idx, m.idx, f.seq, f.body "+condensable+
		" ORDER BY m.step_idx, m.idx, f.seq", p.runID, until)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	s, open := metrics.NewSeries(), 0
	for rows.Next() {
		var r frameRange
		var body []byte
		if err := rows.Scan(&r.MachineID, &r.Step, &r.Index, &r.First, &body); err != nil {
			return nil, err
		}
		f, err := d.decodeFrame(body)
		if err != nil {
			return nil, fmt.Errorf("frame %d of machine %d: %w", r.First, r.MachineID, err)
		}
		if n := len(p.ranges); open >= openFrames && p.ranges[n-1].MachineID != r.MachineID {
			s.Condense(s.Newest())
			open = 0
		}
		open++
		s.Add(strconv.Itoa(r.Step), r.Index, f)
		if n := len(p.ranges); n > 0 && p.ranges[n-1].MachineID == r.MachineID && p.ranges[n-1].Last+1 == r.First {
			p.ranges[n-1].Last = r.First
			continue
		}
		r.Last = r.First
		p.ranges = append(p.ranges, r)
	}
	s.Condense(s.Newest())
	return s, rows.Err()
}

func (d *DB) decodeFrame(body []byte) (metrics.Frame, error) {
	opened, err := d.bodies.unpack(body)
	if err != nil {
		return metrics.Frame{}, err
	}
	return metrics.DecodeStored(opened)
}

func (d *DB) packBlocks(blocks map[string]metrics.Block) (map[int][]byte, error) {
	packed := make(map[int][]byte, len(blocks))
	for name, b := range blocks {
		step, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("pack blocks: %w", err)
		}
		encoded, err := metrics.EncodeBlock(b)
		if err != nil {
			return nil, err
		}
		packed[step] = d.bodies.small.EncodeAll(encoded, nil)
	}
	return packed, nil
}

// store puts the condensation in the place of its frames.
func (p *condensation) store(ctx context.Context, t *tx) (err error) {
	// Settings are the connection's. The log grows by all that is overwritten;
	// the write after this one cuts it to this size. Frames hold no secrets, so
	// their pages need not be overwritten, which would be most of what is written.
	if _, err := t.ExecContext(ctx, "PRAGMA journal_size_limit = 4194304"); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "PRAGMA secure_delete = fast"); err != nil {
		return err
	}
	defer func() {
		_, restoring := t.ExecContext(ctx, "PRAGMA secure_delete = on")
		err = errors.Join(err, restoring)
	}()
	return p.replace(ctx, t)
}

// replace deletes the frames and writes what they have become.
func (p *condensation) replace(ctx context.Context, t *tx) error {
	for _, r := range p.ranges {
		n, err := affected(t.ExecContext(ctx, "DELETE FROM frame WHERE machine_id = ? AND seq BETWEEN ? AND ?", r.MachineID, r.First, r.Last))
		if err != nil {
			return err
		}
		if uint64(n) != r.Last-r.First+1 { // its run is deleted
			return broker.Errorf(broker.ENotFound, "Frames %d to %d of the machine of id %d are gone.", r.First, r.Last, r.MachineID)
		}
		if err := addRange(ctx, t, r); err != nil {
			return err
		}
	}
	for step, body := range p.blocks {
		if id, ok := p.grown[step]; ok {
			if _, err := t.ExecContext(ctx, "UPDATE series_block SET body = ? WHERE id = ?", body, id); err != nil {
				return err
			}
			continue
		}
		if _, err := t.ExecContext(ctx, "INSERT INTO series_block (run_id, step_idx, body) VALUES (?, ?, ?)", p.runID, step, body); err != nil {
			return err
		}
	}
	for step, body := range p.totals {
		if _, err := t.ExecContext(ctx, `INSERT INTO series_total (run_id, step_idx, body) VALUES (?, ?, ?)
			ON CONFLICT (run_id, step_idx) DO UPDATE SET body = excluded.body`, p.runID, step, body); err != nil {
			return err
		}
	}
	return nil
}

// addRange notes condensed numbers, as few ranges when they come in order.
func addRange(ctx context.Context, t *tx, r frameRange) error {
	n, err := affected(t.ExecContext(ctx, "UPDATE frame_range SET last = ? WHERE machine_id = ? AND last = ?", r.Last, r.MachineID, r.First-1))
	if err != nil || n > 0 {
		return err
	}
	_, err = t.ExecContext(ctx, "INSERT INTO frame_range (machine_id, first, last) VALUES (?, ?, ?)", r.MachineID, r.First, r.Last)
	return err
}
