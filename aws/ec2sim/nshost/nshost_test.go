//go:build linux

package nshost_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost"
	"github.com/loads/loads/aws/ec2sim/nshost/initd"
)

func TestMain(m *testing.M) {
	initd.Takeover() // this program is the machines' process 1, too
	if base := os.Getenv(holdEnv); base != "" {
		fmt.Fprintln(os.Stderr, hold(base))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// patience is how long a condition may take on a busy computer.
const patience = 5 * time.Minute

// tester is what of a test is used here; a program of its own has none.
type tester interface {
	Cleanup(func())
	Context() context.Context
	Failed() bool
	Fatal(...any)
	Fatalf(string, ...any)
	Error(...any)
	Helper()
	Logf(string, ...any)
}

// lab is a host with its machines.
type lab struct {
	t    tester
	host *nshost.Host
	next atomic.Uint32
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabIn(t, t.TempDir())
}

func newLabIn(t tester, dir string) *lab {
	t.Helper()
	host, err := nshost.New(t.Context(), nshost.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, host: host}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// address returns one that no machine has yet.
func (l *lab) address() netip.Addr {
	a := l.host.Addresses().Addr()
	for range 16 + l.next.Add(1) {
		a = a.Next()
	}
	return a
}

// everything admits all traffic, in and out.
func everything() []ec2sim.Rule {
	all := ec2sim.Rule{Protocol: "-1", Peer: netip.MustParsePrefix("0.0.0.0/0")}
	out := all
	out.Egress = true
	return []ec2sim.Rule{all, out}
}

// spec describes a machine that runs the script.
func (l *lab) spec(script string) ec2sim.MachineSpec {
	private := l.address()
	metadata := ec2sim.Metadata{
		Enabled: true, TokenRequired: true, HopLimit: 1, AMI: "ami-0123456789abcdef0", Account: "123456789012",
		LaunchTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Tags: map[string]string{"Project": "loads"},
	}
	return ec2sim.MachineSpec{
		ID: fmt.Sprintf("i-%016x%x", rand.Uint64(), l.next.Load()%16), Region: "us-east-1", Zone: "us-east-1a", Type: "m5.large", Arch: "x86_64",
		PrivateIP: private, PublicIP: l.address(), UserData: []byte("#!/bin/bash\n" + script),
		Metadata: func() ec2sim.Metadata { return metadata },
		Rules:    everything(), RootVolumeBytes: 8 << 30,
	}
}

func (l *lab) boot(spec ec2sim.MachineSpec) ec2sim.Machine {
	l.t.Helper()
	m, err := l.host.Boot(l.t.Context(), spec)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("console of %s:\n%s", spec.ID, m.Console())
		}
	})
	return m
}

// await waits for a line of the console that has the text.
func await(t tester, m ec2sim.Machine, text string) {
	t.Helper()
	eventually(t, "the console says "+text, func() bool { return bytes.Contains(m.Console(), []byte(text)) })
}

func eventually(t tester, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// said returns what stands after the prefix on the console, on a line.
func said(t tester, m ec2sim.Machine, prefix string) string {
	t.Helper()
	var found string
	eventually(t, "the console says "+prefix, func() bool {
		for line := range strings.Lines(string(m.Console())) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(rest)
				return true
			}
		}
		return false
	})
	return found
}

// withoutDocker is user data that runs the script on a machine whose engine
// isn't started, which is quicker: MIME with a boothook.
func withoutDocker(script string) []byte {
	return []byte(`MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=="

--==
Content-Type: text/cloud-boothook; charset="us-ascii"

#!/bin/sh
systemctl disable docker
--==
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
` + script + `
--==--
`)
}

// plain describes a machine without Docker that runs the script.
func (l *lab) plain(script string) ec2sim.MachineSpec {
	s := l.spec("")
	s.UserData = withoutDocker(script)
	return s
}

// serving is a script that answers on a TCP port with the address that asks.
func serving(port int) string {
	return fmt.Sprintf(`perl -MIO::Socket::INET -e '
$| = 1;
my $s = IO::Socket::INET->new(LocalPort => %d, Listen => 9, ReuseAddr => 1) or die;
print "LISTENING\n";
while (my $c = $s->accept) { print $c $c->peerhost, "\n"; close $c }' &
`, port)
}

// isOpen reports whether a connection to the port comes about at once.
func isOpen(addr netip.Addr, port uint16) bool {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, port).String(), 300*time.Millisecond)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
