//go:build linux

package initd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLoadUnit_AddsDropInsInOrder(t *testing.T) {
	admin, image := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(image, "docker.service"): "[Unit]\n# a comment\nWants=a.service b.service\n" +
			"[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $OPTIONS\nRestart=always\nnonsense\n",
		filepath.Join(admin, "docker.service.d", "20-tls.conf"): "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --tlsverify\n",
		filepath.Join(image, "docker.service.d", "10-a.conf"):   "[Unit]\nWants=c.service\n[Service]\nRestart=on-failure\n",
		filepath.Join(image, "docker.service.d", "20-tls.conf"): "[Service]\nExecStart=never read\n",
	} {
		if err := writeFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	u, err := loadUnit("docker.service", admin, image)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u["Service"]["ExecStart"], []string{"/usr/bin/dockerd --tlsverify"}; !slices.Equal(got, want) {
		t.Errorf("ExecStart: got %q, want %q", got, want)
	}
	if got := u.last("Service", "Restart", "no"); got != "on-failure" {
		t.Errorf("Restart: got %q, want the drop-in's", got)
	}
	if got, want := u.words("Unit", "Wants"), []string{"a.service", "b.service", "c.service"}; !slices.Equal(got, want) {
		t.Errorf("Wants: got %q, want %q", got, want)
	}
}

func TestLoadUnit_Refuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "off.service")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"off.service": "masked", "none.service": "not found"} {
		if _, err := loadUnit(name, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, want)
		}
	}
}

func TestBootOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"docker.service": "[Unit]\nAfter=network-online.target early.service\n", "lease.service": "[Unit]\nBefore=docker.service\n",
		"early.service": "", "a.service": "[Unit]\nAfter=b.service\n", "b.service": "[Unit]\nAfter=a.service\n",
	} {
		if err := writeFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := bootOrder([]string{"a.service", "b.service", "docker.service", "early.service", "gone.service", "lease.service"}, dir)
	want := []string{"b.service", "a.service", "early.service", "lease.service", "docker.service", "gone.service"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1min 30s": 90 * time.Second, "1.5h": 90 * time.Minute, "2 days": 48 * time.Hour,
		"100ms": 100 * time.Millisecond, "infinity": 0,
	} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "5 fortnights", "-1"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestParseExec(t *testing.T) {
	env := map[string]string{"OPTIONS": "--debug  -H x", "NAME": "two words", "EMPTY": ""}
	for line, want := range map[string][]string{
		"/bin/a $OPTIONS $EMPTY end":       {"/bin/a", "--debug", "-H", "x", "end"},
		`/bin/a "${NAME}" ${NAME}s`:        {"/bin/a", "two words", "two wordss"},
		"/bin/sh -c 'echo $x $$y $(date)'": {"/bin/sh", "-c", "echo $x $y $(date)"},
		`-/bin/a "a \"b\"" 'c d'`:          {"/bin/a", `a "b"`, "c d"},
		"@/bin/a --flag=/x:${EMPTY}:$NAME": {"/bin/a", "--flag=/x::$NAME"},
	} {
		got, err := parseExec(line, env)
		if err != nil || !slices.Equal(got.argv, want) {
			t.Errorf("%s: got %q, %v, want %q", line, got.argv, err, want)
		}
		if got.lenient != strings.HasPrefix(line, "-") {
			t.Errorf("%s: got lenient %v", line, got.lenient)
		}
	}
	for _, line := range []string{"", "$EMPTY", "/bin/a 'open"} {
		if got, err := parseExec(line, env); err == nil {
			t.Errorf("%q: got %q, want an error", line, got.argv)
		}
	}
}

func TestParseEnvironmentFile(t *testing.T) {
	env := map[string]string{}
	if err := parseEnvironmentFile("# none\nA=1\nB=\"two words\"\n;C=3\nD=x=y\nno assignment\n", env); err != nil {
		t.Fatal(err)
	}
	want := []string{"A=1", "B=two words", "D=x=y"}
	if got := list(env); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSchedule_Next(t *testing.T) {
	boot := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return boot.Add(time.Duration(seconds) * time.Second) }
	both := schedule{once: []time.Time{at(60)}, afterActive: 30 * time.Second}
	for name, tt := range map[string]struct {
		schedule     schedule
		fired, ended time.Time
		want         time.Time
	}{
		"first after the boot":        {both, time.Time{}, time.Time{}, at(60)},
		"then after each start":       {both, at(61), at(70), at(91)},
		"after each end":              {schedule{afterEnd: 10 * time.Second}, at(61), at(70), at(80)},
		"the earlier of two":          {schedule{once: []time.Time{at(90), at(70)}}, time.Time{}, time.Time{}, at(70)},
		"never again":                 {schedule{once: []time.Time{at(60)}}, at(60), at(61), time.Time{}},
		"never, as nothing starts it": {schedule{afterActive: time.Second}, time.Time{}, time.Time{}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := tt.schedule.next(tt.fired, tt.ended)
			if !got.Equal(tt.want) || ok == tt.want.IsZero() {
				t.Errorf("got %v, %v, want %v", got, ok, tt.want)
			}
		})
	}
}
