package db

import (
	"context"

	"github.com/loads/loads/broker"
)

// BeginDashboards says that from now on runs are shown on dashboards, as
// BeginExports does for metrics.
func (d *DB) BeginDashboards(ctx context.Context) error {
	return d.write(ctx, "begin dashboards", func(ctx context.Context, t *tx) error {
		return begin(ctx, t, dashboardFrom)
	})
}

// Dashboards returns the runs whose dashboard is not final, the oldest first.
func (d *DB) Dashboards(ctx context.Context) (list []broker.DashboardRecord, err error) {
	err = d.read(ctx, "read dashboards", func(ctx context.Context, t *tx) error {
		found, err := runs(ctx, t, `WHERE id >= (SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?)
			AND id NOT IN (SELECT run_id FROM dashboard WHERE final = 1) ORDER BY id`, dashboardFrom)
		if err != nil {
			return err
		}
		list = make([]broker.DashboardRecord, len(found))
		for i, run := range found {
			if list[i], err = dashboard(ctx, t, run); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// Dashboard returns where the dashboard of a run is.
func (d *DB) Dashboard(ctx context.Context, runUUID string) (rec broker.DashboardRecord, err error) {
	err = d.read(ctx, "read dashboard", func(ctx context.Context, t *tx) error {
		run, err := findRun(ctx, t, runUUID)
		if err != nil {
			return err
		}
		rec, err = dashboard(ctx, t, run)
		return err
	})
	return rec, err
}

// dashboard returns an empty record when there is none yet.
func dashboard(ctx context.Context, t *tx, run broker.Run) (broker.DashboardRecord, error) {
	var rows []struct {
		URL     string `db:"url"`
		Final   bool   `db:"final"`
		Trouble string `db:"trouble"`
	}
	err := t.SelectContext(ctx, &rows, "SELECT url, final, trouble FROM dashboard WHERE run_id = ?", run.ID)
	rec := broker.DashboardRecord{Run: run}
	if len(rows) > 0 {
		rec.URL, rec.Final, rec.Trouble = rows[0].URL, rows[0].Final, rows[0].Trouble
	}
	return rec, err
}

// SaveDashboard stores where the dashboard of a run is, and the events.
// ENotFound when the run has been deleted.
func (d *DB) SaveDashboard(ctx context.Context, rec broker.DashboardRecord, events ...broker.Event) error {
	return d.write(ctx, "save dashboard", func(ctx context.Context, t *tx) error {
		if err := runExists(ctx, t, &rec.Run); err != nil {
			return err
		}
		_, err := t.ExecContext(ctx, `INSERT INTO dashboard (run_id, url, final, trouble) VALUES (?, ?, ?, ?)
			ON CONFLICT (run_id) DO UPDATE SET url = excluded.url, final = excluded.final, trouble = excluded.trouble`,
			rec.Run.ID, rec.URL, rec.Final, rec.Trouble)
		if err != nil {
			return err
		}
		_, err = addEvents(ctx, t, rec.Run.ID, events)
		return err
	})
}
