package nshost_test

import (
	"bytes"
	"fmt"
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
	os.Exit(m.Run())
}

// patience is how long a condition may take on a busy computer.
const patience = 40 * time.Second

// lab is a host with its machines.
type lab struct {
	t    testing.TB
	host *nshost.Host
	next atomic.Uint32
}

func newLab(t testing.TB) *lab {
	t.Helper()
	host, err := nshost.New(t.Context(), nshost.Options{Dir: t.TempDir()})
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
		ID: fmt.Sprintf("i-%017d", l.next.Load()), Region: "us-east-1", Zone: "us-east-1a", Type: "m5.large", Arch: "x86_64",
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
func await(t testing.TB, m ec2sim.Machine, text string) {
	t.Helper()
	eventually(t, "the console says "+text, func() bool { return bytes.Contains(m.Console(), []byte(text)) })
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// said returns what stands after the prefix on the console, on a line.
func said(t testing.TB, m ec2sim.Machine, prefix string) string {
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

func TestFirst(t *testing.T) {
	l := newLab(t)
	start := time.Now()
	m := l.boot(l.spec(`set -x
id; hostname; ip addr; ip route; cat /proc/1/cgroup; cat /proc/mounts; ls / /home /etc/systemd/system /dev
df -h / /var/lib/docker
systemctl status docker; docker info; systemctl is-active docker
free -m; ps axf
TOKEN=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
curl -s -H "X-aws-ec2-metadata-token: $TOKEN" http://169.254.169.254/latest/meta-data/
echo DONE
`))
	await(t, m, "\nDONE")
	t.Log(time.Since(start))
	t.Logf("%s", m.Console())
}
