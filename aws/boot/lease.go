package boot

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/loads/loads/broker"
)

// Where the lease is on a machine. It is in memory: a full or broken disk
// does not keep a machine from being renewed, or from ending.
const (
	LeaseDir  = "/run/loads"
	LeaseFile = LeaseDir + "/lease"
)

// RoleLease is the value of broker.LabelRole on the container that leases are
// renewed through.
const RoleLease = "lease"

// A Renewal gives a machine more time to live, or less.
//
// Its times are durations, counted from when the machine reads it: machine and
// broker need not agree on what time it is. A renewal that is read twice, or
// after a newer one, changes nothing.
type Renewal struct {
	// Term numbers what the machine is used for: that of Params first, and a
	// greater one each time the machine is used again. Within a term the end
	// can only come nearer. Renewals of terms before are passed over.
	Term uint64
	// Seq must grow with each renewal of the machine, from 1, over all terms and
	// restarts of the broker.
	Seq uint64
	// Lease is how long the machine may live without another renewal, and End
	// how long it may live in this term: whole seconds.
	Lease, End time.Duration
}

// File returns what is in LeaseFile: one line, so that half of it can be told
// from the whole. The error names all that is wrong with the renewal.
func (r Renewal) File() ([]byte, error) {
	var faults []error
	if r.Seq < 1 || r.Seq > maxNumber {
		faults = append(faults, fmt.Errorf("number %d is not between 1 and %d", r.Seq, int64(maxNumber)))
	}
	if r.Term > maxNumber {
		faults = append(faults, fmt.Errorf("term %d has more than 15 digits", r.Term))
	}
	faults = append(faults, checkSeconds("lease", r.Lease), checkSeconds("end", r.End))
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("renew a machine's lease: %w", err)
	}
	return fmt.Appendf(nil, "loads-lease %d %d %d %d .\n", r.Term, r.Seq, seconds(r.Lease), seconds(r.End)), nil
}

// LeaseContainer returns the container by which the machine's lease is renewed
// when an engine creates it: it is never started, and its file is put through
// its volume into the machine's LeaseDir. Creating it again, with the same
// name and labels, renews again; so does Engine.PutFiles with the spec's Files.
// The engine needs broker.EmptyImage.
func LeaseContainer(name string, labels map[string]string, r Renewal) (broker.ContainerSpec, error) {
	file, err := r.File()
	if err != nil {
		return broker.ContainerSpec{}, err
	}
	all := map[string]string{}
	maps.Copy(all, labels)
	all[broker.LabelRole] = RoleLease
	return broker.ContainerSpec{
		Name: name, Image: broker.EmptyImage, Labels: all, Network: "none",
		Volumes: []broker.VolumeBinding{{Container: LeaseDir, Host: LeaseDir}},
		Files:   map[string][]byte{LeaseFile: file},
	}, nil
}
