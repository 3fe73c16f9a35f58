-- +goose Up

-- What rented machines are, and cost.

ALTER TABLE machine ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN type TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN spot INTEGER NOT NULL DEFAULT 0 CHECK (spot IN (0, 1));
ALTER TABLE machine ADD COLUMN hour_usd REAL NOT NULL DEFAULT 0;
ALTER TABLE machine ADD COLUMN launched_at INTEGER;
ALTER TABLE machine ADD COLUMN released_at INTEGER;

-- What the run's machines could cost at most, as known at its start, null where
-- none is rented; and what providers said was left of them. Both are JSON.

ALTER TABLE run ADD COLUMN cost TEXT NOT NULL DEFAULT 'null';
ALTER TABLE run ADD COLUMN receipts TEXT NOT NULL DEFAULT '[]';

-- The reaper asks every minute which runs have left something.

CREATE INDEX run_cleanup ON run (cleanup) WHERE cleanup = 'failed';
