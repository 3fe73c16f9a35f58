package boot_test

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/aws/boot"
)

// quick are parameters of a machine that ends after 4 seconds if it is not
// renewed, and looks each second.
func quick(t *testing.T) boot.Params {
	t.Helper()
	p := params(t)
	p.Lease, p.Tick, p.Orderly = 4*time.Second, time.Second, 2*time.Second
	return p
}

func TestLease_EndsTheMachineThatNobodyRenews(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, fault string }{
		{"a machine in good order", "true"},
		{"its disk hangs", `printf '#!/bin/bash\nsleep 1000\n' >/usr/bin/sync`},
		{"its disk takes nothing", "until rm -r /var/lib/loads; do :; done && touch /var/lib/loads"},
		{"its watchdog is stopped by a program of no manners", "kill -TERM $(</record/watchdog)"},
		{"it has lost its programs", "rm /usr/bin/{mkdir,mv,sync,sleep,readlink}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.bear(quick(t))
			if m.do(row.fault) != 0 {
				t.Fatal("the fault could not be made")
			}
			m.awaitOff("its lease was not renewed")
			if got := m.state(); got.until != 4 {
				t.Errorf("got state %+v, want the lease to have ended at age 4", got)
			}
			// Nobody turned it off, so it is forced to.
			m.await("a forced shutdown", func() bool { return strings.Contains(m.read("record/calls"), "poweroff -f\n") })
		})
	}
}

func TestLease_LastsAsLongAsItIsRenewed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.renew(boot.Renewal{Seq: 1, Lease: time.Hour, End: 2 * time.Hour})
	m.bear(quick(t))
	m.awaitAge(6)
	if got := m.state(); got.seq != 1 || got.until < 3600 || got.end != 7200 {
		t.Errorf("got state %+v, want the renewal in it, and the term's end not moved", got)
	}
	m.renew(boot.Renewal{Seq: 2, Lease: 2 * time.Second, End: 2 * time.Hour})
	m.awaitOff("its lease was not renewed")
}

func TestLease_IsNotProlongedByWhatIsNoNewerRenewal(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, file string }{
		{"the same again", "loads-lease 3 5 3600 3600 .\n"},
		{"an older one", "loads-lease 3 4 3600 3600 .\n"},
		{"one of the term before", "loads-lease 2 6 3600 3600 .\n"},
		{"half of one", "loads-lease 4 6 3600"},
		{"all but its end", "loads-lease 4 6 3600 3600 ."},
		{"one with more in it", "loads-lease 4 6 3600 3600 1 .\n"},
		{"text in place of a number", "loads-lease 4 6 seq[$(touch${IFS}/record/oops)] 3600 .\n"},
		{"a negative number", "loads-lease 4 6 -1 3600 .\n"},
		{"an octal number", "loads-lease 4 6 07777 3600 .\n"},
		{"a number out of range", "loads-lease 4 6 9223372036854775807 3600 .\n"},
		{"zeros", strings.Repeat("\x00", 4096)},
		{"nothing", ""},
	}
	machines := make([]*machine, len(rows)) // they take their time, so all at once
	for i, row := range rows {
		m := newMachine(t)
		p := quick(t)
		p.Term = 3
		m.renew(boot.Renewal{Term: 3, Seq: 5, Lease: 3 * time.Second, End: time.Hour})
		m.bear(p)
		m.await("the renewal", func() bool { return m.state().seq == 5 })
		m.write(boot.LeaseFile, row.file)
		machines[i] = m
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := machines[i]
			m.await("power off", m.isOff)
			if got := m.state(); got.seq != 5 || got.term != 3 {
				t.Errorf("got state %+v, want that of the renewal before", got)
			}
			if m.do("test -e /record/oops") == 0 {
				t.Error("what was in the file has been run")
			}
		})
	}
}

func TestTerm_EndsHoweverOftenTheLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.End = 5 * time.Second
	seq := uint64(1)
	m.renew(boot.Renewal{Seq: seq, Lease: time.Hour, End: time.Hour})
	m.bear(p)
	m.await("power off", func() bool {
		seq++
		m.renew(boot.Renewal{Seq: seq, Lease: time.Hour, End: time.Hour})
		return m.isOff()
	})
	m.awaitOff("the end of its term has come")
	if got := m.state(); got.end != 5 || got.until < 3600 {
		t.Errorf("got state %+v, want a lease of an hour, and the term's end at age 5", got)
	}
}

func TestTerm_IsFollowedByANewOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.End = 5 * time.Second
	m.renew(boot.Renewal{Term: 1, Seq: 1, Lease: time.Hour, End: time.Hour})
	m.bear(p)
	m.awaitAge(7)
	m.renew(boot.Renewal{Term: 1, Seq: 2, Lease: time.Hour, End: 2 * time.Second}) // a budget is used up
	m.awaitOff("the end of its term has come")
}

func TestWatchdog_DoesNotAskTheClock(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	library := filepath.Join(m.dir, "record", "clock.so")
	out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-Wall", "-o", library, "testdata/machine/clock.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("build the clock: %v\n%s", err, out)
	}
	m.write("record/offset", "31536000\n")
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	if m.do(`(( $(LD_PRELOAD=/record/clock.so date +%s) > $(date +%s) + 31000000 ))`) != 0 {
		t.Fatal("the clock is not wrong")
	}
	m.awaitAge(3) // a year ahead does not end it
	for _, offset := range []string{"-86400\n", "-31536000\n"} {
		m.write("record/offset", offset)
		m.awaitAge(m.state().age + 1)
	}
	m.renew(boot.Renewal{Seq: 1, Lease: 2 * time.Second, End: time.Hour})
	m.awaitOff("its lease was not renewed") // and set back, it does not keep it alive
}

func TestWatchdog_IsReplacedWhenKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	m.awaitAge(3)
	first := m.read("record/watchdog")
	m.do("kill -9 $(</record/watchdog)")
	m.await("another watchdog", func() bool { return m.read("record/watchdog") != first && len(m.starts()) == 2 })
	if got := m.starts(); !atLeast(got[1], 3) {
		t.Errorf("got watchdogs that began at ages %v, want the second to go on from the first", got)
	}
	m.renew(boot.Renewal{Seq: 1, Lease: 2 * time.Second, End: time.Hour})
	m.awaitOff("its lease was not renewed")
}

func TestWatchdog_KeepsARenewalWhenTheDiskHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	m.do(`printf '#!/bin/bash\nsleep 1000\n' >/usr/bin/sync`)
	m.awaitAge(m.state().age + 2)
	m.renew(boot.Renewal{Term: 1, Seq: 1, Lease: 2 * time.Hour, End: 3 * time.Hour})
	m.await("the renewal", func() bool { return m.state().seq == 1 })
	before := m.state()
	m.awaitAge(before.age + 2)
	first := m.read("record/watchdog")
	m.do("kill -9 $(</record/watchdog)")
	m.await("another watchdog", func() bool { return m.read("record/watchdog") != first && len(m.starts()) == 2 })
	m.awaitAge(m.state().age + 1)
	if got := m.state(); got.until != before.until || got.end != before.end {
		t.Errorf("got state %+v, want the ends of %+v", got, before)
	}
}

func TestWatchdog_GoesOnWhenNoProcessCanBeStarted(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	first := m.read("record/watchdog")
	group := m.controlGroup()
	if m.do("cat /record/watchdog >"+group+"/cgroup.procs && echo 1 >"+group+"/pids.max") != 0 {
		t.Fatal("the watchdog can't be held to one process")
	}
	m.await("a shell that becomes itself again", func() bool { return len(m.starts()) >= 2 })
	m.renew(boot.Renewal{Seq: 1, Lease: 2 * time.Hour, End: time.Hour})
	m.await("the renewal", func() bool { return m.state().seq == 1 })
	if got := m.read("record/watchdog"); got != first {
		t.Errorf("got watchdog %s, want %s to go on", got, first)
	}
	m.renew(boot.Renewal{Seq: 2, Lease: time.Second, End: time.Hour})
	if m.do("echo max >"+group+"/pids.max") != 0 {
		t.Fatal("the limit can't be lifted")
	}
	m.awaitOff("its lease was not renewed")
}

