//go:build linux

package nshost_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

// guarded is user data as a pool would write it: Docker answers at 2376 and
// wants a client's certificate, and a watchdog runs.
func guarded(a *authority, spec ec2sim.MachineSpec) string {
	pair := a.server(spec.PrivateIP, spec.PublicIP)
	return fmt.Sprintf(`set -eu
umask 077
mkdir -p /etc/docker/tls /etc/systemd/system/docker.service.d
cat >/etc/docker/tls/ca.pem <<'END'
%sEND
cat >/etc/docker/tls/cert.pem <<'END'
%sEND
cat >/etc/docker/tls/key.pem <<'END'
%sEND
cat >/etc/docker/daemon.json <<'END'
{"tlsverify": true, "tlscacert": "/etc/docker/tls/ca.pem", "tlscert": "/etc/docker/tls/cert.pem",
 "tlskey": "/etc/docker/tls/key.pem", "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 512, "Hard": 512}}}
END
cat >/etc/systemd/system/docker.service.d/tls.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376 \
	--containerd=/run/containerd/containerd.sock
END
cat >/usr/local/bin/watch-lease <<'END'
#!/bin/sh
echo "watching $1" >>/dev/console
END
chmod +x /usr/local/bin/watch-lease
echo 'LEASE="of ten minutes"' >/etc/default/lease
cat >/etc/systemd/system/lease.service <<'END'
[Unit]
Description=The lease
StartLimitIntervalSec=0
[Service]
Type=oneshot
EnvironmentFile=/etc/default/lease
ExecStart=/usr/local/bin/watch-lease "${LEASE}"
END
cat >/etc/systemd/system/lease.timer <<'END'
[Timer]
OnBootSec=0
OnUnitActiveSec=100ms
AccuracySec=1s
[Install]
WantedBy=timers.target
END
systemctl daemon-reload
systemctl enable --now lease.timer
systemctl restart docker
echo READY
`, a.pem, pair.cert, pair.key)
}

// bootGuarded boots such a machine and returns its spec.
func (l *lab) bootGuarded(a *authority) (ec2sim.MachineSpec, ec2sim.Machine) {
	l.t.Helper()
	spec := l.spec("")
	spec.UserData = []byte("#!/bin/bash\n" + guarded(a, spec))
	return spec, l.boot(spec)
}

func TestEngine_IsTheOneTheUserDataConfigured(t *testing.T) {
	t.Parallel()
	l, ours, theirs := newLab(t), newAuthority(t), newAuthority(t)
	spec, m := l.bootGuarded(ours)
	await(t, m, "\nREADY")

	for name, addr := range map[string]netip.Addr{"private": spec.PrivateIP, "public": spec.PublicIP} {
		if _, err := mustOpen(t, ours.endpoint(addr)).Info(t.Context()); err != nil {
			t.Errorf("at its %s address: %v", name, err)
		}
	}
	if err := pingWithoutCertificate(t, ours, spec.PublicIP); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: got %v, want a refusal", err)
	}
	stranger := ours.endpoint(spec.PublicIP)
	other := theirs.endpoint(spec.PublicIP)
	stranger.Cert, stranger.Key = other.Cert, other.Key
	if _, err := mustOpen(t, stranger).Info(t.Context()); broker.CodeOf(err) != broker.EUnavailable {
		t.Errorf("with a stranger's certificate: got %v, want a refusal", err)
	}

	e := mustOpen(t, ours.endpoint(spec.PublicIP))
	out := output(t, e, startProbe(t, e, "limits", 9000, "nofile"))
	if got := strings.Fields(out); len(got) != 2 || got[0] != "512" {
		t.Errorf("files that a container may open: got %q, want daemon.json's 512", out)
	}
	eventually(t, "the timer's unit has run three times", func() bool {
		return bytes.Count(m.Console(), []byte("watching of ten minutes")) >= 3
	})
}

