package boot_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
)

// TestBroker_RenewsThroughTheMachinesDocker has all of it real: the broker's
// authority, the user data, the engine that it configures, and its clients.
func TestBroker_RenewsThroughTheMachinesDocker(t *testing.T) {
	t.Parallel()
	ours, err := trust.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := trust.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ours.Mint("m-1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p := boot.Params{Servers: []trust.Server{server}, Lease: time.Hour, End: 2 * time.Hour, Tick: time.Second, Orderly: time.Second}
	m := newMachine(t)
	m.write("record/with-docker", "")
	m.bear(p)
	address := m.connect()

	engine := m.open(ours, "m-1", address)
	m.await("the engine", func() bool {
		_, err := engine.Info(t.Context())
		return err == nil
	})
	for name, e := range map[string]*dockerctl.Engine{
		"a client of another authority": m.open(stranger, "m-1", address),
		"a client of another machine":   m.open(ours, "m-2", address),
	} {
		if _, err := e.Info(t.Context()); broker.CodeOf(err) != broker.EUnavailable {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if err := engine.EnsureEmptyImage(t.Context()); err != nil {
		t.Fatal(err)
	}

	var id string
	ids := map[uint64]string{}
	for seq := uint64(1); seq <= 3; seq++ {
		spec, err := boot.LeaseContainer("loads-lease", map[string]string{broker.LabelBroker: "b"},
			boot.Renewal{Term: 0, Seq: seq, Lease: time.Duration(1000*seq) * time.Second, End: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if seq == 3 { // by hand, which spares looking for the container
			err = engine.PutFiles(t.Context(), id, spec.Files)
		} else {
			ids[seq], err = engine.Create(t.Context(), spec)
			id = ids[seq]
		}
		if err != nil {
			t.Fatal(err)
		}
		m.await(fmt.Sprintf("renewal %d", seq), func() bool {
			s := m.state()
			return s.seq == int(seq) && s.until >= 1000*int(seq) && s.until < 1000*int(seq)+500
		})
	}
	if ids[1] != ids[2] {
		t.Errorf("got containers %v, want one for all renewals", ids)
	}
	c, err := engine.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if c.Started() || c.Labels[broker.LabelRole] != boot.RoleLease {
		t.Errorf("got container %+v, want one that is never started, with its role", c)
	}
	if m.isOff() {
		t.Error("the machine has been told to shut down")
	}
}

// connect gives the machine a network with the test, and returns its address.
func (m *machine) connect() string {
	m.t.Helper()
	n := rand.N(1 << 15) // of the networks of four addresses in 198.18.0.0/15, which are for tests
	subnet := func(host int) string {
		a := n*4 + host
		return fmt.Sprintf("198.%d.%d.%d", 18+a>>16, a>>8&255, a&255)
	}
	device := fmt.Sprintf("lb%x", n)
	for _, args := range []string{
		"link add " + device + " type veth peer name eth0 netns " + strconv.Itoa(m.pid),
		"addr add " + subnet(1) + "/30 dev " + device,
		"link set " + device + " up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			m.t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	if m.do("ip addr add "+subnet(2)+"/30 dev eth0 && ip link set eth0 up") != 0 {
		m.t.Fatal("the machine has no network")
	}
	return subnet(2)
}

// open returns the machine's engine for the broker that has the trust.
func (m *machine) open(tr *trust.Trust, token, address string) *dockerctl.Engine {
	m.t.Helper()
	ep, err := tr.Endpoint(tr.ID(), token, address)
	if err != nil {
		m.t.Fatal(err)
	}
	nodes := m.t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(nodes, "loads-node-linux-"+arch), []byte("a program"), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	e, err := dockerctl.Open(ep, dockerctl.Options{NodeDir: nodes})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return e
}
