//go:build linux

package nshost_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost"
)

func TestMachine_TurnsItselfOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, command := range map[string]string{
		"poweroff":           "poweroff",
		"forced":             "poweroff -f",
		"by systemctl":       "systemctl poweroff",
		"shutdown now":       "shutdown -h now",
		"by the system call": "perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var offs atomic.Int32
			spec := l.plain(command)
			spec.OnPowerOff = func() { offs.Add(1) }
			m := l.boot(spec)
			eventually(t, "it is off", func() bool { return offs.Load() > 0 })
			if err := m.Terminate(t.Context()); err != nil {
				t.Error(err)
			}
			if got := offs.Load(); got != 1 {
				t.Errorf("OnPowerOff was called %d times, want once", got)
			}
		})
	}
}

func TestMachine_KeepsItsDiskWhileItIsOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	script := `echo FIRST BOOT
cat >/etc/systemd/system/boots.service <<'END'
[Service]
ExecStart=/bin/sh -c 'echo $$(cat /root/note) in boot $$(wc -l </var/boots) >>/dev/console'
ExecStartPre=/bin/sh -c 'echo again >>/var/boots'
[Install]
WantedBy=multi-user.target
END
echo kept >/root/note
systemctl enable --now boots
`
	var offs atomic.Int32
	spec := l.plain(script)
	spec.OnPowerOff = func() { offs.Add(1) }
	m := l.boot(spec)
	await(t, m, "kept in boot 1")
	for _, stop := range []struct {
		name string
		hard bool
		then string
	}{
		{"softly", false, "kept in boot 2"},
		{"hard", true, "kept in boot 3"},
	} {
		if err := m.Stop(t.Context(), stop.hard); err != nil {
			t.Fatalf("stop %s: %v", stop.name, err)
		}
		if left := processesNaming(t, spec.ID); len(left) > 0 {
			t.Errorf("stopped %s, processes are left: %v", stop.name, left)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		await(t, m, stop.then)
	}
	if got := strings.Count(string(m.Console()), "FIRST BOOT"); got != 1 {
		t.Errorf("the user data has run %d times, want once", got)
	}
	if offs.Load() != 0 {
		t.Error("OnPowerOff was called for a stop that was asked for")
	}
}

func TestMachine_RebootsByItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var offs atomic.Int32
	spec := l.plain(`
cat >/etc/systemd/system/boots.service <<'END'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo again >>/var/boots; echo in boot $$(wc -l </var/boots) >>/dev/console'
[Install]
WantedBy=multi-user.target
END
systemctl enable --now boots
reboot
`)
	spec.OnPowerOff = func() { offs.Add(1) }
	m := l.boot(spec)
	await(t, m, "in boot 2")
	if offs.Load() != 0 {
		t.Error("OnPowerOff was called for a reboot")
	}
}

func TestMachine_SoftStopEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	m := l.boot(l.plain(`
cat >/etc/systemd/system/stubborn.service <<'END'
[Service]
ExecStart=/bin/sh -c 'trap "" TERM; echo STUBBORN >>/dev/console; while :; do sleep 1; done'
END
systemctl start stubborn
`))
	await(t, m, "STUBBORN")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := m.Stop(ctx, false); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil { // it is off, so it can be
		t.Fatal(err)
	}
}

func TestMachine_IsGoneWhenKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var offs atomic.Int32
	spec := l.plain(serving(9000))
	spec.OnPowerOff = func() { offs.Add(1) }
	m := l.boot(spec)
	await(t, m, "LISTENING")
	if err := m.Stop(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if left := processesNaming(t, spec.ID); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if isOpen(spec.PrivateIP, 9000) {
		t.Error("it answers still")
	}
	if offs.Load() != 0 {
		t.Error("OnPowerOff was called for a machine that was killed")
	}
}

func TestFault_CutOffFromTheNetwork(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	spec := l.plain(serving(9000))
	m := l.boot(spec)
	await(t, m, "LISTENING")
	for _, cut := range []bool{true, false} {
		if err := m.Cut(cut); err != nil {
			t.Fatal(err)
		}
		if cut {
			if isOpen(spec.PublicIP, 9000) {
				t.Error("it can be reached though it is cut off")
			}
			continue
		}
		eventually(t, "it can be reached again", func() bool { return isOpen(spec.PublicIP, 9000) })
	}
}

func TestFault_NoDocker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	spec := l.spec("systemctl restart docker; echo \"restarted: $?\"; systemctl is-active docker; echo \"active: $?\"; dockerd --version; echo \"found: $?\"")
	spec.NoDocker = true
	m := l.boot(spec)
	if got := said(t, m, "restarted: "); got != "1" {
		t.Errorf("systemctl restart docker: got exit code %s, want 1", got)
	}
	if got := said(t, m, "active: "); got != "3" {
		t.Errorf("systemctl is-active docker: got exit code %s, want 3", got)
	}
	if got := said(t, m, "found: "); got != "1" {
		t.Errorf("dockerd, as a shell finds it: got exit code %s, want 1", got)
	}
}

func TestFault_DiskFull(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	spec := l.plain(`
cat >/usr/local/bin/try <<'END'
#!/bin/bash
until [ -e /var/lib/docker/full ] && ! head -c 100000 /dev/zero >/root/more; do sleep 0.05; done 2>/dev/null
echo "FULL: $(df --output=avail / | tail -1)" >>/dev/console
END
chmod +x /usr/local/bin/try
(try &) </dev/null >/dev/null 2>&1
`)
	spec.DiskFull = true
	spec.RootVolumeBytes = 1 << 30
	m := l.boot(spec)
	if got := said(t, m, "FULL: "); got != "0" {
		t.Errorf("free on the disk: got %s KiB, want none", got)
	}
}

func TestHost_RefusesWhatCantBe(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	good := l.plain("")
	for name, tt := range map[string]struct {
		change func(*ec2sim.MachineSpec)
		want   string
	}{
		"a clock of its own":         {func(s *ec2sim.MachineSpec) { s.ClockOffset = time.Second }, nshost.ErrClock.Error()},
		"an address of the host":     {func(s *ec2sim.MachineSpec) { s.PrivateIP = l.host.Outside() }, "not one for machines"},
		"an address from elsewhere":  {func(s *ec2sim.MachineSpec) { s.PublicIP = netip.MustParseAddr("192.0.2.9") }, "not one for machines"},
		"no address":                 {func(s *ec2sim.MachineSpec) { s.PrivateIP = netip.Addr{} }, "no private address"},
		"an id that leads elsewhere": {func(s *ec2sim.MachineSpec) { s.ID = "../x" }, "is none"},
		"several faults, both told":  {func(s *ec2sim.MachineSpec) { s.ID, s.ClockOffset = "", time.Hour }, "is none\n" + nshost.ErrClock.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			spec := good
			tt.change(&spec)
			_, err := l.host.Boot(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
			if strings.Contains(name, "clock") && !errors.Is(err, nshost.ErrClock) {
				t.Errorf("got %v, want ErrClock", err)
			}
		})
	}
}
