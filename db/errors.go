package db

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/loads/loads/broker"
)

// mapError gives errors that the database itself found their code: what a
// trigger refused is EConflict with the trigger's sentence, and so is a key
// that exists; a reference to nothing is ENotFound. Others are wrapped.
func mapError(what string, err error) error {
	var known *broker.Error
	if errors.As(err, &known) {
		return err
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch e.ExtendedCode {
	case sqlite3.ErrConstraintTrigger:
		return &broker.Error{Code: broker.EConflict, Message: e.Error()}
	case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey:
		return &broker.Error{Code: broker.EConflict, Message: "There is such a record already.", Err: fmt.Errorf("%s: %w", what, err)}
	case sqlite3.ErrConstraintForeignKey:
		return &broker.Error{Code: broker.ENotFound, Message: "The record that this belongs to does not exist.", Err: fmt.Errorf("%s: %w", what, err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// orNotFound turns "no rows" into ENotFound with the sentence.
func orNotFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return broker.Errorf(broker.ENotFound, format, args...)
	}
	return err
}

// orConflict turns a key that exists already into EConflict with the sentence.
func orConflict(err error, format string, args ...any) error {
	var e sqlite3.Error
	if errors.As(err, &e) && (e.ExtendedCode == sqlite3.ErrConstraintUnique ||
		e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey) {
		return broker.Errorf(broker.EConflict, format, args...)
	}
	return err
}

func isNotADatabase(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrNotADB
}
