package api

import (
	"net/http"

	"github.com/loads/loads/broker"
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
