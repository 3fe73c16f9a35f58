-- +goose Up

-- How far the metrics of a run have come in InfluxDB, and where its dashboard
-- is. A run has no row before something was said or written of it.

CREATE TABLE export (
    run_id  INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    done    INTEGER NOT NULL CHECK (done IN (0, 1)), -- nothing will follow
    newest  INTEGER NOT NULL,                        -- Unix ms, latest second written
    written INTEGER NOT NULL,                        -- points
    refused INTEGER NOT NULL,                        -- points
    trouble TEXT    NOT NULL,                        -- kind, empty for none
    detail  TEXT    NOT NULL
) STRICT;

-- Frames up to seq have been written.
CREATE TABLE export_cursor (
    machine_id INTEGER PRIMARY KEY REFERENCES machine (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL
) STRICT;

CREATE TABLE dashboard (
    run_id  INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    url     TEXT    NOT NULL,                         -- empty before it is published
    final   INTEGER NOT NULL CHECK (final IN (0, 1)), -- published after the run's end
    trouble TEXT    NOT NULL
) STRICT;