func pingWithoutCertificate(t *testing.T, a *authority, addr netip.Addr) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.pem))
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	res, err := client.Get("https://" + addr.String() + ":2376/_ping")
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func mustOpen(t *testing.T, ep broker.Endpoint) *dockerctl.Engine {
	t.Helper()
	e, err := dockerctl.Open(ep, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// startProbe loads the probe's image and starts it with the command, its port
// published; it returns the container's id.
func startProbe(t *testing.T, e *dockerctl.Engine, name string, port int, args ...string) string {
	t.Helper()
	program, err := dockertest.BuildProbe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	archive := dockertest.Image(t, program, name, "probe:latest")
	file := filepath.Join(t.TempDir(), "probe.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, archive), 0o600); err != nil {
		t.Fatal(err)
	}
	image, err := e.EnsureImage(t.Context(), "probe:latest", "file://"+file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.Create(t.Context(), broker.ContainerSpec{
		Name: name, Image: image, Command: args, StopTimeout: time.Second,
		Ports: []broker.PortBinding{{Container: port, Host: port, Protocol: "tcp"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

// output waits for the container's end and returns what it has written.
func output(t *testing.T, e *dockerctl.Engine, id string) string {
	t.Helper()
	if err := e.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.Logs(t.Context(), id, broker.LogOptions{}, &out, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestContainers_ReachThoseOfOtherMachines(t *testing.T) {
	t.Parallel()
	l, a := newLab(t), newAuthority(t)
	server, _ := l.bootGuarded(a)
	client, _ := l.bootGuarded(a)
	engines := map[netip.Addr]*dockerctl.Engine{}
	for _, addr := range []netip.Addr{server.PublicIP, client.PublicIP} {
		e := mustOpen(t, a.endpoint(addr))
		eventually(t, addr.String()+" answers", func() bool { _, err := e.Info(t.Context()); return err == nil })
		engines[addr] = e
	}
	startProbe(t, engines[server.PublicIP], "server", 9000, "serve", ":9000", "from afar")
	eventually(t, "the published port is open", func() bool { return isOpen(server.PublicIP, 9000) })
	e := engines[client.PublicIP]
	for _, addr := range []netip.Addr{server.PrivateIP, server.PublicIP} {
		id := startProbe(t, e, "client-"+addr.String(), 9001, "ask", addr.String()+":9000")
		if got := output(t, e, id); !strings.Contains(got, "from afar") {
			t.Errorf("a container that asks %s: got %q", addr, got)
		}
	}
}

func TestMetadata_IsKeptFromContainers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	m := l.boot(l.spec(`
tar c -T /dev/null | docker import - empty >/dev/null
inside() {
	docker run --rm -v /usr:/usr:ro -v /usr/bin:/bin:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro "$@"
}
url=http://169.254.169.254/latest
echo "v1: $(inside empty curl -s -m 120 -o /dev/null -w '%{http_code}' $url/meta-data/instance-id)"
inside empty curl -s -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $url/api/token
echo "token from a container: $?"
inside --network host empty curl -s -m 120 -o /dev/null -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $url/api/token
echo "token on the host's network: $?"
`))
	for what, want := range map[string]string{
		"v1: ":                          "401", // so it can be reached
		"token from a container: ":      "28",  // curl's word for too late
		"token on the host's network: ": "0",
	} {
		if got := said(t, m, what); got != want {
			t.Errorf("%sgot %s, want %s", what, got, want)
		}
	}
}

func TestMachine_TenAtOnce(t *testing.T) {
	l, a := newLab(t), newAuthority(t)
	const n = 10
	var addrs []netip.Addr
	for range n {
		spec, _ := l.bootGuarded(a)
		addrs = append(addrs, spec.PublicIP)
	}
	for _, addr := range addrs {
		e := mustOpen(t, a.endpoint(addr))
		eventually(t, addr.String()+" answers", func() bool {
			_, err := e.Info(t.Context())
			return err == nil
		})
	}
}
