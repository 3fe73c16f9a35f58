package hosts_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/hosts"
	"github.com/loads/loads/strategies"
)

// mustHostFile writes a list of hosts, and certificate files beside it.
func mustHostFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"hosts.yaml": text, "ca.pem": "", "cert.pem": "", "key.pem": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "hosts.yaml")
}

func TestLoadHosts_ReadsAllFields(t *testing.T) {
	t.Parallel()
	path := mustHostFile(t, `
hosts:
  - name: load-1
    endpoint: tcp://10.0.0.11:2376
    tls: {ca: ca.pem, cert: cert.pem, key: key.pem}
    public_address: 203.0.113.7
    labels: {region: eu-central-1, type: c7i.large, rack: 7}
  - name: load-2
    endpoint: ssh://loads@gen.example
    address: 10.0.0.12
  - {name: here, endpoint: unix:///var/run/docker.sock, address: 172.17.0.1}
`)
	got, err := hosts.LoadHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := []hosts.Host{
		{
			Name: "load-1", Address: "10.0.0.11", Public: "203.0.113.7",
			Endpoint: broker.Endpoint{
				Host: "tcp://10.0.0.11:2376",
				CA:   filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
			},
			Labels: map[string]string{"region": "eu-central-1", "type": "c7i.large", "rack": "7"},
		},
		{
			Name: "load-2", Address: "10.0.0.12", Public: "10.0.0.12",
			Endpoint: broker.Endpoint{Host: "ssh://loads@gen.example"}, Labels: map[string]string{},
		},
		{
			Name: "here", Address: "172.17.0.1", Public: "172.17.0.1",
			Endpoint: broker.Endpoint{Host: "unix:///var/run/docker.sock"}, Labels: map[string]string{},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestLoadHosts_NamesEveryFault(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, text string
		want       []string // where, field and words of each fault
	}{
		{"an empty file", "", []string{"1:1: the file is empty"}},
		{"a second document", "hosts: []\n---\n{}", []string{"2:1: more follows the list"}},
		{"no YAML", "hosts: [", []string{"not valid YAML"}},
		{"a list alone", "- name: a", []string{"1:1: the file is no map"}},
		{"no hosts", "{}", []string{"1:1: hosts is missing"}},
		{"an empty list", "hosts: []", []string{"1:8: hosts is no list with members"}},
		{"a host that is a text", "hosts: [a]", []string{"hosts[0]"}},
		{"nothing in a host", "hosts: [{}]", []string{"hosts[0].name is missing", "hosts[0].endpoint is missing", "hosts[0].address is missing"}},
		{"a field that is not known", "hosts:\n- {name: a, endpoint: unix:///s, address: 10.0.0.1, adress: 10.0.0.2}", []string{"2:53: hosts[0].adress"}},
		{"a name that is none", "hosts:\n- {name: a/b, endpoint: unix:///s, address: 10.0.0.1}", []string{"2:10: hosts[0].name"}},
		{"a name for two hosts", "hosts:\n- {name: a, endpoint: unix:///s, address: 10.0.0.1}\n- {name: a, endpoint: unix:///t, address: 10.0.0.2}", []string{"3:10: hosts[1].name"}},
		{"an engine for two hosts", "hosts:\n- {name: a, endpoint: unix:///s, address: 10.0.0.1}\n- {name: b, endpoint: unix:///s, address: 10.0.0.2}", []string{"hosts[1].endpoint"}},
		{"an address for two hosts", "hosts:\n- {name: a, endpoint: unix:///s, address: 10.0.0.1}\n- {name: b, endpoint: unix:///t, address: 10.0.0.1}", []string{"hosts[1].address"}},
		{"an endpoint of another kind", "hosts:\n- {name: a, endpoint: http://h, address: 10.0.0.1}", []string{"hosts[0].endpoint"}},
		{"tcp without TLS", "hosts:\n- {name: a, endpoint: tcp://10.0.0.1:2376}", []string{"hosts[0].tls is missing"}},
		{"TLS without a key", "hosts:\n- {name: a, endpoint: tcp://10.0.0.1:2376, tls: {ca: ca.pem, cert: cert.pem}}", []string{"hosts[0].tls.key is missing"}},
		{"TLS with a file that is not there", "hosts:\n- {name: a, endpoint: tcp://10.0.0.1:2376, tls: {ca: no.pem, cert: cert.pem, key: key.pem}}", []string{"hosts[0].tls.ca"}},
		{"TLS for ssh", "hosts:\n- {name: a, endpoint: ssh://h, address: 10.0.0.1, tls: {ca: ca.pem, cert: cert.pem, key: key.pem}}", []string{"hosts[0].tls"}},
		{"a name in place of an address", "hosts:\n- {name: a, endpoint: ssh://h, address: host.example}", []string{"hosts[0].address"}},
		{"no address with a name in tcp", "hosts:\n- {name: a, endpoint: tcp://h.example:2376, tls: {ca: ca.pem, cert: cert.pem, key: key.pem}}", []string{"hosts[0].address is missing"}},
		{"labels that are a list", "hosts:\n- {name: a, endpoint: ssh://h, address: 10.0.0.1, labels: [x]}", []string{"hosts[0].labels"}},
		{"a label that is a list", "hosts:\n- {name: a, endpoint: ssh://h, address: 10.0.0.1, labels: {region: [x]}}", []string{"hosts[0].labels.region"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := mustHostFile(t, row.text)
			got, err := hosts.LoadHosts(path)
			var faults strategies.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, %v; want faults", got, err)
			}
			if len(faults) != len(row.want) {
				t.Errorf("got %d faults, want %d:\n%v", len(faults), len(row.want), err)
			}
			for i, f := range faults {
				if text := f.String(); i < len(row.want) && (!strings.Contains(text, row.want[i]) || !strings.HasPrefix(text, path)) {
					t.Errorf("got %q, want %q in it", text, row.want[i])
				}
			}
		})
	}
	_, err := hosts.LoadHosts("/nowhere/hosts.yaml")
	wantCode(t, err, broker.EInvalid)
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("hosts:\n- {name: a, endpoint: tcp://10.0.0.1:2376, tls: {ca: a, cert: b, key: c}, labels: {region: x}}"))
	f.Add([]byte("hosts: &a [*a]"))
	f.Add([]byte("? {}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := hosts.ParseHosts("hosts.yaml", data)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("got %d hosts and %v, want either", len(list), err)
		}
	})
}
