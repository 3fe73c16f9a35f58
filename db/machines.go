package db

import (
	"context"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A machineRow is a machine as its columns.
type machineRow struct {
	broker.Machine
	EndpointColumn    inJSON[broker.Endpoint]        `db:"endpoint"`
	EnvironmentColumn inJSON[strategies.Environment] `db:"environment"`
	StartedColumn     micros                         `db:"started_at"`
	FinishedColumn    micros                         `db:"finished_at"`
	LaunchedColumn    micros                         `db:"launched_at"`
	RequestedColumn   micros                         `db:"requested_at"`
	PreparedColumn    micros                         `db:"prepared_at"`
	ReleasedColumn    micros                         `db:"released_at"`
}

func newMachineRow(m broker.Machine) machineRow {
	return machineRow{
		Machine:        m,
		EndpointColumn: inJSON[broker.Endpoint]{m.Endpoint},
		// Masked here, so that no caller can forget it.
		EnvironmentColumn: inJSON[strategies.Environment]{m.Environment.Masked()},
		StartedColumn:     micros{m.StartedAt},
		FinishedColumn:    micros{m.FinishedAt},
		LaunchedColumn:    micros{m.LaunchedAt},
		RequestedColumn:   micros{m.RequestedAt},
		PreparedColumn:    micros{m.PreparedAt},
		ReleasedColumn:    micros{m.ReleasedAt},
	}
}

func (r machineRow) record() broker.Machine {
	m := r.Machine
	m.Endpoint = r.EndpointColumn.V
	m.Environment = r.EnvironmentColumn.V
	m.StartedAt = r.StartedColumn.T
	m.FinishedAt = r.FinishedColumn.T
	m.LaunchedAt = r.LaunchedColumn.T
	m.RequestedAt = r.RequestedColumn.T
	m.PreparedAt = r.PreparedColumn.T
	m.ReleasedAt = r.ReleasedColumn.T
	return m
}

// SaveMachine inserts the machine when its ID is 0, and sets ID, RunID and
// RunUUID; else it stores all but those, Step, Index and the columns of frames,
// which belong to AddFrames. It adds the events, whose Seq (and At, if zero) it
// sets. EConflict when the run has a machine of that step and index, or
// another machine has the token.
func (d *DB) SaveMachine(ctx context.Context, run *broker.Run, m *broker.Machine, events ...broker.Event) error {
	id := m.ID
	err := d.change(ctx, "save machine", run, events, func(ctx context.Context, t *tx) (err error) {
		id, err = saveMachine(ctx, t, run, *m)
		return err
	})
	if err != nil {
		return err
	}
	m.ID, m.RunID, m.RunUUID = id, run.ID, run.UUID
	return nil
}

// ReplaceMachine has another machine take the place of old: old keeps its record,
// with its reason and as releasing, but neither its place nor its frames, and next
// is inserted, for which ID, RunID, RunUUID, Step and Index are set. It adds the
// events. ENotFound when the run has no such machine, EConflict when it was
// replaced before or another machine has the token of next.
func (d *DB) ReplaceMachine(ctx context.Context, run *broker.Run, old, next *broker.Machine, events ...broker.Event) error {
	d.condensing.Lock() // which reads frames, and then removes what it has read
	defer d.condensing.Unlock()
	gone, made := *old, *next
	gone.State, gone.Replaced = broker.MachineReleasing, true
	gone.FrameSeq, gone.FrameTime, gone.FramesFinal, gone.FramesBroken = 0, 0, false, 0
	made.ID, made.Step, made.Index = 0, old.Step, old.Index
	var id int64
	err := d.change(ctx, "replace machine", run, events, func(ctx context.Context, t *tx) (err error) {
		if err := vacate(ctx, t, run, gone); err != nil {
			return err
		}
		id, err = saveMachine(ctx, t, run, made)
		return err
	})
	if err != nil {
		return err
	}
	made.ID, made.RunID, made.RunUUID = id, run.ID, run.UUID
	*old, *next = gone, made
	return nil
}

// vacate frees the place of a machine for another.
func vacate(ctx context.Context, t *tx, run *broker.Run, m broker.Machine) error {
	if err := updateMachine(ctx, t, run, m); err != nil {
		return err
	}
	n, err := affected(t.ExecContext(ctx, `UPDATE machine SET replaced = idx, idx = -id,
		frame_seq = 0, frame_time = 0, frames_final = 0, frames_broken = 0 WHERE id = ? AND replaced IS NULL`, m.ID))
	if err != nil {
		return err
	}
	if n == 0 {
		return broker.Errorf(broker.EConflict, "Another machine has the place of machine %d of step %d of run %s already.", m.Index, m.Step, run.UUID)
	}
	for _, table := range []string{"frame", "frame_range", "export_cursor", "monitor_cursor"} {
		if _, err := t.ExecContext(ctx, "DELETE FROM "+table+" WHERE machine_id = ?", m.ID); err != nil {
			return err
		}
	}
	return nil
}

// Machines returns the run's machines by step and index, without those that were
// replaced.
func (d *DB) Machines(ctx context.Context, runUUID string) (list []broker.Machine, err error) {
	err = d.read(ctx, "read machines", func(ctx context.Context, t *tx) error {
		key, err := findRunKey(ctx, t, runUUID)
		if err != nil {
			return err
		}
		list, err = machines(ctx, t, "WHERE m.run_id = ? AND m.replaced IS NULL ORDER BY m.step_idx, m.idx", key.ID)
		return err
	})
	return list, err
}

// Replaced returns the machines in whose place others were taken, the oldest first.
func (d *DB) Replaced(ctx context.Context, runUUID string) (list []broker.Machine, err error) {
	err = d.read(ctx, "read replaced machines", func(ctx context.Context, t *tx) error {
		key, err := findRunKey(ctx, t, runUUID)
		if err != nil {
			return err
		}
		list, err = machines(ctx, t, "WHERE m.run_id = ? AND m.replaced IS NOT NULL ORDER BY m.id", key.ID)
		return err
	})
	return list, err
}

// MachinesIn returns the machines of all runs in any of the states, the oldest
// first and replaced ones, too; none for no state. A pool sees by it what is taken.
func (d *DB) MachinesIn(ctx context.Context, states ...broker.MachineState) (list []broker.Machine, err error) {
	err = d.read(ctx, "read machines", func(ctx context.Context, t *tx) error {
		list, err = machines(ctx, t, "WHERE m.state IN (SELECT value FROM json_each(?)) ORDER BY m.id",
			inJSON[[]broker.MachineState]{states})
		return err
	})
	return list, err
}

// preparedOf is how many machines are looked at for how long they take.
const preparedOf = 20

// PreparedIn returns how long the slowest of the last machines of the region and
// type took from when it was asked for until it was prepared; 0 when there was
// none. Machines that their pool had before they were asked for don't count.
func (d *DB) PreparedIn(ctx context.Context, region, kind string) (took time.Duration, err error) {
	var longest int64
	err = d.read(ctx, "read how long machines take", func(ctx context.Context, t *tx) error {
		return t.GetContext(ctx, &longest, `SELECT coalesce(max(took), 0) FROM (
			SELECT prepared_at - requested_at AS took FROM machine
			WHERE region = ? AND type = ? AND prepared_at IS NOT NULL AND launched_at >= requested_at AND reused = 0
			ORDER BY id DESC LIMIT ?)`, region, kind, preparedOf)
	})
	return time.Duration(longest) * time.Microsecond, err
}

// ProjectMachines returns the rented machines of the project's runs that cost
// anything after the time.
func (d *DB) ProjectMachines(ctx context.Context, projectUUID string, since time.Time) (list []broker.Machine, err error) {
	err = d.read(ctx, "read machines", func(ctx context.Context, t *tx) error {
		list, err = machines(ctx, t, `WHERE m.launched_at IS NOT NULL AND coalesce(m.released_at > ?, 1)
			AND m.run_id IN (SELECT run.id FROM run JOIN plan ON plan.id = run.plan_id JOIN project ON project.id = plan.project_id
				WHERE project.uuid = ?)
			ORDER BY m.id`, at(since), projectUUID)
		return err
	})
	return list, err
}

func saveMachine(ctx context.Context, t *tx, run *broker.Run, m broker.Machine) (int64, error) {
	m.RunID = run.ID
	if m.ID != 0 {
		return m.ID, updateMachine(ctx, t, run, m)
	}
	if err := runExists(ctx, t, run); err != nil {
		return 0, err
	}
	id, err := lastID(t.NamedExecContext(ctx, `INSERT INTO machine
		(run_id, step_idx, idx, state, reason, token, pool, provider_id, address, public_ip, network, endpoint,
		clock_offset, clock_error, relay_id, container_id, image_id, environment, started_at, finished_at, exit_code,
		region, type, spot, reused, hour_usd, launched_at, released_at, requested_at, prepared_at) VALUES
		(:run_id, :step_idx, :idx, :state, :reason, :token, :pool, :provider_id, :address, :public_ip, :network, :endpoint,
		:clock_offset, :clock_error, :relay_id, :container_id, :image_id, :environment, :started_at, :finished_at, :exit_code,
		:region, :type, :spot, :reused, :hour_usd, :launched_at, :released_at, :requested_at, :prepared_at)`, newMachineRow(m)))
	return id, orConflict(err, "Run %s has machine %d of step %d already, or another machine has its token.",
		run.UUID, m.Index, m.Step)
}

func updateMachine(ctx context.Context, t *tx, run *broker.Run, m broker.Machine) error {
	n, err := affected(t.NamedExecContext(ctx, `UPDATE machine SET state = :state, reason = :reason, token = :token,
		pool = :pool, provider_id = :provider_id, address = :address, public_ip = :public_ip, network = :network,
		endpoint = :endpoint, clock_offset = :clock_offset, clock_error = :clock_error, relay_id = :relay_id,
		container_id = :container_id, image_id = :image_id, environment = :environment, started_at = :started_at, finished_at = :finished_at, exit_code = :exit_code,
		region = :region, type = :type, spot = :spot, reused = :reused, hour_usd = :hour_usd, launched_at = :launched_at, released_at = :released_at,
		requested_at = :requested_at, prepared_at = :prepared_at
		WHERE id = :id AND run_id = :run_id`, newMachineRow(m)))
	if err == nil && n == 0 {
		return broker.Errorf(broker.ENotFound, "Run %s has no machine of id %d.", run.UUID, m.ID)
	}
	return orConflict(err, "Another machine has the token of machine %d of step %d of run %s.", m.Index, m.Step, run.UUID)
}

// machines returns the machines that rest, the end of the query, selects.
func machines(ctx context.Context, t *tx, rest string, args ...any) ([]broker.Machine, error) {
	var rows []machineRow
	err := t.SelectContext(ctx, &rows, `SELECT m.id, m.run_id, r.uuid AS run_uuid, m.step_idx, coalesce(m.replaced, m.idx) AS idx, m.replaced IS NOT NULL AS replaced, m.state, m.reason,
		m.token, m.pool, m.provider_id, m.address, m.public_ip, m.network, m.endpoint, m.clock_offset, m.clock_error,
		m.relay_id, m.container_id, m.image_id, m.environment, m.started_at, m.finished_at, m.exit_code,
		m.region, m.type, m.spot, m.reused, m.hour_usd, m.launched_at, m.released_at, m.requested_at, m.prepared_at,
		m.frame_seq, m.frame_time, m.frames_final, m.frames_broken
		FROM machine m JOIN run r ON r.id = m.run_id `+rest, args...)
	if err != nil {
		return nil, err
	}
	list := make([]broker.Machine, len(rows))
	for i, row := range rows {
		list[i] = row.record()
	}
	return list, nil
}
