-- +goose Up

-- "LOAD": tells our databases from those of other programs.
PRAGMA application_id = 1280262468;

-- Times are Unix microseconds, UTC. Ids are never used twice (AUTOINCREMENT),
-- so that a late write about a record that is gone cannot reach a newer one.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE project (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    home_page  TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX project_name ON project (name);

CREATE TABLE plan (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid        TEXT    NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    parent      TEXT    NOT NULL, -- uuid of the plan it was forked from, or empty
    parent_run  TEXT    NOT NULL, -- uuid of the run it was forked from, or empty
    frozen      INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1)),
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX plan_project ON plan (project_id);

CREATE TABLE step (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid    TEXT    NOT NULL UNIQUE,
    plan_id INTEGER NOT NULL REFERENCES plan (id) ON DELETE CASCADE,
    idx     INTEGER NOT NULL CHECK (idx >= 0),
    name    TEXT    NOT NULL,
    body    TEXT    NOT NULL, -- the step as JSON, without its uuid
    UNIQUE (plan_id, idx)
) STRICT;

CREATE TABLE run (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid           TEXT    NOT NULL UNIQUE,
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    plan_id        INTEGER NOT NULL REFERENCES plan (id) ON DELETE CASCADE,
    plan_uuid      TEXT    NOT NULL,
    plan_name      TEXT    NOT NULL,
    project_uuid   TEXT    NOT NULL,
    project_name   TEXT    NOT NULL,
    owner          TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    completed_at   INTEGER,
    aborted        INTEGER NOT NULL CHECK (aborted IN (0, 1)),
    verdict        TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    cleanup        TEXT    NOT NULL,
    cleanup_detail TEXT    NOT NULL,
    environment    TEXT    NOT NULL, -- JSON
    versions       TEXT    NOT NULL, -- JSON
    plan           TEXT    NOT NULL  -- JSON, the plan exactly as run, with its uuids
) STRICT;
CREATE INDEX run_plan ON run (plan_id);
CREATE INDEX run_state ON run (state);

-- step_id has no cascade: a step goes with its plan or not at all.
CREATE TABLE step_record (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid         TEXT    NOT NULL UNIQUE,
    run_id       INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step_id      INTEGER NOT NULL REFERENCES step (id),
    idx          INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    failed       INTEGER NOT NULL CHECK (failed IN (0, 1)),
    reason       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    start_at     INTEGER,
    started_at   INTEGER,
    ready_at     INTEGER,
    completed_at INTEGER,
    skew_ms      REAL,
    image_digest TEXT    NOT NULL,
    UNIQUE (run_id, idx)
) STRICT;
CREATE INDEX step_record_step ON step_record (step_id);

CREATE TABLE machine (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id        INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step_idx      INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    token         TEXT    NOT NULL,
    pool          TEXT    NOT NULL,
    provider_id   TEXT    NOT NULL,
    address       TEXT    NOT NULL,
    public_ip     TEXT    NOT NULL,
    network       TEXT    NOT NULL,
    endpoint      TEXT    NOT NULL, -- JSON
    clock_offset  INTEGER NOT NULL, -- ns
    clock_error   INTEGER NOT NULL, -- ns
    relay_id      TEXT    NOT NULL,
    container_id  TEXT    NOT NULL,
    image_id      TEXT    NOT NULL, -- of the container
    environment   TEXT    NOT NULL, -- JSON, secret values masked
    started_at    INTEGER,
    finished_at   INTEGER,
    exit_code     INTEGER,
    frame_seq     INTEGER NOT NULL DEFAULT 0,
    frame_time    INTEGER NOT NULL DEFAULT 0, -- Unix ms, as in the frame
    frames_final  INTEGER NOT NULL DEFAULT 0 CHECK (frames_final IN (0, 1)),
    frames_broken INTEGER NOT NULL DEFAULT 0,
    UNIQUE (run_id, step_idx, idx)
) STRICT;
-- One token asks for one machine, so it can stand in one row only.
CREATE UNIQUE INDEX machine_token ON machine (token) WHERE token <> '';
CREATE INDEX machine_state ON machine (state);

CREATE TABLE event (
    run_id  INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL CHECK (seq > 0),
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    step    TEXT    NOT NULL,
    machine INTEGER,
    state   TEXT    NOT NULL,
    text    TEXT    NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- A table with rowid, though (machine_id, seq) is its key: bodies are often
-- over 1 kB, and in a WITHOUT ROWID table each of these takes an overflow page
-- of its own. With bodies of 1,500 bytes that took 186 MB and 1.3 s where this
-- takes 82 MB and 0.5 s; the small index also makes counting four times faster.
CREATE TABLE frame (
    id         INTEGER PRIMARY KEY,
    machine_id INTEGER NOT NULL REFERENCES machine (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    at         INTEGER NOT NULL, -- Unix ms, as in the frame
    final      INTEGER NOT NULL CHECK (final IN (0, 1)),
    body       BLOB    NOT NULL,
    UNIQUE (machine_id, seq)
) STRICT;
