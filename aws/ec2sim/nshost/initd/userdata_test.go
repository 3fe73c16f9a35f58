//go:build linux

package initd

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"time"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestParseUserData(t *testing.T) {
	const mixed = "Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n" +
		"--b\nContent-Type: text/cloud-boothook\n\necho early\n" +
		"--b\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3NoCmVjaG8gbGF0ZQo=\n" +
		"--b\nContent-Type: text/cloud-config\n\n#cloud-config\n--b--\n"
	for name, tt := range map[string]struct {
		data       string
		want       string // texts; a boothook's begins with early:
		passedOver string
	}{
		"none":                 {"", "", ""},
		"a script":             {"#!/bin/sh\nfalse\n", "#!/bin/sh\nfalse\n", ""},
		"a script, compressed": {zipped(t, "#!/bin/sh\n"), "#!/bin/sh\n", ""},
		"a boothook":           {"#cloud-boothook\n#!/bin/sh\n", "early:#!/bin/sh\n", ""},
		"several parts":        {mixed, "early:echo early|#!/bin/sh\necho late\n", "text/cloud-config: #cloud-config"},
		"settings":             {"#cloud-config\nruncmd: []\n", "", "neither a script nor MIME: #cloud-config"},
	} {
		t.Run(name, func(t *testing.T) {
			scripts, passedOver, err := parseUserData([]byte(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range scripts {
				text := string(s.text)
				if s.boothook {
					text = "early:" + text
				}
				got = append(got, text)
			}
			if g := strings.Join(got, "|"); g != tt.want {
				t.Errorf("got %q, want %q", g, tt.want)
			}
			if g := strings.Join(passedOver, "|"); !strings.Contains(g, tt.passedOver) || (g == "") != (tt.passedOver == "") {
				t.Errorf("passed over: got %q, want %q", g, tt.passedOver)
			}
		})
	}
	if _, _, err := parseUserData([]byte(zipped(t, "#!/bin/sh")[:12])); err == nil {
		t.Error("half a compressed script: got no error")
	}
}

func TestParseShutdown(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 30, 0, 0, time.UTC)
	for line, want := range map[string]shutdownOrder{
		"":           {after: time.Minute},
		"-h now":     {},
		"-P +5":      {after: 5 * time.Minute},
		"+0":         {},
		"-r now bye": {code: ExitReboot},
		"-c":         {after: time.Minute, cancel: true},
		"13:00":      {after: 30 * time.Minute},
		"12:00":      {after: 23*time.Hour + 30*time.Minute},
	} {
		if got, err := parseShutdown(strings.Fields(line), now); err != nil || got != want {
			t.Errorf("shutdown %s: got %+v, %v, want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{"soon", "+x", "+-1"} {
		if _, err := parseShutdown(strings.Fields(line), now); err == nil {
			t.Errorf("shutdown %s: got no error", line)
		}
	}
}
