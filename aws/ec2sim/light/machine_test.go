package light_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/internal/waittest"
)

// withoutDocker is for tests in which time is not real: nothing listens then.
func withoutDocker(spec *ec2sim.MachineSpec) { spec.NoDocker = true }

func TestLease_EndsTheMachine(t *testing.T) {
	for _, row := range []struct {
		name       string
		lease, end time.Duration
		want       time.Duration
	}{
		{"when it is not renewed", 10 * time.Minute, time.Hour, 10 * time.Minute},
		{"when its term is over before", time.Hour, 20 * time.Minute, 20 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustCloud(t)
				m := c.boot(row.lease, row.end, withoutDocker)
				time.Sleep(row.want - time.Nanosecond)
				synctest.Wait()
				if n := m.offs.Load(); n != 0 {
					t.Fatalf("it powered itself off before %v", row.want)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if n := m.offs.Load(); n != 1 {
					t.Errorf("it powered itself off %d times after %v, want once", n, row.want)
				}
				if !strings.Contains(string(m.Console()), "powering off") {
					t.Errorf("the console says %q", m.Console())
				}
			})
		})
	}
}

func TestLease_StandsStillWhileTheMachineIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustCloud(t)
		m := c.boot(10*time.Minute, time.Hour, withoutDocker)
		time.Sleep(4 * time.Minute)
		if err := m.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6*time.Minute - time.Second)
		synctest.Wait()
		if m.offs.Load() != 0 {
			t.Fatal("the time that it was off was counted")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if m.offs.Load() != 1 {
			t.Error("it lives on after its lease")
		}
		if err := errors.Join(m.Start(t.Context()), m.Terminate(t.Context()), m.Start(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// renew renews a machine's lease as a broker does.
func renew(t *testing.T, e *dockerctl.Engine, r boot.Renewal) error {
	t.Helper()
	spec, err := boot.LeaseContainer("lease", nil, r)
	if err != nil {
		t.Fatal(err)
	}
	spec.Image, err = e.EnsureImage(t.Context(), "node:1", "")
	if err != nil {
		return err
	}
	id, err := e.Create(t.Context(), spec)
	if err != nil {
		return err
	}
	return e.PutFiles(t.Context(), id, spec.Files)
}

func TestLease_IsRenewedThroughDocker(t *testing.T) {
	c := mustCloud(t)
	m := c.boot(time.Hour, 2*time.Hour, nil)
	e := c.docker(m)
	for _, r := range []boot.Renewal{
		{Seq: 2, Lease: time.Hour, End: time.Hour},
		{Seq: 1, Lease: time.Second, End: time.Second}, // is older
		{Seq: 2, Lease: time.Second, End: time.Second}, // was read
	} {
		if err := renew(t, e, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = renew(t, e, boot.Renewal{Seq: 3, Lease: time.Second, End: time.Hour}) // it may be off before it has answered
	await(t, "the end of the shorter lease", func() bool { return m.offs.Load() == 1 })
	_, err := e.Info(t.Context())
	wantCode(t, err, broker.EUnavailable)
}

func TestDocker_AnswersOnlyMutualTLS(t *testing.T) {
	c := mustCloud(t)
	m := c.boot(time.Hour, time.Hour, nil)
	if _, err := c.docker(m).Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := trust.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addr, _, _ := net.SplitHostPort(strings.TrimPrefix(m.endpoint.Host, "tcp://"))
	stranger, err := other.Endpoint(other.ID(), "machine", addr)
	if err != nil {
		t.Fatal(err)
	}
	stranger.CA = m.endpoint.CA // it believes the machine; the machine doesn't believe it
	for name, ep := range map[string]broker.Endpoint{
		"another broker's certificate": stranger, "no certificate": {Host: m.endpoint.Host},
	} {
		if _, err := mustOpen(t, ep).Info(t.Context()); err == nil {
			t.Errorf("%s was let in", name)
		}
	}
}

func TestMachine_FaultsOfItsSpec(t *testing.T) {
	for _, row := range []struct {
		name  string
		edit  func(*ec2sim.MachineSpec)
		check func(*testing.T, *dockerctl.Engine)
	}{
		{"without Docker nothing listens", withoutDocker, func(t *testing.T, e *dockerctl.Engine) {
			_, err := e.Info(t.Context())
			wantCode(t, err, broker.EUnavailable)
		}},
		{"with user data of others nothing listens", func(s *ec2sim.MachineSpec) { s.UserData = []byte("#!/bin/sh\n") }, func(t *testing.T, e *dockerctl.Engine) {
			_, err := e.Info(t.Context())
			wantCode(t, err, broker.EUnavailable)
		}},
		{"a clock that is ahead is told so", func(s *ec2sim.MachineSpec) { s.ClockOffset = 90 * time.Second }, func(t *testing.T, e *dockerctl.Engine) {
			info, err := e.Info(t.Context())
			if err != nil || (info.Offset-90*time.Second).Abs() > info.Error+time.Second {
				t.Errorf("got %+v, %v; want an offset of 90 s", info, err)
			}
		}},
		{"on a full disk there is no room for an image", func(s *ec2sim.MachineSpec) { s.DiskFull = true }, func(t *testing.T, e *dockerctl.Engine) {
			if _, err := e.EnsureImage(t.Context(), "nginx:1", ""); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("got %v, want no space left", err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := mustCloud(t)
			row.check(t, c.docker(c.boot(time.Hour, time.Hour, row.edit)))
		})
	}
}

func TestRules_AdmitToDocker(t *testing.T) {
	c := mustCloud(t)
	m := c.boot(time.Hour, time.Hour, nil)
	if err := m.SetRules([]ec2sim.Rule{{Protocol: "tcp", FromPort: 2376, ToPort: 2376, Peer: netip.MustParsePrefix("192.0.2.0/24")}}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(m.endpoint.Host, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("is anybody there?")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a peer without a rule got %v, want no answer", err)
	}
	if err := m.SetRules(anybody()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.docker(m).Info(t.Context()); err != nil {
		t.Errorf("after the rule came: %v", err)
	}
}

func TestCut_StopsTheStreamUntilItIsMended(t *testing.T) {
	c := mustCloud(t)
	m := c.boot(time.Hour, time.Hour, nil)
	b := mustBench(t, c.docker(m))
	id := b.start(b.spec("relay", "relay"))
	out := &waittest.Buffer{}
	ended := make(chan error, 1)
	go func() { ended <- b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, out, nil) }()
	await(t, "the first frame", func() bool { return strings.Contains(out.String(), "\n") })
	other := mustBench(t, c.docker(c.boot(time.Hour, time.Hour, nil)))
	otherID := other.start(other.spec("relay", "relay"))
	seconds := func() int { return strings.Count(other.output(otherID, broker.LogOptions{}), "\n") }
	if err := m.Cut(true); err != nil {
		t.Fatal(err)
	}
	cut, before := time.Now(), seconds()
	called := make(chan error, 1)
	go func() { _, err := b.Info(t.Context()); called <- err }()
	// What was on its way may still come, but no frames of later seconds, which
	// another machine has.
	await(t, "three seconds of another machine", func() bool { return seconds() >= before+3 })
	came := out.String()
	for _, f := range decode(t, came[:strings.LastIndex(came, "\n")]) {
		if f.Time > cut.UnixMilli() {
			t.Errorf("got a frame of %v after the machine was cut off", time.UnixMilli(f.Time).Sub(cut))
		}
	}
	select {
	case err := <-called:
		t.Errorf("a call to a machine that is cut off returned: %v", err)
	default:
	}
	if err := m.Cut(false); err != nil {
		t.Fatal(err)
	}
	if err := <-called; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	if err := b.Stop(t.Context(), id, patience); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	frames := decode(t, out.String())
	for i, f := range frames {
		if f.Seq != uint64(i+1) {
			t.Fatalf("line %d is frame %d: one is missing", i, f.Seq)
		}
	}
	if !frames[len(frames)-1].Final {
		t.Error("the last frame isn't final")
	}
}

func TestStop_EndsContainersAndKeepsThem(t *testing.T) {
	for _, row := range []struct {
		name  string
		hard  bool
		exit  int
		final bool
	}{
		{"in order", false, 0, true},
		{"by pulling the plug", true, 137, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := mustCloud(t)
			m := c.boot(time.Hour, time.Hour, nil)
			b := mustBench(t, c.docker(m))
			id := b.start(b.spec("relay", "relay"))
			ended := make(chan error, 1)
			go func() { ended <- b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, io.Discard, nil) }()
			if err := m.Stop(t.Context(), row.hard); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; row.hard && err == nil {
				t.Error("following a machine that is off ended as if all was read")
			}
			if err := m.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := b.inspect(id); got.Running() || got.ExitCode != row.exit {
				t.Errorf("got %+v, want it ended with %d", got, row.exit)
			}
			frames := decode(t, b.output(id, broker.LogOptions{}))
			if len(frames) == 0 || frames[len(frames)-1].Final != row.final {
				t.Errorf("got %d frames, want the last to be final: %v", len(frames), row.final)
			}
			if m.offs.Load() != 0 {
				t.Error("a machine that was stopped told of powering itself off")
			}
		})
	}
}

func TestClose_LeavesNoListener(t *testing.T) {
	c := mustCloud(t)
	var all []*machine
	for range 20 {
		m := c.boot(time.Hour, time.Hour, func(s *ec2sim.MachineSpec) { s.PublicIP = public(s.PrivateIP) })
		if _, err := c.docker(m).Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if err := all[0].Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Len(); got != 19 {
		t.Errorf("got %d machines after one was terminated, want 19", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		addr := strings.TrimPrefix(m.endpoint.Host, "tcp://")
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
	if _, err := c.Boot(t.Context(), ec2sim.MachineSpec{ID: "i-late"}); err == nil {
		t.Error("a machine booted on a host that is closed")
	}
	if got := c.Len(); got != 0 {
		t.Errorf("%d machines are left", got)
	}
}

// public is the address in the upper half of a host's range for one in the lower.
func public(a netip.Addr) netip.Addr {
	b := a.As4()
	b[1] += 2
	return netip.AddrFrom4(b)
}

func TestHosts_HaveAddressesOfTheirOwn(t *testing.T) {
	a, b := mustCloud(t), mustCloud(t)
	if a.Addresses().Overlaps(b.Addresses()) {
		t.Errorf("got %v and %v, which overlap", a.Addresses(), b.Addresses())
	}
	for _, c := range []*cloud{a, b} {
		if _, err := c.docker(c.boot(time.Hour, time.Hour, nil)).Info(t.Context()); err != nil {
			t.Error(fmt.Errorf("%v: %w", c.Addresses(), err))
		}
	}
}
