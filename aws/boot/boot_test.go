package boot_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	goldenIs(t, "userdata.golden.sh", p, script)
	several := params(t, "m-1", "m-2")
	goldenIs(t, "userdata-several.golden.sh", several, unzip(t, mustUserData(t, several)))
}

// unzip is what cloud-init does with user data before it runs it.
func unzip(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// der is what a PEM block has between its armour, in one line.
func der(block []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(block), []byte("\n"))
	return bytes.Join(lines[1:len(lines)-1], nil)
}

// goldenIs compares the script, but for certificates and keys, which are
// different each time.
func goldenIs(t *testing.T, file string, p boot.Params, script []byte) {
	t.Helper()
	script = bytes.Replace(script, p.Servers[0].CA, []byte("PEM\n"), 1)
	for _, server := range p.Servers {
		script = bytes.Replace(script, der(server.Cert), []byte("CERTIFICATE"), 1)
		script = bytes.Replace(script, der(server.Key), []byte("KEY"), 1)
	}
	golden := filepath.Join("testdata", file)
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

func TestUserData_HasNoSecretButTheServersKeys(t *testing.T) {
	p := params(t, "m-1", "m-2")
	script := unzip(t, mustUserData(t, p))
	block, rest := pem.Decode(script)
	if block == nil || block.Type != "CERTIFICATE" || !bytes.Equal(pem.EncodeToMemory(block), p.Servers[0].CA) {
		t.Errorf("got %+v, want the authority's certificate", block)
	}
	if block, _ := pem.Decode(rest); block != nil {
		t.Errorf("there is another %s", block.Type)
	}
	secrets := regexp.MustCompile(`[A-Za-z0-9+/=]{60,}`).FindAll(rest, -1)
	want := [][]byte{der(p.Servers[0].Cert), der(p.Servers[0].Key), der(p.Servers[1].Cert), der(p.Servers[1].Key)}
	if !cmp.Equal(secrets, want) {
		t.Errorf("got %q, want %q", secrets, want)
	}
}

func TestUserData_IsFarFromEC2sLimit(t *testing.T) {
	if got := len(mustUserData(t, params(t))); got > boot.MaxUserData*3/4 {
		t.Errorf("got %d bytes; %d are the limit, and some should be left", got, boot.MaxUserData)
	}
}

func TestUserData_HasRoomForTheMachinesOfACall(t *testing.T) {
	var names []string
	call := strings.ToLower(rand.Text())
	for i := range boot.MaxServers {
		names = append(names, fmt.Sprintf("%s-%02d", call, i))
	}
	p := params(t, names...)
	p.Term, p.Lease, p.End, p.Tick, p.Orderly = 1e15-1, 8000*time.Hour, 8759*time.Hour, 10*time.Second, 10*time.Second
	got := len(mustUserData(t, p))
	t.Logf("%d machines have user data of %d bytes", boot.MaxServers, got)
	if got > boot.MaxUserData*95/100 {
		t.Errorf("got %d bytes; %d are the limit, and a twentieth should be left", got, boot.MaxUserData)
	}
}

func TestUserData_IsGoodShell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, mustUserData(t, params(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	several := file + "-of-several"
	if err := os.WriteFile(several, unzip(t, mustUserData(t, params(t, "m-1", "m-2"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, several, "watchdog.sh", "testdata/machine/init.sh", "testdata/machine/systemctl"} {
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
		{"nothing given", func(p *boot.Params) { *p = boot.Params{} }, []string{"lease of 0s", "end of 0s", "no machine's certificate"}},
		{"less than a second", func(p *boot.Params) { p.Lease = time.Millisecond }, []string{"lease of 1ms is not between a second and a year"}},
		{"years", func(p *boot.Params) { p.End = 10_000 * time.Hour }, []string{"end of 10000h0m0s"}},
		{"a watchdog that looks too seldom", func(p *boot.Params) { p.Tick = time.Minute }, []string{"a tick of 1m0s"}},
		{"a term that is too long to read", func(p *boot.Params) { p.Term = 1e15 }, []string{"15 digits"}},
		{"another machine's key", func(p *boot.Params) { p.Servers[0].Key = two.Servers[0].Key }, []string{"the machine's key", "does not match"}},
		{"another authority", func(p *boot.Params) { p.Servers[0].CA = two.Servers[0].CA }, []string{"signed by the authority"}},
		{"machines of two authorities", func(p *boot.Params) { p.Servers = append(p.Servers, two.Servers...) }, []string{"not of one authority"}},
		{"a certificate with shell behind it", func(p *boot.Params) { p.Servers[0].Cert = append(p.Servers[0].Cert, "reboot\n"...) }, []string{"single PEM block"}},
		{"a key with shell in front of it", func(p *boot.Params) { p.Servers[0].Key = append([]byte("reboot\n"), p.Servers[0].Key...) }, []string{"single PEM block"}},
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
	for _, names := range [][]string{{"m-1"}, {"m-1", "m-2", "m-3"}} {
		told := params(t, names...)
		told.Term = 7
		data := mustUserData(t, told)
		for i, server := range told.Servers {
			got, err := boot.Parse(data, i)
			if err != nil {
				t.Fatal(err)
			}
			want := told
			server.Until = time.Time{} // only the broker's business
			want.Servers = []trust.Server{server}
			want.Tick, want.Orderly = 5*time.Second, 30*time.Second
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("machine %d of %d: -want +got:\n%s", i, len(names), diff)
			}
		}
		for _, index := range []int{-1, len(names)} {
			if _, err := boot.Parse(data, index); err == nil {
				t.Errorf("there is something for machine %d of %d", index, len(names))
			}
		}
	}
	one := string(mustUserData(t, params(t)))
	for _, other := range []string{"", "\x1f\x8bzip", "#!/bin/bash\necho hello\n", strings.Replace(one, "BEGIN", "BEGUN", 1), strings.Replace(one, " MDEC", " MDAC", 1)} {
		if _, err := boot.Parse([]byte(other), 0); err == nil {
			t.Errorf("%.20q was taken for our user data", other)
		}
	}
}

// params are such that a test sees quickly what comes of them, for machines of
// these names.
func params(t *testing.T, names ...string) boot.Params {
	t.Helper()
	tr, err := trust.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := boot.Params{Lease: 10 * time.Minute, End: 2 * time.Hour}
	if len(names) == 0 {
		names = []string{"m-1"}
	}
	for _, name := range names {
		server, err := tr.Mint(name, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		p.Servers = append(p.Servers, server)
	}
	return p
}

func mustUserData(t *testing.T, p boot.Params) []byte {
	t.Helper()
	script, err := boot.UserData(p)
	if err != nil {
		t.Fatal(err)
	}
	return script
}
