package aws_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

const (
	virginia = "us-east-1"
	brokerID = "b0b0b0b0-0000-4000-8000-000000000001"
	runID    = "a0a0a0a0-0000-4000-8000-000000000002"
)

// calls are all that the tests made the pool call, by service and action, for
// the test of the policy.
var (
	callsMu sync.Mutex
	calls   = map[string]bool{}
)

// A cloud is a simulated EC2 that the pool talks to by the real SDK, and whose
// machines answer as Docker engines do.
type cloud struct {
	t    *testing.T
	sim  *ec2sim.Sim
	host *ec2sim.NoMachines
	via  http.RoundTripper
	// stuck are how many machines the image of leases never gets to.
	stuck int

	mu       sync.Mutex
	renewals map[string][]string // lines of leases, by private address
	docks    map[string]*dock    // likewise
	dialled  *process            // that is killed at a call of an engine, if not nil
	loaded   map[string]bool     // whether machines have the image of leases, likewise
}

// quick is a drill without delays but what lets machines be seen pending.
func quick() ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Delays.Pending, d.Delays.Terminating, d.Delays.Checks = ec2sim.Fixed(50*time.Millisecond), ec2sim.Fixed(50*time.Millisecond), ec2sim.Delay{}
	d.Limits.Throttle = false
	return d
}

