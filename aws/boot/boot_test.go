package boot_test

import (
	"bytes"
	"encoding/pem"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/trust"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestUserData_IsAsAlways(t *testing.T) {
	p := params(t)
	script := mustUserData(t, p)
	if !bytes.Equal(script, mustUserData(t, p)) {
		t.Error("equal parameters give different user data; a launch can't be repeated")
	}
	// The machine's own certificates are different each time.
	for _, part := range [][]byte{p.Server.CA, p.Server.Cert, p.Server.Key} {
		script = bytes.Replace(script, part, []byte("PEM\n"), 1)
	}
	golden := filepath.Join("testdata", "userdata.golden.sh")
	if *update {
		if err := os.WriteFile(golden, script, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(script)); diff != "" {
		t.Errorf("run the test with -update if this is right (-want +got):\n%s", diff)
	}
}

func TestUserData_HasNoSecretButTheServersKey(t *testing.T) {
	p := params(t)
	var kinds []string
	for rest := mustUserData(t, p); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		kinds = append(kinds, block.Type)
		if strings.Contains(block.Type, "PRIVATE") && !bytes.Equal(pem.EncodeToMemory(block), p.Server.Key) {
			t.Error("there is another key than the server's")
		}
	}
	if want := []string{"CERTIFICATE", "CERTIFICATE", "EC PRIVATE KEY"}; !cmp.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
}

func TestUserData_IsFarFromEC2sLimit(t *testing.T) {
	if got := len(mustUserData(t, params(t))); got > boot.MaxUserData*3/4 {
		t.Errorf("got %d bytes; %d are the limit, and some should be left", got, boot.MaxUserData)
	}
}

func TestUserData_IsGoodShell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, mustUserData(t, params(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, "watchdog.sh", "testdata/machine/init.sh", "testdata/machine/systemctl"} {
		if out, err := exec.CommandContext(t.Context(), "shellcheck", name).CombinedOutput(); err != nil {
			t.Errorf("shellcheck %s: %v\n%s", name, err, out)
		}
	}
}

func TestUserData_SaysAllThatIsWrong(t *testing.T) {
	two := params(t)
	for _, row := range []struct {
		name   string
		change func(*boot.Params)
		says   []string
	}{
		{"nothing given", func(p *boot.Params) { *p = boot.Params{} }, []string{"lease of 0s", "end of 0s", "authority's certificate"}},
		{"less than a second", func(p *boot.Params) { p.Lease = time.Millisecond }, []string{"lease of 1ms is not between a second and a year"}},
		{"years", func(p *boot.Params) { p.End = 10_000 * time.Hour }, []string{"end of 10000h0m0s"}},
		{"a watchdog that looks too seldom", func(p *boot.Params) { p.Tick = time.Minute }, []string{"a tick of 1m0s"}},
		{"a term that is too long to read", func(p *boot.Params) { p.Term = 1e15 }, []string{"15 digits"}},
		{"another machine's key", func(p *boot.Params) { p.Server.Key = two.Server.Key }, []string{"the machine's key", "does not match"}},
		{"another authority", func(p *boot.Params) { p.Server.CA = two.Server.CA }, []string{"signed by the authority"}},
		{"a certificate with shell behind it", func(p *boot.Params) { p.Server.Cert = append(p.Server.Cert, "reboot\n"...) }, []string{"single PEM block"}},
		{"a key with shell in front of it", func(p *boot.Params) { p.Server.Key = append([]byte("reboot\n"), p.Server.Key...) }, []string{"single PEM block"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := params(t)
			row.change(&p)
			script, err := boot.UserData(p)
			if err == nil || script != nil {
				t.Fatalf("got %d bytes and %v, want an error alone", len(script), err)
			}
			for _, want := range row.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestParse_ReadsBack(t *testing.T) {
	want := params(t)
	want.Term = 7
	got, err := boot.Parse(mustUserData(t, want))
	if err != nil {
		t.Fatal(err)
	}
	want.Server.Until = time.Time{} // only the broker's business
	want.Tick, want.Orderly = 5*time.Second, 30*time.Second
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, other := range []string{"", "#!/bin/bash\necho hello\n", strings.Replace(string(mustUserData(t, want)), "BEGIN", "BEGUN", 1)} {
		if _, err := boot.Parse([]byte(other)); err == nil {
			t.Errorf("%.20q was taken for our user data", other)
		}
	}
}

// params are such that a test sees quickly what comes of them.
func params(t *testing.T) boot.Params {
	t.Helper()
	tr, err := trust.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := tr.Mint("m-1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return boot.Params{Server: server, Lease: 10 * time.Minute, End: 2 * time.Hour}
}

func mustUserData(t *testing.T, p boot.Params) []byte {
	t.Helper()
	script, err := boot.UserData(p)
	if err != nil {
		t.Fatal(err)
	}
	return script
}
