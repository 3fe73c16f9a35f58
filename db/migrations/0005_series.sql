-- +goose Up

-- What the frames of a run become once they are condensed. A frame is in the
-- table frame, or in a block and a range, never in both: the transaction that
-- stores the block deletes the frames.

-- Minutes of the machines of a step, and seconds of the step as a whole.
CREATE TABLE series_block (
    id       INTEGER PRIMARY KEY,
    run_id   INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step_idx INTEGER NOT NULL,
    body     BLOB    NOT NULL -- zstd
) STRICT;
CREATE INDEX series_block_run ON series_block (run_id);

-- The sum of all blocks of a step, so that a summary reads no block.
CREATE TABLE series_total (
    id       INTEGER PRIMARY KEY,
    run_id   INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step_idx INTEGER NOT NULL,
    body     BLOB    NOT NULL, -- zstd
    UNIQUE (run_id, step_idx)
) STRICT;

-- The numbers of the frames that are in blocks.
CREATE TABLE frame_range (
    machine_id INTEGER NOT NULL REFERENCES machine (id) ON DELETE CASCADE,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL CHECK (last >= first),
    PRIMARY KEY (machine_id, first)
) STRICT, WITHOUT ROWID;
