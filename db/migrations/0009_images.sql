-- +goose Up

-- How images came to the run's rented machines, as JSON.

ALTER TABLE run ADD COLUMN images TEXT NOT NULL DEFAULT '[]';
