-- +goose Up

-- A machine that another was taken for while the run was prepared: its own place in
-- the step, null for all others. Its idx is then less than 0, as idx is the place of
-- the other.

ALTER TABLE machine ADD COLUMN replaced INTEGER;

-- Whether the pool had the machine before the run asked for it: such a one does not
-- tell how long machines take.

ALTER TABLE machine ADD COLUMN reused INTEGER NOT NULL DEFAULT 0 CHECK (reused IN (0, 1));
UPDATE machine SET reused = 1 WHERE provider_id <> '' AND EXISTS
    (SELECT 1 FROM machine AS before WHERE before.provider_id = machine.provider_id AND before.id < machine.id);
DROP INDEX machine_provider;

-- What the machines of deleted runs have cost, which counts against the project's
-- max_cost: until 30 days after the last of them was given back.

CREATE TABLE spent (
    id         INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    run_uuid   TEXT    NOT NULL,
    until      INTEGER NOT NULL,
    usd        REAL    NOT NULL
) STRICT;
CREATE INDEX spent_project ON spent (project_id, until);
