//go:build linux

package h1

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The errors of pools, for those of other protocols.
var (
	ErrTimeout   error = errTimeout
	ErrCancelled error = errCancelled
	ErrClosed    error = errClosed
	ErrStale     error = errStale
)

// NewError returns an error of the standard library as one that says its kind, for
// protocols that use connections of that library. What has no kind of its own
// is of the kind otherwise.
func NewError(doing string, err error, otherwise Kind) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	kind := otherwise
	var (
		errno   unix.Errno
		lookup  *net.DNSError
		trust   *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		kind = Timeout
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		kind = Cancelled
	case errors.As(err, &errno):
		if kind = kindOf(errno); kind == Internal {
			kind = otherwise
		}
	case errors.As(err, &lookup):
		kind = Unreachable
	case errors.As(err, &trust), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &unknown):
		kind = Handshake
	}
	return &Error{kind, fmt.Errorf("%s: %w", doing, err)}
}
