package db

import (
	"context"
	"fmt"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// AddFrames stores the frames with their words, ignoring those it has, and brings FrameSeq,
// FrameTime and FramesFinal of their machines up to date. broken is the number
// of broken lines by machine id; it is added to FramesBroken. ENotFound when a
// machine is gone; then nothing is stored.
func (d *DB) AddFrames(ctx context.Context, frames []broker.StoredFrame, broken map[int64]uint64) error {
	if len(frames) == 0 && len(broken) == 0 {
		return nil
	}
	return d.write(ctx, "add frames", func(ctx context.Context, t *tx) error {
		if err := d.insertFrames(ctx, t, frames); err != nil {
			return err
		}
		if err := insertWords(ctx, t, frames); err != nil {
			return err
		}
		return advance(ctx, t, frames, broken)
	})
}

// Frames calls yield for each frame of the run that has not been condensed, by
// step, machine and number.
// The frames are those of one moment, however long it takes; yield owns the
// frame. An error of yield ends it and is returned as it is. While it runs the
// write-ahead log only grows, and it holds a read connection, so yield should
// be quick and must not call the database.
func (d *DB) Frames(ctx context.Context, runUUID string, yield func(broker.StoredFrame) error) error {
	var stop error
	err := d.read(ctx, "read frames", func(ctx context.Context, t *tx) (err error) {
		stop, err = d.eachFrame(ctx, t, runUUID, yield)
		return err
	})
	if stop != nil {
		return stop
	}
	return err
}

// Ledger returns the account of the run's frames so far. A machine without a
// relay sends none, and is left out.
func (d *DB) Ledger(ctx context.Context, runUUID string) (l metrics.Ledger, err error) {
	err = d.read(ctx, "read ledger", func(ctx context.Context, t *tx) error {
		l, err = d.ledger(ctx, t, runUUID)
		return err
	})
	return l, err
}

func (d *DB) insertFrames(ctx context.Context, t *tx, frames []broker.StoredFrame) error {
	if len(frames) == 0 {
		return nil
	}
	// Not INSERT OR IGNORE, which would pass over a missing body in silence.
	insert, err := t.PrepareContext(ctx, `INSERT INTO frame (machine_id, seq, at, final, body) SELECT ?1, ?2, ?3, ?4, ?5
		WHERE NOT EXISTS (SELECT 1 FROM frame_range WHERE machine_id = ?1 AND first <= ?2 AND last >= ?2)
		ON CONFLICT (machine_id, seq) DO NOTHING`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, f := range frames {
		if _, err := insert.ExecContext(ctx, f.MachineID, f.Seq, f.At, f.Final, d.bodies.pack(f.Body)); err != nil {
			return fmt.Errorf("frame %d of machine %d: %w", f.Seq, f.MachineID, err)
		}
	}
	return nil
}

// progress is what a batch of frames says of one machine.
type progress struct {
	ID     int64  `db:"id"`
	Seq    uint64 `db:"seq"`  // highest number in the batch, 0 for none
	Time   int64  `db:"time"` // of that frame
	Final  bool   `db:"final"`
	Broken uint64 `db:"broken"`
}

// advance brings the machines' frame columns up to date. Frames may come again
// or out of order, so a column never goes back.
func advance(ctx context.Context, t *tx, frames []broker.StoredFrame, broken map[int64]uint64) error {
	for _, p := range progressOf(frames, broken) {
		n, err := affected(t.NamedExecContext(ctx, `UPDATE machine SET
			frame_time = CASE WHEN :seq > frame_seq THEN :time ELSE frame_time END,
			frame_seq = max(frame_seq, :seq), frames_final = max(frames_final, :final),
			frames_broken = frames_broken + :broken WHERE id = :id`, p))
		if err != nil {
			return err
		}
		if n == 0 {
			return broker.Errorf(broker.ENotFound, "There is no machine of id %d.", p.ID)
		}
	}
	return nil
}

func progressOf(frames []broker.StoredFrame, broken map[int64]uint64) map[int64]progress {
	all := make(map[int64]progress)
	for _, f := range frames {
		p := all[f.MachineID]
		p.ID = f.MachineID
		if f.Seq > p.Seq {
			p.Seq, p.Time = f.Seq, f.At
		}
		p.Final = p.Final || f.Final
		all[f.MachineID] = p
	}
	for id, n := range broken {
		p := all[id]
		p.ID, p.Broken = id, n
		all[id] = p
	}
	return all
}

// framesOfRun needs no sorting: the order is that of the two unique indexes.
const framesOfRun = `SELECT f.machine_id, f.seq, f.at, f.final, f.body
	FROM machine m JOIN frame f ON f.machine_id = m.id
	WHERE m.run_id = ? ORDER BY m.step_idx, m.idx, f.seq`

// eachFrame returns yield's error apart from the database's.
func (d *DB) eachFrame(ctx context.Context, t *tx, runUUID string, yield func(broker.StoredFrame) error) (stop, err error) {
	key, err := findRunKey(ctx, t, runUUID)
	if err != nil {
		return nil, err
	}
	rows, err := t.QueryContext(ctx, framesOfRun, key.ID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var f broker.StoredFrame
		if err := rows.Scan(&f.MachineID, &f.Seq, &f.At, &f.Final, &f.Body); err != nil {
			return nil, err
		}
		if f.Body, err = d.bodies.unpack(f.Body); err != nil {
			return nil, fmt.Errorf("frame %d of machine %d: %w", f.Seq, f.MachineID, err)
		}
		if err := yield(f); err != nil {
			return err, nil
		}
	}
	return nil, rows.Err()
}

// account is what the database knows of one machine's frames.
type account struct {
	Seq    uint64 `db:"frame_seq"`
	Final  bool   `db:"frames_final"`
	Broken uint64 `db:"frames_broken"`
	Stored uint64 `db:"stored"`
	Last   []byte `db:"body"` // the frame of number Seq, nil when there is none
}

func (d *DB) ledger(ctx context.Context, t *tx, runUUID string) (metrics.Ledger, error) {
	key, err := findRunKey(ctx, t, runUUID)
	if err != nil {
		return metrics.Ledger{}, err
	}
	var accounts []account
	err = t.SelectContext(ctx, &accounts, `SELECT m.frame_seq, m.frames_final, m.frames_broken, f.body,
		(SELECT count(*) FROM frame WHERE machine_id = m.id) +
		(SELECT coalesce(sum(last - first + 1), 0) FROM frame_range WHERE machine_id = m.id) AS stored
		FROM machine m LEFT JOIN frame f ON f.machine_id = m.id AND f.seq = m.frame_seq
		WHERE m.run_id = ? AND (m.relay_id <> '' OR m.frame_seq > 0 OR m.frames_broken > 0)`, key.ID)
	if err != nil {
		return metrics.Ledger{}, err
	}
	for i := range accounts {
		if accounts[i].Last, err = d.bodies.unpack(accounts[i].Last); err != nil {
			return metrics.Ledger{}, fmt.Errorf("open last frame: %w", err)
		}
	}
	return balance(accounts)
}

func balance(accounts []account) (l metrics.Ledger, err error) {
	for _, a := range accounts {
		if a.Last != nil {
			f, err := metrics.DecodeStored(a.Last)
			if err != nil {
				return metrics.Ledger{}, fmt.Errorf("decode last frame: %w", err)
			}
			l.Add(f.Ledger)
		}
		l.Sent += a.Seq
		l.Stored += a.Stored
		l.Broken += a.Broken
		if !a.Final {
			l.Open++
		}
	}
	l.Balance = l.Open == 0 && l.Sent == l.Stored && l.Broken == 0
	return l, nil
}
