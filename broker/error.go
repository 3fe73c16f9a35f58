package broker

import (
	"errors"
	"fmt"

	"github.com/loads/loads/strategies"
)

// Code says what kind of error an Error is. Callers branch on it; the REST API
// maps it to a status.
type Code string

// The codes of errors.
const (
	EInvalid      Code = "invalid"      // the caller's input is wrong
	ENotFound     Code = "not_found"    // no such record
	EConflict     Code = "conflict"     // the record's state forbids it
	EUnauthorized Code = "unauthorized" // no token, or a wrong one
	EUnavailable  Code = "unavailable"  // the broker can't do it now
	EBroken       Code = "broken"       // the machine can't do it, and another one may
	EInternal     Code = "internal"     // a fault of ours, or of the machine's
)

// An Error has a code for programs, and a sentence for people that says what
// to do. Err is for operators and is not shown to users.
type Error struct {
	Code    Code
	Message string
	Faults  strategies.Faults // set with EInvalid when a plan has faults
	Err     error
}

// Error returns the sentence, and the cause when there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error with the code and a formatted sentence.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain, EInternal for any
// other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return EInternal
}