func startCloud(t *testing.T, drill ec2sim.Drill) *cloud {
	t.Helper()
	c := &cloud{t: t, host: ec2sim.NewNoMachines(), renewals: map[string][]string{}, docks: map[string]*dock{}, loaded: map[string]bool{}}
	sim, err := ec2sim.New(ec2sim.Config{
		Host: c.host, Drill: drill, Dir: t.TempDir(), AdminToken: "a token",
		Keys: map[string]ec2sim.Key{"AKIASIMULATED0000000": {Secret: "a secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.sim, c.via = sim, inMemory{sim}
	t.Cleanup(func() {
		callsMu.Lock()
		for _, call := range sim.State().Calls {
			if call.Action == "" {
				continue // refused before it was read
			}
			calls[call.Service+":"+call.Action] = true
		}
		callsMu.Unlock()
		if err := sim.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// inMemory hands requests to a handler without a socket. A handler that aborts
// is a lost connection.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "127.0.0.1:1", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	defer func() {
		if cause := recover(); cause == http.ErrAbortHandler {
			answer, err = nil, io.ErrUnexpectedEOF
		} else if cause != nil {
			panic(cause)
		}
	}()
	m.ServeHTTP(recorder, in)
	return recorder.Result(), nil
}

// open starts a pool in the folder; change may change what it is made of.
func (c *cloud) open(dir string, change func(*aws.Config)) *aws.Pool {
	c.t.Helper()
	cfg := aws.Config{
		SDK: &sdk.Config{
			Region: virginia, BaseEndpoint: sdk.String("http://ec2sim.invalid"),
			Credentials: credentials.NewStaticCredentialsProvider("AKIASIMULATED0000000", "a secret", ""),
			HTTPClient:  &http.Client{Transport: c.via},
		},
		Dir: dir, Dial: c.dial, From: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")},
	}
	if change != nil {
		change(&cfg)
	}
	p, err := aws.Open(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// dial opens the engine of the machine that has the endpoint's address.
func (c *cloud) dial(ep broker.Endpoint) (broker.Engine, error) {
	for _, file := range []string{ep.CA, ep.Cert, ep.Key} {
		if _, err := os.Stat(file); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(ep.Host)
	if err != nil {
		return nil, err
	}
	return &engine{cloud: c, address: u.Hostname(), name: ep.ServerName}, nil
}

// An engine is the Docker of a machine, as far as the pool needs it. It answers
// as long as the machine is there, and only by the name in the certificate
// that the machine was given.
type engine struct {
	broker.Engine
	cloud         *cloud
	address, name string
}

func (e *engine) Close() error { return nil }

func (e *engine) machine() (*ec2sim.NoMachine, string, error) {
	if k := e.cloud.dialled; k != nil {
		k.call()
	}
	for _, m := range e.cloud.sim.Machines() {
		if m.State != "running" || e.address != m.PublicIP && e.address != m.PrivateIP {
			continue
		}
		nm := e.cloud.host.Machine(m.ID)
		if nm == nil || nm.Spec.NoDocker {
			break
		}
		if on, cut, _ := nm.State(); !on || cut {
			break
		}
		return nm, m.PrivateIP, nil
	}
	return nil, "", broker.Errorf(broker.EUnavailable, "nothing answers at %s", e.address)
}

func (e *engine) Info(context.Context) (broker.EngineInfo, error) {
	m, private, err := e.machine()
	if err != nil {
		return broker.EngineInfo{}, err
	}
	p, err := boot.Parse(m.Spec.UserData, m.Spec.LaunchIndex)
	if err != nil {
		return broker.EngineInfo{}, err
	}
	if err := verify(p.Servers[0], e.name); err != nil {
		return broker.EngineInfo{}, err
	}
	return broker.EngineInfo{Version: "20.10", Offset: e.offset(private)}, nil
}

func (e *engine) EnsureNodeImage(context.Context) (string, error) {
	_, _, err := e.machine()
	return "sha256:node", err
}

func (e *engine) EnsureEmptyImage(ctx context.Context) error {
	_, private, err := e.machine()
	if err != nil {
		return err
	}
	if !e.cloud.load(private) {
		<-ctx.Done()
		return broker.Errorf(broker.EUnavailable, "the image did not get there: %v", ctx.Err())
	}
	return nil
}

// load brings the image of leases to the machine, unless it is one of those that it
// never gets to: the first ones.
func (c *cloud) load(private string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if loaded, known := c.loaded[private]; known {
		return loaded
	}
	c.loaded[private] = c.stuck == 0
	c.stuck = max(c.stuck-1, 0)
	return c.loaded[private]
}

func (e *engine) Create(_ context.Context, spec broker.ContainerSpec) (string, error) {
	_, private, err := e.machine()
	if err != nil {
		return "", err
	}
	d := e.cloud.dock(private)
	e.cloud.mu.Lock()
	defer e.cloud.mu.Unlock()
	if !e.cloud.loaded[private] {
		return "", broker.Errorf(broker.ENotFound, "there is no image")
	}
	if line := spec.Files[boot.LeaseFile]; line != nil {
		e.cloud.renewals[private] = append(e.cloud.renewals[private], string(line))
	}
	d.put(broker.Container{ID: spec.Name, Name: spec.Name, Labels: spec.Labels, State: "created"})
	return spec.Name, nil
}

// leases are the renewals that a machine was sent, the first one first.
func (c *cloud) leases(m broker.Machine) []boot.Renewal {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []boot.Renewal
	for _, line := range c.renewals[m.Address] {
		var r boot.Renewal
		var lease, end int64
		if _, err := fmt.Sscanf(line, "loads-lease %d %d %d %d .\n", &r.Term, &r.Seq, &lease, &end); err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		r.Lease, r.End = time.Duration(lease)*time.Second, time.Duration(end)*time.Second
		out = append(out, r)
	}
	return out
}

// requests asks for n machines of one step.
func requests(n int, change func(*broker.MachineRequest)) []broker.MachineRequest {
	var out []broker.MachineRequest
	for i := range n {
		req := broker.MachineRequest{
			BrokerID: brokerID, RunUUID: runID, PlanUUID: "plan", PlanName: "hello", Owner: "alice",
			Step: 0, StepUUID: "step-uuid", StepName: "service", Index: i, Token: fmt.Sprintf("token-%d", i),
			Region: virginia, Type: "m5.large", VolumeGB: 40, Life: time.Hour,
			Ports: []strategies.Port{{Container: 80, Host: 8000, Protocol: "tcp"}},
		}
		if change != nil {
			change(&req)
		}
		out = append(out, req)
	}
	return out
}

// acquire gets the machines, which must succeed.
func (c *cloud) acquire(p *aws.Pool, reqs []broker.MachineRequest) []broker.Machine {
	c.t.Helper()
	got, err := p.Acquire(c.t.Context(), reqs)
	if err != nil {
		c.t.Fatal(err)
	}
	return withTokens(got, reqs)
}

// withTokens completes machines as the broker does.
func withTokens(got []broker.Machine, reqs []broker.MachineRequest) []broker.Machine {
	for i := range got {
		got[i].Token, got[i].RunUUID = reqs[i].Token, reqs[i].RunUUID
	}
	return got
}

func (c *cloud) release(p *aws.Pool, machines ...broker.Machine) {
	c.t.Helper()
	for _, m := range machines {
		if err := p.Release(c.t.Context(), m); err != nil {
			c.t.Errorf("release %s: %v", m.ProviderID, err)
		}
	}
}

// left waits until nothing is left of what was made but security groups, and
// checks how many machines were launched.
func (c *cloud) left(launched int) {
	c.t.Helper()
	waittest.Until(c.t, "all machines are terminated", 5*time.Minute, func() bool { return c.sim.State().Alive == 0 })
	if got := c.sim.State().Launched; got != launched {
		c.t.Errorf("launched %d machines, want %d", got, launched)
	}
	if n := c.host.Len(); n != 0 {
		c.t.Errorf("%d machines are left", n)
	}
}

// reap does what the broker's reaper does for runs that are over.
func (c *cloud) reap(p *aws.Pool) {
	c.t.Helper()
	owned, err := p.Owned(c.t.Context(), brokerID)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range owned {
		if err := p.Discard(c.t.Context(), o); err != nil {
			c.t.Errorf("discard %s: %v", o.ProviderID, err)
		}
	}
}

// clean checks that nothing is left at all once the reaper has looked; what was
// made last it may see only the next time.
func (c *cloud) clean(p *aws.Pool, launched int) {
	c.t.Helper()
	c.left(launched)
	waittest.Until(c.t, "nothing is left", 5*time.Minute, func() bool {
		c.reap(p)
		for _, tally := range c.sim.State().Receipt {
			if tally.Left != 0 {
				return false
			}
		}
		return true
	})
}

func wantError(t *testing.T, err error, code broker.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	if got := broker.CodeOf(err); got != code {
		t.Errorf("error %v has code %s, want %s", err, got, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want %q in it", err, w)
		}
	}
}
