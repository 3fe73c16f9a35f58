package ec2sim

import (
	"context"
	"net/netip"
	"time"
)

// A Host runs the machines behind the API. Its methods may be called
// concurrently.
//
// The API side decides everything that EC2 would decide: names, addresses,
// states and when they change, what each security group admits, and which
// machine meets which fault when. A Host decides nothing; it makes a machine be
// as it was told.
type Host interface {
	// Addresses is the range that the addresses of all machines are taken
	// from, the public ones too, in every region. It doesn't change, and has
	// at least 512 addresses. The Host may keep the first 16 to itself (for
	// bridges); the API gives none of these to a machine.
	Addresses() netip.Prefix

	// Boot starts a new machine and returns when it is under way, not when it
	// has booted. The context bounds this call only. After an error nothing of
	// the machine is left.
	Boot(ctx context.Context, spec MachineSpec) (Machine, error)

	// Close ends all machines that are left and waits until nothing of them is.
	// OnPowerOff isn't called for them.
	Close() error
}

// A Machine is one machine of a Host. Its methods may be called concurrently,
// and also when the machine is off or already gone, which is no error.
type Machine interface {
	// Stop turns the machine off and returns when nothing of it runs any more.
	// It keeps its disk and addresses. A hard stop is like pulling the plug;
	// another tells the machine to shut down first and waits for that, until
	// the context ends, which makes it hard. OnPowerOff isn't called for it.
	Stop(ctx context.Context, hard bool) error

	// Start turns a machine on again that is off. The user data isn't run
	// again; what it enabled is.
	Start(ctx context.Context) error

	// Cut takes the machine off the network (true), or puts it back (false).
	// What runs on the machine goes on.
	Cut(cut bool) error

	// SetRules replaces what is admitted to the machine, from now on. See Rule.
	SetRules(rules []Rule) error

	// Console is what the machine has written on its console so far, user
	// data's output included; the last 64 KiB of it.
	Console() []byte

	// Terminate pulls the plug, and returns when nothing of the machine is left:
	// no process, no disk, no address. OnPowerOff isn't called for it.
	Terminate(ctx context.Context) error
}

// A MachineSpec says what machine to boot.
type MachineSpec struct {
	ID string // i-0123456789abcdef0
	// Region is us-east-1. Machines of different regions reach each other by
	// public addresses only.
	Region string
	Zone   string // us-east-1a
	Type   string // m5.large
	Arch   string // x86_64 or arm64: what the image says; the machine is of this computer's kind
	VCPUs  int    // of the type; a Host may hold the machine to it
	Memory int64  // of the type, in bytes; a Host may hold the machine to it

	PrivateIP netip.Addr // its own, of Host.Addresses
	PublicIP  netip.Addr // its own, of Host.Addresses too; not valid if it has none

	// UserData is what was given to RunInstances, decoded from base64.
	UserData []byte

	// LaunchIndex is its place among those launched with it, from 0:
	// meta-data/ami-launch-index.
	LaunchIndex int

	// Metadata returns what the metadata service at 169.254.169.254 has to
	// say of the machine just now. It is called for each request and may be
	// called concurrently. It must not be called from inside a method of Host
	// or Machine.
	Metadata func() Metadata

	// Groups are the ids of the machine's security groups: other machines'
	// rules name them. They don't change.
	Groups []string
	// Rules are the rules the machine starts with.
	Rules []Rule

	// RootVolumeBytes is the size of the disk.
	RootVolumeBytes int64

	// ClockOffset is by how much the machine's clock is wrong; 0 is right.
	ClockOffset time.Duration
	// NoDocker makes a machine that boots, but whose Docker engine can't be
	// started.
	NoDocker bool
	// DiskFull makes a machine whose disk has nothing free soon after it booted.
	DiskFull bool

	// OnPowerOff is called when the machine has turned itself off: by
	// poweroff, or by shutdown when its time came. It is called once for
	// each time, when nothing of the machine runs any more, and not from inside
	// a method of Host or Machine. The disk is kept until Terminate.
	OnPowerOff func()
}

// Metadata is what the instance metadata service (IMDS) says of a machine.
// A Host serves the paths under /latest that follow from the fields and
// from the MachineSpec, and 404 for all others, iam/ among them.
type Metadata struct {
	// Enabled is false when the service doesn't answer at all.
	Enabled bool
	// TokenRequired refuses requests without a token (401): version 2 only.
	TokenRequired bool
	// HopLimit is the IP time-to-live of the answer to a request for a token.
	HopLimit int

	AMI           string // meta-data/ami-id
	Account       string // of the owner, for the identity document
	AvailZoneID   string // meta-data/placement/availability-zone-id: use1-az1
	LaunchTime    time.Time
	SecurityGroup []string // meta-data/security-groups: names, in order

	// Tags are served under meta-data/tags/instance, unless TagsHidden.
	Tags       map[string]string
	TagsHidden bool

	// SpotAction is not zero once the machine has been told to go: it is then
	// served as meta-data/spot/instance-action and spot/termination-time.
	SpotAction SpotAction
}

// A SpotAction is the notice that a spot machine will be taken.
type SpotAction struct {
	Action string // terminate or stop
	Time   time.Time
}

// A Rule admits traffic. What no rule admits is dropped, save answers to what
// was admitted, and the machine's own loopback.
type Rule struct {
	// Egress admits what leaves the machine, not what comes to it.
	Egress bool
	// Protocol is tcp, udp, icmp, or -1 for all.
	Protocol string
	// FromPort and ToPort are the first and the last port, 0 and 65535 for
	// all. They mean nothing for icmp and -1.
	FromPort, ToPort int
	// Peer is the range of addresses at the other end, if Group is empty.
	Peer netip.Prefix
	// Group is the id of the security group whose machines are the other end,
	// as long as they talk by private addresses.
	Group string
}
