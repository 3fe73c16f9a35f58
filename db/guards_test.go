package db_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

// TestGuards tries, by plain SQL, what must not be possible. The statements
// know these ids: run 1 of plan 1 is completed, run 2 of plan 2 goes on, and
// plan 3 has not been run. Steps 1 and 2 are of plan 1, 3 and 4 of plan 2, 5
// and 6 of plan 3.
func TestGuards(t *testing.T) {
	t.Parallel()
	const (
		frozen  = "never change"
		stays   = "stays frozen"
		further = "never goes back"
		kept    = "exactly as it was run"
		history = "never rewritten"
	)
	insertStep := func(verb string, id any, uuid string, plan, idx int) string {
		return fmt.Sprintf("%s INTO step (id, uuid, plan_id, idx, name, body) VALUES (%v, '%s', %d, %d, 'x', '{}')", verb, id, uuid, plan, idx)
	}
	insertPlan := func(id any, uuid string) string {
		return fmt.Sprintf(`INSERT OR REPLACE INTO plan (id, uuid, project_id, name, description, enabled, parent, parent_run, created_at)
			VALUES (%v, '%s', 1, 'x', '', 1, '', '', 0)`, id, uuid)
	}
	for _, row := range []struct {
		desc, sql, want string
	}{
		{"a step of a frozen plan cannot change", "UPDATE step SET body = '{}' WHERE id = 1", frozen},
		{"nor its name alone", "UPDATE step SET name = 'x' WHERE id = 1", frozen},
		{"nor all steps at once", "UPDATE step SET body = '{}'", frozen},
		{"nor move to another plan", "UPDATE step SET plan_id = 3, idx = 9 WHERE id = 1", frozen},
		{"nor can another's step move in", "UPDATE step SET plan_id = 1, idx = 9 WHERE id = 5", frozen},
		{"a step cannot be deleted from it", "DELETE FROM step WHERE id = 2", frozen},
		{"nor all its steps", "DELETE FROM step WHERE plan_id = 1", frozen},
		{"nor one added", insertStep("INSERT", "NULL", "new", 1, 9), frozen},
		{"nor one replaced by its place", insertStep("INSERT OR REPLACE", "NULL", "new", 1, 0), frozen},
		{"nor by its id from another plan", insertStep("INSERT OR REPLACE", 1, "new", 3, 9), frozen},
		{"nor by its uuid from another plan", insertStep("INSERT OR REPLACE", "NULL", "step-1", 3, 9), frozen},
		{"nor by an update of another step's id", "UPDATE OR REPLACE step SET id = 1 WHERE id = 5", frozen},
		{"nor by an update of another step's uuid", "UPDATE OR REPLACE step SET uuid = 'step-1' WHERE id = 5", frozen},
		{"a frozen plan keeps its name", "UPDATE plan SET name = 'x' WHERE id = 1", frozen},
		{"and its description", "UPDATE plan SET description = 'x' WHERE id = 1", frozen},
		{"and its criteria", "UPDATE plan SET terms = '{\"max_skew_ms\":1}' WHERE id = 1", frozen},
		{"and its uuid", "UPDATE plan SET uuid = 'x' WHERE id = 1", frozen},
		{"it cannot be thawed", "UPDATE plan SET frozen = 0 WHERE id = 1", stays},
		{"nor all plans", "UPDATE plan SET frozen = 0", stays},
		{"nor be replaced by its id", insertPlan(1, "new"), frozen},
		{"nor by its uuid", insertPlan("NULL", "plan-1"), frozen},
		{"nor by an update of another plan's uuid", "UPDATE OR REPLACE plan SET uuid = 'plan-1' WHERE id = 3", frozen},
		{"a run cannot go back", "UPDATE run SET state = 1 WHERE id = 1", further},
		{"its abort cannot be taken back", "UPDATE run SET aborted = 0 WHERE id = 1", "cannot be taken back"},
		{"its verdict stands", "UPDATE run SET verdict = 'FAIL' WHERE id = 1", "verdict stands"},
		{"nor does what it rests on change", "UPDATE run SET judgement = '{\"done\":true}' WHERE id = 1", "verdict stands"},
		{"its plan cannot change", "UPDATE run SET plan = '{}' WHERE id = 1", kept},
		{"nor what it is a run of", "UPDATE run SET plan_id = 3 WHERE id = 1", kept},
		{"a run that goes on cannot be deleted", "DELETE FROM run WHERE id = 2", "not completed"},
		{"nor with its plan", "DELETE FROM plan WHERE id = 2", "not completed"},
		{"nor with its project", "DELETE FROM project", "not completed"},
		{"an event cannot change", "UPDATE event SET text = 'x'", history},
		{"nor be deleted", "DELETE FROM event WHERE run_id = 1", history},
		{"nor leave a gap", "INSERT INTO event VALUES (1, 9, 0, 'note', '', NULL, '', 'x')", "without gaps"},
		{"nor be replaced", "INSERT OR REPLACE INTO event VALUES (1, 1, 0, 'note', '', NULL, '', 'x')", "without gaps"},
		{"a step that was run cannot be taken from under its record", "UPDATE step_record SET step_id = 99", "FOREIGN KEY"},
		{"enabled is a free mark", "UPDATE plan SET enabled = 0", ""},
		{"a plan that was not run changes", "UPDATE plan SET name = 'x' WHERE id = 3", ""},
		{"and its steps too", "UPDATE step SET body = '{}' WHERE id = 5", ""},
		{"and go", "DELETE FROM step WHERE plan_id = 3", ""},
		{"a completed run can be deleted", "DELETE FROM run WHERE id = 1", ""},
		{"a frozen plan goes whole", "DELETE FROM plan WHERE id = 1", ""},
	} {
		t.Run(row.desc, func(t *testing.T) {
			d, path := mustOpen(t)
			guarded(t, d, path)
			x := mustOpenRaw(t, path)
			before := dump(t, path)
			_, err := x.Exec(row.sql)
			if row.want == "" {
				ok(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
			same(t, "tables", dump(t, path), before)
		})
	}
}

// guarded fills the database as TestGuards expects it.
func guarded(t *testing.T, d interface{ broker.Store }, path string) {
	t.Helper()
	ctx := context.Background()
	x := mustOpenRaw(t, path)
	for i := 1; i <= 3; i++ {
		_, err := x.Exec("INSERT INTO project (uuid, name, home_page, created_at) VALUES (?, 'p', '', 0)", fmt.Sprint("project-", i))
		ok(t, err)
		_, err = x.Exec(`INSERT INTO plan (uuid, project_id, name, description, enabled, parent, parent_run, created_at)
			VALUES (?, ?, 'p', '', 1, '', '', 0)`, fmt.Sprint("plan-", i), i)
		ok(t, err)
		for idx := range 2 {
			_, err = x.Exec("INSERT INTO step (uuid, plan_id, idx, name, body) VALUES (?, ?, ?, 's', '{}')",
				fmt.Sprint("step-", 2*i-1+idx), i, idx)
			ok(t, err)
		}
	}
	for _, plan := range []string{"plan-1", "plan-2"} {
		run, err := d.CreateRun(ctx, broker.Run{PlanUUID: plan})
		ok(t, err)
		ok(t, d.AddEvents(ctx, &run, broker.Event{Kind: broker.EventNote, Text: "a"}, broker.Event{Kind: broker.EventNote, Text: "b"}))
		if plan == "plan-1" {
			_, err = d.RequestAbort(ctx, run.UUID)
			ok(t, err)
			run.State, run.Verdict = broker.Completed, broker.Aborted
			ok(t, d.SaveRun(ctx, &run))
		}
	}
}

// dump returns all rows that TestGuards is about, as text.
func dump(t *testing.T, path string) (rows []string) {
	t.Helper()
	x := mustOpenRaw(t, path)
	for _, query := range []string{
		"SELECT concat_ws('|', 'plan', id, uuid, name, description, frozen) FROM plan ORDER BY id",
		"SELECT concat_ws('|', 'step', id, uuid, plan_id, idx, name, body) FROM step ORDER BY id",
		"SELECT concat_ws('|', 'run', id, uuid, state, aborted, verdict, plan_id, plan) FROM run ORDER BY id",
		"SELECT concat_ws('|', 'event', run_id, seq, text) FROM event ORDER BY run_id, seq",
		"SELECT concat_ws('|', 'record', id, run_id, step_id) FROM step_record ORDER BY id",
	} {
		list, err := x.Query(query)
		ok(t, err)
		for list.Next() {
			var row string
			ok(t, list.Scan(&row))
			rows = append(rows, row)
		}
		ok(t, list.Err())
		ok(t, list.Close())
	}
	return rows
}
