package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What import writes is a benchmark that gen takes.
func TestImport(t *testing.T) {
	t.Parallel()
	const command = "curl 'http://shop.test/items' -H 'Accept: application/json'"
	file := filepath.Join(t.TempDir(), "command.txt")
	if err := os.WriteFile(file, []byte(command+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"a command":           {"import", "--curl", command, "--rate", "50"},
		"a file of a command": {"import", file, "--rate", "50"},
		"a HAR file":          {"import", "../../loadgen/recording/testdata/shop.har", "--rate", "50"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, complaints bytes.Buffer
			p := program{&out, &complaints, func(string) string { return "" }}
			if status := p.main(context.Background(), args); status != 0 {
				t.Fatalf("status %d: %s", status, complaints.String())
			}
			made := filepath.Join(t.TempDir(), "made.yaml")
			if err := os.WriteFile(made, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			var table bytes.Buffer
			p.stdout = &table
			if status := p.main(context.Background(), []string{"gen", "--check", made}); status != 0 || !strings.Contains(table.String(), "50") {
				t.Errorf("status %d, %s%s", status, table.String(), complaints.String())
			}
		})
	}
}

func TestImportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such file":     {[]string{"import", "none.har"}, "--curl"},
		"not a HAR file":   {[]string{"import", "import.go"}, "not a HAR file"},
		"not curl":         {[]string{"import", "--curl", "wget x"}, `begin with "curl"`},
		"no such host":     {[]string{"import", "--curl", "curl a.test", "--host", "b.test"}, "no request to the given hosts"},
		"nothing is given": {[]string{"import"}, "got 0 arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, complaints bytes.Buffer
			p := program{&out, &complaints, func(string) string { return "" }}
			if status := p.main(context.Background(), c.args); status != 1 || !strings.Contains(complaints.String(), c.want) {
				t.Errorf("status %d, %q; want 1 and %q", status, complaints.String(), c.want)
			}
		})
	}
}
