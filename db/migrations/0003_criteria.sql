-- +goose Up

-- What a plan says of the verdict of its runs, and what the verdict of a run
-- rests on. Both are JSON.

ALTER TABLE plan ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';
ALTER TABLE run ADD COLUMN judgement TEXT NOT NULL DEFAULT '{}';

-- +goose StatementBegin
CREATE TRIGGER frozen_plan_terms BEFORE UPDATE OF terms ON plan
WHEN OLD.frozen = 1 AND NEW.terms <> OLD.terms
BEGIN
    SELECT RAISE(ABORT, 'The plan has been run, so it never changes; fork it and change the fork.');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER judgement_stands BEFORE UPDATE OF judgement ON run
WHEN OLD.state = 3 AND NEW.judgement <> OLD.judgement
BEGIN
    SELECT RAISE(ABORT, 'The run is completed, so its verdict stands.');
END;
-- +goose StatementEnd
