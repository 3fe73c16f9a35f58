-- +goose Up

-- A run's own InfluxDB and Grafana, of which the monitor step is the machine.
-- The secrets are empty once the run is completed.

CREATE TABLE monitor (
    run_id        INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    user          TEXT NOT NULL,
    secret        TEXT NOT NULL,
    cert          TEXT NOT NULL,
    key           TEXT NOT NULL,
    influx_url    TEXT NOT NULL,
    grafana_url   TEXT NOT NULL,
    source_url    TEXT NOT NULL,
    dashboard_url TEXT NOT NULL
) STRICT;

-- How far the run's metrics have come in it: as the tables export and
-- export_cursor are for the InfluxDB of all runs.

CREATE TABLE monitor_export (
    run_id  INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    done    INTEGER NOT NULL CHECK (done IN (0, 1)),
    newest  INTEGER NOT NULL,
    written INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    trouble TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;

CREATE TABLE monitor_cursor (
    machine_id INTEGER PRIMARY KEY REFERENCES machine (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL
) STRICT;

-- Archives outlive their run's record as long as an upload is under way, so
-- that it can be ended: there is no reference to run.

CREATE TABLE archive (
    run_uuid TEXT    PRIMARY KEY,
    url      TEXT    NOT NULL, -- s3://bucket/key
    upload   TEXT    NOT NULL, -- what the store calls the upload under way
    size     INTEGER NOT NULL, -- bytes
    sha256   TEXT    NOT NULL, -- of the file, in hexadecimal digits
    checksum TEXT    NOT NULL, -- as the store has it
    trouble  TEXT    NOT NULL,
    done     INTEGER NOT NULL CHECK (done IN (0, 1))
) STRICT;
