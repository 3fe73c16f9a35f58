//go:build !linux

package nshost

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/loads/loads/aws/ec2sim"
)

// Options say how to run a Host.
type Options struct {
	Dir string
	Log *slog.Logger
}

// Host can't be had here.
type Host struct{ ec2sim.Host }

// Outside is for Linux.
func (h *Host) Outside() netip.Addr { return netip.Addr{} }

// New returns an error: real machines are made of Linux namespaces.
func New(context.Context, Options) (*Host, error) {
	return nil, errors.New("real machines need Linux; use light ones")
}

// Cleanup has nothing to do here.
func Cleanup(context.Context, string) error { return nil }
