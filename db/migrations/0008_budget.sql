-- +goose Up

-- When a machine was asked for and when it was prepared: how long machines of its
-- region and type take is told from them, for plans whose machines come late.

ALTER TABLE machine ADD COLUMN requested_at INTEGER;
ALTER TABLE machine ADD COLUMN prepared_at INTEGER;

CREATE INDEX machine_prepared ON machine (region, type, id) WHERE prepared_at IS NOT NULL;
CREATE INDEX machine_provider ON machine (provider_id);

-- What all runs of a project may cost together within 30 days, in USD; 0 is no limit.

ALTER TABLE project ADD COLUMN max_cost REAL NOT NULL DEFAULT 0;
