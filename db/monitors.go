package db

import (
	"context"

	"github.com/loads/loads/broker"
)

const monitorColumns = "user, secret, cert, key, influx_url, grafana_url, source_url, dashboard_url"

// Monitor returns the run's monitor; ENotFound when it has none.
func (d *DB) Monitor(ctx context.Context, runUUID string) (m broker.Monitor, err error) {
	err = d.read(ctx, "read monitor", func(ctx context.Context, t *tx) error {
		err := t.GetContext(ctx, &m, `SELECT `+monitorColumns+` FROM monitor
			WHERE run_id = (SELECT id FROM run WHERE uuid = ?)`, runUUID)
		return orNotFound(err, "Run %s has no monitor of its own.", runUUID)
	})
	return m, err
}

// SaveMonitor stores the run's monitor. From the first time on the run's frames
// are not condensed until EndMonitor, or until the export to it is done.
func (d *DB) SaveMonitor(ctx context.Context, run *broker.Run, m broker.Monitor) error {
	return d.write(ctx, "save monitor", func(ctx context.Context, t *tx) error {
		if err := runExists(ctx, t, run); err != nil {
			return err
		}
		_, err := t.ExecContext(ctx, `INSERT INTO monitor_export (run_id, done, newest, written, refused, trouble, detail)
			VALUES (?, 0, 0, 0, 0, '', '') ON CONFLICT DO NOTHING`, run.ID)
		if err != nil {
			return err
		}
		_, err = t.ExecContext(ctx, `INSERT OR REPLACE INTO monitor (run_id, `+monitorColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			run.ID, m.User, m.Secret, m.Cert, m.Key, m.InfluxURL, m.GrafanaURL, m.SourceURL, m.DashboardURL)
		return err
	})
}

// EndMonitor says that nothing more is written to the run's monitor.
func (d *DB) EndMonitor(ctx context.Context, run *broker.Run) error {
	return d.write(ctx, "end monitor", func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, "UPDATE monitor_export SET done = 1 WHERE run_id = ?", run.ID)
		return err
	})
}

// forgetSecrets empties what signs in to a run's monitor.
func forgetSecrets(ctx context.Context, t *tx, runID int64) error {
	_, err := t.ExecContext(ctx, "UPDATE monitor SET secret = '', key = '' WHERE run_id = ?", runID)
	return err
}

// A MonitorExport is the export of one run to its own InfluxDB and Grafana. Its
// methods are what packages influx and grafana ask of a store.
type MonitorExport struct {
	db     *DB
	run    string
	ending <-chan struct{}
}

// MonitorExport returns that of the run. Once ending is closed, no frame is to
// come any more.
func (d *DB) MonitorExport(runUUID string, ending <-chan struct{}) *MonitorExport {
	return &MonitorExport{db: d, run: runUUID, ending: ending}
}

// BeginExports does nothing: SaveMonitor has begun it.
func (*MonitorExport) BeginExports(context.Context) error { return nil }

// Exports returns the run, as a completed one when no frame is to come any
// more; nothing when all is written.
func (m *MonitorExport) Exports(ctx context.Context) ([]broker.Export, error) {
	over := false
	select {
	case <-m.ending:
		over = true // seen before the frames are read
	default:
	}
	e, err := m.Export(ctx)
	if err != nil || e.Done {
		return nil, err
	}
	if over {
		e.Run.State = broker.Completed
	}
	return []broker.Export{*e}, nil
}

// Export returns how far the run's metrics have come.
func (m *MonitorExport) Export(ctx context.Context) (e *broker.Export, err error) {
	err = m.db.read(ctx, "read export", func(ctx context.Context, t *tx) error {
		run, err := findRun(ctx, t, m.run)
		if err != nil {
			return err
		}
		e, err = ofMonitor.read(ctx, t, run)
		return err
	})
	return e, err
}

// Machines returns the run's machines.
func (m *MonitorExport) Machines(ctx context.Context, runUUID string) ([]broker.Machine, error) {
	return m.db.Machines(ctx, runUUID)
}

// FramesToExport returns frames not written yet, of each machine up to limit,
// by machine and number.
func (m *MonitorExport) FramesToExport(ctx context.Context, runUUID string, limit int) ([]broker.StoredFrame, error) {
	return m.db.framesToExport(ctx, ofMonitor, runUUID, limit)
}

// ExportedFrames returns the written frames with from < At <= to.
func (m *MonitorExport) ExportedFrames(ctx context.Context, runUUID string, from, to int64) ([]broker.StoredFrame, error) {
	return m.db.exportedFrames(ctx, ofMonitor, runUUID, from, to)
}

// SaveExport stores how far the run has come.
func (m *MonitorExport) SaveExport(ctx context.Context, e broker.Export, cursors map[int64]uint64, events ...broker.Event) error {
	return m.db.saveExport(ctx, ofMonitor, e, cursors, events)
}

// BeginDashboards does nothing: the run's dashboard is to be published.
func (*MonitorExport) BeginDashboards(context.Context) error { return nil }

// Dashboards returns the run's.
func (m *MonitorExport) Dashboards(ctx context.Context) ([]broker.DashboardRecord, error) {
	run, err := m.db.Run(ctx, m.run)
	if err != nil {
		return nil, err
	}
	at, err := m.db.Monitor(ctx, m.run)
	return []broker.DashboardRecord{{Run: run, URL: at.DashboardURL}}, err
}

// SaveDashboard stores where it is, and the events.
func (m *MonitorExport) SaveDashboard(ctx context.Context, rec broker.DashboardRecord, events ...broker.Event) error {
	return m.db.change(ctx, "save dashboard", &rec.Run, events, func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, "UPDATE monitor SET dashboard_url = ? WHERE run_id = ?", rec.URL, rec.Run.ID)
		return err
	})
}