func TestMachine_AgesOnAfterAStopAndAStart(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease, p.End = time.Hour, 2*time.Hour
	m.bear(p)
	m.await("its age on disk", func() bool { return m.diskAge() >= 4 })
	m.unplug()
	age := m.diskAge()
	m.start()
	m.do("systemctl start loads-lease.service") // what systemd does at each boot
	m.await("the second boot", func() bool { return m.state().age > age })
	if got := m.starts(); len(got) != 2 || got[1] != strconv.Itoa(age) {
		t.Errorf("got watchdogs that began at ages %v, want the second at %d, where the first ended", got, age)
	}
	if got := m.state(); got.until != 3600 || got.end != 7200 {
		t.Errorf("got state %+v, want the ends of the first boot", got)
	}
}

func TestMachine_EndsWhenItsAgeIsLost(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	m.awaitAge(2)
	m.unplug()
	m.write("upper/var/lib/loads/state", "")
	m.start()
	m.do("systemctl start loads-lease.service")
	m.await("power off", m.isOff)
}

func TestUserData_RaisesTheKernelsLimits(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	for file, want := range map[string]string{"ipv4/ip_local_port_range": "1024 65535", "core/somaxconn": "65535"} {
		if m.do(`read -ra now </proc/sys/net/`+file+` && [[ ${now[*]} == "`+want+`" ]]`) != 0 {
			t.Errorf("%s is not %s", file, want)
		}
	}
	// A network namespace has not all of them, and may not change the computer's.
	const says = "loads-boot: the kernel does not take these limits: net.core.netdev_max_backlog"
	if console := m.read("record/console"); !strings.Contains(console, says) {
		t.Errorf("got console %q, want %q in it", console, says)
	}
}

func TestUserData_RunTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := quick(t)
	p.Lease = time.Hour
	m.bear(p)
	m.awaitAge(2)
	first := m.read("record/watchdog")
	list := "find /etc/loads /etc/systemd/system /etc/sysctl.d /usr/local/lib/loads -newer /record/user-data -type f -printf '%p %m %s\\n' | sort >/record/list"
	m.do(list)
	before := m.read("record/list")
	m.runUserData()
	m.do(list)
	if after := m.read("record/list"); after != before || !strings.Contains(before, "/etc/loads/server-key.pem 600 ") {
		t.Errorf("got files %q after the second time, %q after the first", after, before)
	}
	if got := m.read("record/watchdog"); got != first {
		t.Errorf("got watchdog %s, want %s as before", got, first)
	}
	if got := m.state(); got.age < 2 || got.until != 3600 {
		t.Errorf("got state %+v, want it to go on", got)
	}
	if n := strings.Count(m.read("record/console"), "loads-boot: done"); n != 2 {
		t.Errorf("the console says %d times that it is done, want 2", n)
	}
}

func TestUserData_PowersOffWithoutAWatchdog(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, fault string }{
		{"it can't be installed", "mkdir -p /usr/local/lib/loads/watchdog/x"},
		{"it does not run", "mkdir -p /run/started && ln -sf true /usr/bin/sleep"}, // to systemctl it does
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.write("record/user-data", string(mustUserData(t, quick(t))))
			m.start()
			if m.do(row.fault+" && bash /record/user-data") == 0 {
				t.Error("the user data ended well")
			}
			if !m.isOff() || strings.Contains(m.read("record/calls"), "docker") {
				t.Errorf("got calls %q, want a shutdown before anything else", m.read("record/calls"))
			}
			if !strings.Contains(m.read("record/console"), "no watchdog runs, so this machine powers off") {
				t.Errorf("got console %q, want the reason in it", m.read("record/console"))
			}
		})
	}
}

func TestRenewal_SaysAllThatIsWrong(t *testing.T) {
	_, err := boot.Renewal{Term: 1e15, Lease: -time.Second}.File()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"number 0", "15 digits", "lease of -1s", "end of 0s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func atLeast(number string, least int) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n >= least
}
