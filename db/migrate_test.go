package db_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

// TestMigrate opens a database of every earlier version, with records in it.
func TestMigrate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	fresh, freshPath := mustOpen(t)
	ok(t, fresh.Close())
	want := schema(t, mustOpenRaw(t, freshPath))
	newest, err := db.MigrateTo(ctx, mustOpenRaw(t, filepath.Join(t.TempDir(), "x.db")), 0)
	ok(t, err)
	for version := range newest {
		t.Run(fmt.Sprintf("from version %d", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loads.db")
			x := mustOpenRaw(t, path)
			_, err := db.MigrateTo(ctx, x, version)
			ok(t, err)
			if version > 0 {
				fillFirstVersion(t, x)
			}
			ok(t, x.Close())
			d := mustOpenFile(t, path)
			same(t, "schema", schema(t, mustOpenRaw(t, path)), want)
			if version > 0 {
				checkFirstVersion(t, d)
			}
			mustRun(t, d)
		})
	}
}

// fillFirstVersion writes by SQL, since the package writes the newest version
// only.
func fillFirstVersion(t *testing.T, x *sql.DB) {
	t.Helper()
	for _, statement := range []string{
		"INSERT INTO meta VALUES ('broker_id', 'the-old-id')",
		"INSERT INTO project (id, uuid, name, home_page, created_at) VALUES (1, 'project-1', 'old', '', 0)",
		`INSERT INTO plan (id, uuid, project_id, name, description, enabled, parent, parent_run, frozen, created_at)
			VALUES (1, 'plan-1', 1, 'old', '', 1, '', '', 0, 0)`,
		`INSERT INTO step VALUES (1, 'step-1', 1, 0, 's', '{"name":"s"}')`,
		`INSERT INTO run (uuid, state, plan_id, plan_uuid, plan_name, project_uuid, project_name, owner, created_at, aborted,
			verdict, reason, cleanup, cleanup_detail, environment, versions, plan)
			VALUES ('run-1', 1, 1, 'plan-1', 'old', 'project-1', 'old', '', 1000001, 0, '', '', 'pending', '', '{}', '{}', '{"name":"old","steps":[]}')`,
	} {
		_, err := x.Exec(statement)
		ok(t, err)
	}
}

func checkFirstVersion(t *testing.T, d *db.DB) {
	t.Helper()
	ctx := context.Background()
	id, err := d.BrokerID(ctx)
	ok(t, err)
	same(t, "broker id", id, "the-old-id")
	run, err := d.Run(ctx, "run-1")
	ok(t, err)
	if run.State != broker.Running || run.PlanName != "old" || run.CreatedAt.UnixMicro() != 1000001 {
		t.Errorf("got run %+v", run)
	}
	p, err := d.Plan(ctx, "plan-1")
	ok(t, err)
	if !p.Frozen || len(p.Plan.Steps) != 1 || p.Plan.Steps[0].UUID != "step-1" {
		t.Errorf("got plan %+v, want it frozen, with its step", p)
	}
	_, err = d.ReplacePlan(ctx, "plan-1", samplePlan("x"))
	wantCode(t, err, broker.EConflict)
}

func schema(t *testing.T, x *sql.DB) (lines []string) {
	t.Helper()
	rows, err := x.Query("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name")
	ok(t, err)
	defer rows.Close()
	for rows.Next() {
		var line string
		ok(t, rows.Scan(&line))
		lines = append(lines, line)
	}
	ok(t, rows.Err())
	return lines
}
