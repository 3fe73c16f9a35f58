-- +goose Up

-- What must hold whoever writes to the database. A message is a sentence for
-- people: the program shows it as it is.

-- A run freezes its plan.

-- +goose StatementBegin
CREATE TRIGGER run_freezes_plan AFTER INSERT ON run
BEGIN
    UPDATE plan SET frozen = 1 WHERE id = NEW.plan_id AND frozen = 0;
END;
-- +goose StatementEnd

UPDATE plan SET frozen = 1 WHERE frozen = 0 AND id IN (SELECT plan_id FROM run);

-- +goose StatementBegin
CREATE TRIGGER plan_stays_frozen BEFORE UPDATE OF frozen ON plan
WHEN OLD.frozen = 1 AND NEW.frozen <> 1
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so it stays frozen.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER frozen_plan_update BEFORE UPDATE OF id, uuid, name, description ON plan
WHEN OLD.frozen = 1
  OR EXISTS (SELECT 1 FROM plan p
             WHERE p.frozen = 1 AND p.id <> OLD.id AND (p.id = NEW.id OR p.uuid = NEW.uuid))
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so it never changes; fork it and change the fork.');
END;
-- +goose StatementEnd

-- INSERT OR REPLACE would delete the row it replaces without telling a DELETE
-- trigger; so the INSERT and UPDATE triggers look for the rows in the way too.

-- +goose StatementBegin
CREATE TRIGGER frozen_plan_replace BEFORE INSERT ON plan
WHEN EXISTS (SELECT 1 FROM plan WHERE frozen = 1 AND (id = NEW.id OR uuid = NEW.uuid))
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so it never changes; fork it and change the fork.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER frozen_step_insert BEFORE INSERT ON step
WHEN EXISTS (SELECT 1 FROM plan WHERE id = NEW.plan_id AND frozen = 1)
  OR EXISTS (SELECT 1 FROM step s JOIN plan p ON p.id = s.plan_id
             WHERE p.frozen = 1 AND (s.id = NEW.id OR s.uuid = NEW.uuid))
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so its steps never change; fork it and change the fork.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER frozen_step_update BEFORE UPDATE ON step
WHEN EXISTS (SELECT 1 FROM plan WHERE id IN (OLD.plan_id, NEW.plan_id) AND frozen = 1)
  OR EXISTS (SELECT 1 FROM step s JOIN plan p ON p.id = s.plan_id
             WHERE p.frozen = 1 AND (s.id = NEW.id OR s.uuid = NEW.uuid))
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so its steps never change; fork it and change the fork.');
END;
-- +goose StatementEnd

-- When a plan is deleted its row goes first and the cascade reaches the steps
-- after that: then there is no frozen plan here any more, and they may go too.

-- +goose StatementBegin
CREATE TRIGGER frozen_step_delete BEFORE DELETE ON step
WHEN EXISTS (SELECT 1 FROM plan WHERE id = OLD.plan_id AND frozen = 1)
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so its steps never change; fork it and change the fork.');
END;
-- +goose StatementEnd

-- A run goes forward only, and is deleted only when it is over. This one also
-- stops the cascade from its plan or project.

-- +goose StatementBegin
CREATE TRIGGER run_goes_forward BEFORE UPDATE OF state ON run
WHEN NEW.state < OLD.state
BEGIN
    SELECT RAISE(ABORT, 'The run is further on than that; the state of a run never goes back.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER run_stays_aborted BEFORE UPDATE OF aborted ON run
WHEN OLD.aborted = 1 AND NEW.aborted <> 1
BEGIN
    SELECT RAISE(ABORT, 'The run has been aborted; that cannot be taken back.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER run_keeps_plan BEFORE UPDATE OF uuid, plan, plan_id, plan_uuid ON run
BEGIN
    SELECT RAISE(ABORT, 'A run keeps the plan exactly as it was run.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER verdict_stands BEFORE UPDATE OF verdict ON run
WHEN OLD.state = 3 AND OLD.verdict <> '' AND NEW.verdict <> OLD.verdict
BEGIN
    SELECT RAISE(ABORT, 'The run is completed, so its verdict stands.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER live_run_delete BEFORE DELETE ON run
WHEN OLD.state < 3
BEGIN
    SELECT RAISE(ABORT, 'The run is not completed; abort it first.');
END;
-- +goose StatementEnd

-- The history of a run has no gap and is never rewritten.

-- +goose StatementBegin
CREATE TRIGGER event_in_order BEFORE INSERT ON event
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM event WHERE run_id = NEW.run_id)
BEGIN
    SELECT RAISE(ABORT, 'The events of a run are numbered without gaps.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_update BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'The history of a run is never rewritten.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_delete BEFORE DELETE ON event
WHEN EXISTS (SELECT 1 FROM run WHERE id = OLD.run_id)
BEGIN
    SELECT RAISE(ABORT, 'The history of a run is never rewritten.');
END;
-- +goose StatementEnd
