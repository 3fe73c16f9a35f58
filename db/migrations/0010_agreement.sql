-- +goose Up

-- What machines of a step have told of the phases of the benchmark that they run
-- together, and what was decided by it. Frames that have brought words are
-- condensed; these stay.

CREATE TABLE word (
    machine_id INTEGER NOT NULL REFERENCES machine (id) ON DELETE CASCADE,
    phase      TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    PRIMARY KEY (machine_id, phase, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE decision (
    id       INTEGER PRIMARY KEY, -- in the order of their coming
    run_id   INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step_idx INTEGER NOT NULL,
    phase    TEXT    NOT NULL,
    status   TEXT    NOT NULL,
    at       INTEGER NOT NULL, -- Unix ms
    machine  INTEGER NOT NULL, -- that has failed, or -1
    UNIQUE (run_id, step_idx, phase, status)
) STRICT;
