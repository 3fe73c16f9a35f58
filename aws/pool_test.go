package aws_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/images/order"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

// verify checks the machine's certificate as the broker's client does.
func verify(s trust.Server, name string) error {
	block, _ := pem.Decode(s.Cert)
	ca, _ := pem.Decode(s.CA)
	if block == nil || ca == nil {
		return errors.New("no certificates")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	root, err := x509.ParseCertificate(ca.Bytes)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err
}

func TestPool_LendsMachinesAndLeavesNone(t *testing.T) {
	t.Parallel()
	c := startCloud(t, quick())
	dir := t.TempDir()
	p := c.open(dir, nil)
	got := c.acquire(p, requests(3, nil))
	for i, m := range got {
		if m.Pool != "ec2" || m.Address == "" || m.PublicIP == "" || m.Region != virginia || m.Type != "m5.large" || m.LaunchedAt == nil {
			t.Errorf("machine %d is %+v", i, m)
		}
		leases := c.leases(m)
		if len(leases) != 1 || leases[0].Seq != 1 || leases[0].Lease != 10*time.Minute || leases[0].End > 65*time.Minute {
			t.Errorf("machine %d has the renewals %+v, want one, of ten minutes, within its life", i, leases)
		}
	}
	c.asToldTo(t, got[0].ProviderID)
	keys, err := filepath.Glob(filepath.Join(dir, "machines", "*"))
	if err != nil || len(keys) != 3 {
		t.Errorf("records of machines: %v, %v, want three", keys, err)
	}
	for _, k := range keys {
		if info, err := os.Stat(k); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", k, info.Mode(), err)
		}
	}
	c.release(p, got...)
	c.release(p, got...) // again, as after a crash
	c.clean(p, 3)
	if keys, _ := filepath.Glob(filepath.Join(dir, "machines", "*")); len(keys) != 0 {
		t.Errorf("keys of machines are left: %v", keys)
	}
}

