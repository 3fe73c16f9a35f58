package influx

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

const (
	// framesAtOnce bounds the frames in memory: a few of each machine.
	framesAtOnce = 2000
	// patience is how far a machine may be behind the newest frame before the
	// others' seconds are written without it. What it brings later is added.
	patience = 10 * time.Second
	secondMs = 1000
)

// A frame is a stored frame and the machine it is of.
type frame struct {
	machine broker.Machine
	seq     uint64
	frame   metrics.Frame
}

// secondOf returns the end of the second that a time in Unix ms belongs to.
func secondOf(ms int64) int64 { return (ms + secondMs - 1) / secondMs * secondMs }

// run writes what there is of one run, and notes its end.
func (s *Sender) run(ctx context.Context, e *broker.Export) error {
	for ctx.Err() == nil {
		machines, err := s.cfg.Store.Machines(ctx, e.Run.UUID)
		if err != nil {
			return err
		}
		limit := max(16, framesAtOnce/max(1, len(machines)))
		stored, err := s.cfg.Store.FramesToExport(ctx, e.Run.UUID, limit)
		if err != nil {
			return err
		}
		if len(stored) == 0 && e.Run.State == broker.Completed {
			// No frame is stored once a run is completed, and that was known
			// before the frames were read.
			e.Done, e.Trouble, e.Detail = true, "", ""
			return s.cfg.Store.SaveExport(ctx, *e, nil)
		}
		batch := cut(stored, limit, watermark(e.Run, machines))
		if len(batch) == 0 {
			return nil
		}
		if err := s.batch(ctx, e, machines, batch); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// watermark returns the second up to which frames can be written: that of the
// slowest machine which is not far behind. It saves work only: a frame that
// comes too late for it is added to what is written.
func watermark(run broker.Run, machines []broker.Machine) int64 {
	if run.State == broker.Completed {
		return math.MaxInt64
	}
	newest := int64(0)
	for _, m := range machines {
		newest = max(newest, m.FrameTime)
	}
	mark := secondOf(newest)
	for _, m := range machines {
		behind := time.Duration(newest-m.FrameTime) * time.Millisecond
		if m.FrameSeq > 0 && !m.FramesFinal && behind < patience {
			mark = min(mark, secondOf(m.FrameTime))
		}
	}
	return mark
}

// cut returns the frames up to the watermark, and only seconds that no limit
// has cut through, unless that leaves nothing of frames that were cut off.
func cut(frames []broker.StoredFrame, limit int, mark int64) []broker.StoredFrame {
	byMachine := map[int64]int{}
	uncut, oldest := mark, int64(math.MaxInt64)
	for _, f := range frames {
		oldest = min(oldest, secondOf(f.At))
		if byMachine[f.MachineID]++; byMachine[f.MachineID] == limit {
			uncut = min(uncut, secondOf(f.At)-secondMs)
		}
	}
	if uncut < mark {
		mark = min(mark, max(uncut, oldest))
	}
	var batch []broker.StoredFrame
	passed := map[int64]bool{} // the machine's order of frames is kept, also when its clock goes back
	for _, f := range frames {
		passed[f.MachineID] = passed[f.MachineID] || secondOf(f.At) > mark
		if !passed[f.MachineID] {
			batch = append(batch, f)
		}
	}
	return batch
}

// batch writes frames, and stores that it did.
func (s *Sender) batch(ctx context.Context, e *broker.Export, machines []broker.Machine, stored []broker.StoredFrame) error {
	byID := map[int64]broker.Machine{}
	for _, m := range machines {
		byID[m.ID] = m
	}
	fresh, from, to, err := decode(stored, byID)
	if err != nil {
		return err
	}
	var before map[int64][]frame // frames of these seconds that are written
	if from <= e.Newest {
		old, err := s.cfg.Store.ExportedFrames(ctx, e.Run.UUID, from-secondMs, to)
		if err != nil {
			return err
		}
		if before, _, _, err = decode(old, byID); err != nil {
			return err
		}
	}
	added, again := pointsOf(e.Run, before, fresh)
	// What is refused of the points written before was counted then.
	if _, err := s.send(ctx, again); err != nil {
		return err
	}
	refused, err := s.send(ctx, added)
	if err != nil {
		return err
	}
	if s.cfg.Also != nil {
		if err := s.cfg.Also(slices.Concat(again, added)); err != nil {
			return err
		}
	}
	s.recovered()
	return s.saveBatch(ctx, e, stored, to, uint64(len(added)), refused)
}

func (s *Sender) saveBatch(ctx context.Context, e *broker.Export, stored []broker.StoredFrame, to int64, added uint64, refused rejection) error {
	cursors := map[int64]uint64{}
	for _, f := range stored {
		cursors[f.MachineID] = max(cursors[f.MachineID], f.Seq)
	}
	next := *e
	next.Newest = max(e.Newest, to)
	next.Trouble, next.Detail = "", ""
	lost := min(refused.points, added)
	next.Refused += lost
	next.Written += added - lost
	var notes []broker.Event
	if e.Trouble != "" {
		notes = append(notes, broker.Event{Kind: broker.EventNote, Text: "InfluxDB takes the run's points again."})
	}
	if e.Refused == 0 && lost > 0 {
		text := fmt.Sprintf("InfluxDB refused %d points for good: %s", lost, sentenceEnd(refused.detail))
		notes = append(notes, broker.Event{Kind: broker.EventNote, State: string(broker.TroubleRefused), Text: text})
		s.log.Error("points refused for good", "run", e.Run.UUID, "points", lost, "error", refused.detail)
	}
	if err := s.cfg.Store.SaveExport(ctx, next, cursors, notes...); err != nil {
		return err
	}
	*e = next
	return nil
}

// decode returns the frames by their second, and the first and last second.
func decode(stored []broker.StoredFrame, machines map[int64]broker.Machine) (seconds map[int64][]frame, from, to int64, err error) {
	seconds, from = map[int64][]frame{}, math.MaxInt64
	for _, f := range stored {
		decoded, err := metrics.Decode(f.Body)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("decode frame %d of machine %d: %w", f.Seq, f.MachineID, err)
		}
		second := secondOf(f.At)
		seconds[second] = append(seconds[second], frame{machine: machines[f.MachineID], seq: f.Seq, frame: decoded})
		from, to = min(from, second), max(to, second)
	}
	return seconds, from, to, nil
}
