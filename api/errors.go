package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// codeStatus maps codes of errors to HTTP statuses. It is the only such table:
// codeOf reads it the other way round for the client.
func codeStatus() map[broker.Code]int {
	return map[broker.Code]int{
		broker.EInvalid:      http.StatusBadRequest,
		broker.ENotFound:     http.StatusNotFound,
		broker.EConflict:     http.StatusConflict,
		broker.EUnauthorized: http.StatusUnauthorized,
		broker.EUnavailable:  http.StatusServiceUnavailable,
		broker.EInternal:     http.StatusInternalServerError,
	}
}

// statusOf returns the status for a code; one that is not in the table is
// internal.
func statusOf(code broker.Code) int {
	if status, ok := codeStatus()[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// codeOf returns the code for a status. Of those that are not in the table,
// 403 and the proxies' own belong to their neighbours; other 4xx are faults of
// the caller, the rest is internal.
func codeOf(status int) broker.Code {
	for code, s := range codeStatus() {
		if s == status {
			return code
		}
	}
	switch {
	case status == http.StatusForbidden:
		return broker.EUnauthorized
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return broker.EUnavailable
	case status >= 400 && status < 500:
		return broker.EInvalid
	}
	return broker.EInternal
}

// messageInternal is all that a caller learns of an internal error.
const messageInternal = "Internal error; see the broker's log."

func newFailure(status int, format string, args ...any) *Failure {
	return &Failure{
		Envelope: Envelope{Status: status},
		Message:  fmt.Sprintf(format, args...),
	}
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// GetStatus returns the HTTP status.
func (f *Failure) GetStatus() int { return f.Status }

// failure makes the answer for an error. An internal one is logged here, and
// nowhere else, under the operation's name; the caller does not see it. What
// fails because the caller went away is nobody's fault.
func (s *Server) failure(ctx context.Context, operation string, err error) huma.StatusError {
	var ready huma.StatusError
	if errors.As(err, &ready) {
		return ready
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return newFailure(http.StatusServiceUnavailable, "The call was given up before it was done.")
	}
	var e *broker.Error
	if !errors.As(err, &e) || statusOf(e.Code) == http.StatusInternalServerError {
		s.log.Error("internal error", "operation", operation, "error", err)
		return newFailure(http.StatusInternalServerError, messageInternal)
	}
	f := newFailure(statusOf(e.Code), "%s", e.Message)
	f.Faults = e.Faults
	if e.Err != nil {
		s.log.Warn("call failed", "operation", operation, "error", err)
	}
	return f
}

// badPlan turns faults of a body into the error that lists them; it keeps nil
// and any other error.
func badPlan(err error) error {
	var faults strategies.Faults
	if !errors.As(err, &faults) {
		return err
	}
	message := "The plan has a mistake: " + faults[0].String()
	if len(faults) > 1 {
		message = fmt.Sprintf("The plan has %d mistakes; the first: %s", len(faults), faults[0])
	}
	return &broker.Error{Code: broker.EInvalid, Message: message, Faults: faults}
}

// asFailure turns the framework's own errors, about parameters and bodies,
// into failures. It runs on every answer before that is written.
func asFailure(ctx huma.Context, _ string, answer any) (any, error) {
	model, ok := answer.(*huma.ErrorModel)
	if !ok {
		return answer, nil
	}
	ctx.SetHeader("Content-Type", "application/json")
	parts := make([]string, 0, len(model.Errors))
	for _, d := range model.Errors {
		parts = append(parts, detail(d))
	}
	if len(parts) == 0 {
		parts = append(parts, model.Detail+".")
	}
	return newFailure(plainStatus(model.Status), "%s", strings.Join(parts, " ")), nil
}

// detail says what is wrong with one parameter.
func detail(d *huma.ErrorDetail) string {
	_, name, _ := strings.Cut(d.Location, ".")
	switch {
	case d.Message == "unknown query parameter":
		return fmt.Sprintf("The query parameter %s is not known here.", name)
	case d.Value == nil || d.Value == "":
		return fmt.Sprintf("The parameter %s is wrong: %s.", name, d.Message)
	}
	return fmt.Sprintf("The parameter %s is wrong: %v: %s.", name, d.Value, d.Message)
}

// plainStatus keeps to the statuses of loads v2, where all bad input is a 400.
func plainStatus(status int) int {
	if status == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return status
}