// asToldTo checks what the machine was told.
func (c *cloud) asToldTo(t *testing.T, id string) {
	t.Helper()
	m := c.host.Machine(filepath.Base(id))
	if m == nil {
		t.Fatalf("there is no machine %s", id)
	}
	p, err := boot.Parse(m.Spec.UserData, m.Spec.LaunchIndex)
	if err != nil {
		t.Fatal(err)
	}
	if p.Lease != 10*time.Minute || p.End != 65*time.Minute || p.Term != 0 {
		t.Errorf("user data has lease %v, end %v, term %d; want 10m, an hour and five minutes, 0", p.Lease, p.End, p.Term)
	}
	meta := m.Spec.Metadata()
	if !meta.TokenRequired || meta.HopLimit != 1 {
		t.Errorf("metadata %+v, want version 2 alone, and one hop", meta)
	}
	if m.Spec.RootVolumeBytes != 40<<30 {
		t.Errorf("disk of %d bytes, want 40 GiB", m.Spec.RootVolumeBytes)
	}
	for key, want := range map[string]string{
		"Name": "loads-" + brokerID + "-hello", "Project": "loads", "RunId": runID, "Uuid": "step-uuid", "Owner": "alice", "loads:broker": brokerID,
	} {
		if meta.Tags[key] != want {
			t.Errorf("tag %s is %q, want %q", key, meta.Tags[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339, meta.Tags["loads:deadline"]); err != nil {
		t.Errorf("the tag of the deadline: %v", err)
	}
	_, _, rules := m.State()
	type hole struct {
		port  int
		group bool
	}
	holes := map[hole]int{}
	for _, r := range rules {
		if r.Egress {
			continue
		}
		if r.Group == "" && r.Peer.String() != "198.51.100.7/32" || r.FromPort != r.ToPort || r.Protocol != "tcp" {
			t.Errorf("rule %+v admits more than it should", r)
		}
		holes[hole{r.FromPort, r.Group != ""}]++
	}
	if len(holes) != 5 || holes[hole{order.PeerPort, true}] != 1 || holes[hole{order.SeedPort, true}] != 1 || holes[hole{2376, false}] != 1 || holes[hole{8000, false}] != 1 || holes[hole{8000, true}] != 1 {
		t.Errorf("admitted %v, want the broker to 2376 and 8000, and the run's machines to 8000 and to the images of each other", holes)
	}
}

// Private ports are for the broker and its users: not for machines of the run,
// not even when these publish the same port.
func TestPool_AdmitsOnlyTheBrokerAndUsersToPrivatePorts(t *testing.T) {
	t.Parallel()
	c := startCloud(t, quick())
	p := c.open(t.TempDir(), func(cfg *aws.Config) { cfg.Users = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} })
	other := c.acquire(p, requests(1, func(r *broker.MachineRequest) {
		r.Ports = []strategies.Port{{Container: 8086, Host: 8086, Protocol: "tcp"}}
	}))
	got := c.acquire(p, requests(1, func(r *broker.MachineRequest) {
		r.Token, r.Step, r.Ports, r.Private = "monitor", 1, nil, []int{8086, 3000}
	}))
	_, _, rules := c.host.Machine(filepath.Base(got[0].ProviderID)).State()
	admitted := map[string]bool{}
	for _, r := range rules {
		if !r.Egress {
			admitted[fmt.Sprint(r.FromPort, "-", r.ToPort, " ", r.Peer, " ", r.Group)] = true
		}
	}
	want := map[string]bool{}
	for _, at := range []string{"2376-2376 198.51.100.7/32 ", "8086-8086 198.51.100.7/32 ", "8086-8086 203.0.113.0/24 ", "3000-3000 198.51.100.7/32 ", "3000-3000 203.0.113.0/24 "} {
		want[at] = true
	}
	if !maps.Equal(admitted, want) {
		t.Errorf("admitted are %v, want %v", admitted, want)
	}
	c.release(p, append(got, other...)...)
	c.clean(p, 2)
}

func TestPool_GivesTheSameMachineForTheSameToken(t *testing.T) {
	t.Parallel()
	c := startCloud(t, quick())
	dir := t.TempDir()
	first := c.acquire(c.open(dir, nil), requests(2, nil))
	p := c.open(dir, nil) // the broker was killed, and its answer lost
	second := c.acquire(p, requests(2, nil))
	for i := range first {
		if first[i].ProviderID != second[i].ProviderID || first[i].Endpoint != second[i].Endpoint {
			t.Errorf("machine %d was %s at %v, and is %s at %v", i, first[i].ProviderID, first[i].Endpoint, second[i].ProviderID, second[i].Endpoint)
		}
		seq := uint64(0)
		for _, l := range c.leases(second[i]) {
			if l.Seq <= seq {
				t.Errorf("renewal %d came after %d", l.Seq, seq)
			}
			seq = l.Seq
		}
	}
	c.release(p, second...)
	c.clean(p, 2)
}

func TestReceipt_IsEC2sOwnAccount(t *testing.T) {
	t.Parallel()
	c := startCloud(t, quick())
	dir := t.TempDir()
	p := c.open(dir, nil)
	west := requests(1, func(r *broker.MachineRequest) { r.Region, r.Token = "us-west-2", "west" })
	got := append(c.acquire(p, requests(2, nil)), c.acquire(p, west)...)
	receipt, err := p.Receipt(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, left := range receipt.Left {
		kinds[left.Kind]++
	}
	want := map[string]int{"instance": 3, "volume": 3, "network-interface": 3, "security-group": 2}
	if receipt.Launched != 3 || receipt.Terminated != 0 || !maps.Equal(kinds, want) {
		t.Errorf("receipt %+v, want 3 machines launched, none terminated, left %v", receipt, want)
	}
	p = c.open(dir, nil) // and after a restart
	c.release(p, got...)
	c.left(3)
	receipt, err = p.Receipt(t.Context(), runID)
	if err != nil || receipt.Launched != 3 || receipt.Terminated != 3 || len(receipt.Left) != 0 {
		t.Errorf("receipt %+v, %v; want 3 machines launched and terminated, and nothing left", receipt, err)
	}
	for kind, tally := range c.sim.State().Receipt {
		if tally.Left != 0 {
			t.Errorf("%d %s are left", tally.Left, kind)
		}
	}
}

// TestAdmit_LetsMachinesOfOtherRegionsInByTheirPublicAddresses also asks again,
// with a pool that remembers nothing of it, and whose broker has moved.
func TestAdmit_LetsMachinesOfOtherRegionsInByTheirPublicAddresses(t *testing.T) {
	t.Parallel()
	c := startCloud(t, quick())
	dir := t.TempDir()
	p := c.open(dir, nil)
	server := c.acquire(p, requests(1, nil))
	clients := c.acquire(p, requests(2, func(r *broker.MachineRequest) {
		r.Step, r.Region, r.Token, r.Ports = 1, "eu-central-1", "client-"+r.Token, nil
	}))
	all := append(slices.Clone(server), clients...)
	for range 2 {
		if err := p.Admit(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		p = c.open(dir, func(cfg *aws.Config) { cfg.From = []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")} })
	}
	open := func(m broker.Machine) (from []string) {
		_, _, rules := c.host.Machine(filepath.Base(m.ProviderID)).State()
		for _, r := range rules {
			if !r.Egress && r.Group == "" {
				from = append(from, fmt.Sprintf("%d to %v", r.FromPort, r.Peer))
			}
		}
		slices.Sort(from)
		return from
	}
	want := []string{
		"2376 to 198.51.100.7/32", "8000 to 198.51.100.7/32", "2376 to 198.51.100.9/32", "8000 to 198.51.100.9/32",
		"8000 to " + clients[0].PublicIP + "/32", "8000 to " + clients[1].PublicIP + "/32",
	}
	slices.Sort(want)
	// Machines are told their rules after the call is answered.
	waittest.Until(t, fmt.Sprintf("the server admits %v", want), 5*time.Minute, func() bool { return slices.Equal(open(server[0]), want) })
	waittest.Until(t, fmt.Sprintf("a client, which publishes nothing, admits %v", want[:2]), 5*time.Minute, func() bool { return slices.Equal(open(clients[0]), want[:2]) })
	c.release(p, all...)
	c.clean(p, 3)
}

func TestNotices_AreOfSpotMachinesThatAreTaken(t *testing.T) {
	t.Parallel()
	drill := quick()
	drill.Delays.Notice = ec2sim.Fixed(time.Hour)
	c := startCloud(t, drill)
	p := c.open(t.TempDir(), nil)
	spot := c.acquire(p, requests(2, func(r *broker.MachineRequest) { r.Spot = strategies.SpotOnly }))
	notices := func() []broker.Notice {
		t.Helper()
		list, err := p.Notices(t.Context(), spot)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := notices(); len(list) != 0 {
		t.Errorf("notices %+v, want none while none is taken", list)
	}
	before := time.Now()
	if err := c.sim.Strike(filepath.Base(spot[1].ProviderID), ec2sim.Fault{Name: ec2sim.SpotTaken}); err != nil {
		t.Fatal(err)
	}
	var list []broker.Notice
	waittest.Until(t, "there is a notice", 5*time.Minute, func() bool {
		list = notices()
		return len(list) > 0
	})
	// EC2 says when it marked the machine, in whole seconds, which is two minutes ahead.
	if n := list[0]; len(list) != 1 || n.ProviderID != spot[1].ProviderID || n.At.Before(before.Add(2*time.Minute-time.Second)) {
		t.Errorf("notices %+v, want one of %s, two minutes ahead of %v", list, spot[1].ProviderID, before)
	}
	c.release(p, spot...)
	c.clean(p, 2)
}

// TestNotices_OfOtherRegionsComeThoughOneDoesNotAnswer loses none for want of another.
func TestNotices_OfOtherRegionsComeThoughOneDoesNotAnswer(t *testing.T) {
	t.Parallel()
	drill := quick()
	drill.Delays.Notice = ec2sim.Fixed(time.Hour)
	c := startCloud(t, drill)
	p := c.open(t.TempDir(), nil)
	spot := c.acquire(p, requests(2, func(r *broker.MachineRequest) {
		r.Spot = strategies.SpotOnly
		if r.Index == 1 {
			r.Region = "eu-central-1"
		}
	}))
	c.sim.Arm(ec2sim.Fault{Name: ec2sim.ErrorAfter, Action: "DescribeSpotInstanceRequests", Region: virginia})
	if err := c.sim.Strike(filepath.Base(spot[1].ProviderID), ec2sim.Fault{Name: ec2sim.SpotTaken}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "there is a notice of the other region's machine, and an error", 5*time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		list, err := p.Notices(ctx, spot)
		return err != nil && len(list) == 1 && list[0].ProviderID == spot[1].ProviderID
	})
	c.release(p, spot...)
	c.clean(p, 2)
}
