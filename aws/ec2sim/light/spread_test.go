package light_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/strategies"
)

// Sizes of a node program that only light machines can run, and of an image.
const nodeSize, imageSize = 2 << 20, 3 << 20

// ballast is so many bytes that nothing compresses.
func ballast(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// TestImages_AreSentOnceToAFleet runs a plan on twenty machines and counts what
// all of them were sent.
func TestImages_AreSentOnceToAFleet(t *testing.T) {
	t.Parallel()
	const machines = 20
	c := mustCloud(t)
	b := mustBroker(t, c, nil)
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{"bulky:1"}, Command: []string{"/none"},
		Files: []scratch.File{{Path: "ballast", Mode: 0o644, Data: ballast(imageSize)}},
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	run := b.run(fmt.Sprintf(`name: fleet
steps:
  - {name: load, container_name: 'bulky:1', container_url: 'file://%s', instance_count: %d, instance_type: m5.large, run_max_time: 1, stop_timeout: 1}
  - {name: pulled, container_name: 'registry.test/app:1', instance_count: 2, instance_type: m5.large, run_max_time: 1, stop_timeout: 1}
`, file, machines-2))
	if run.Verdict == broker.Errored || run.Verdict == "" {
		t.Fatalf("verdict %s (%s)", run.Verdict, run.Reason)
	}
	const once = nodeSize + imageSize
	// What is said to a machine beside, certificates and all, takes some 100 kB.
	if got := c.Received(); got < once || got > once+machines*(100<<10) {
		t.Errorf("machines were sent %d bytes, want %d once and some beside", got, once)
	}
	if got, least := c.Spread(), int64((machines-1)*nodeSize+(machines-3)*imageSize); got < least {
		t.Errorf("%d bytes went from machine to machine, want %d or more", got, least)
	}
	want := map[string][4]int{ // machines, uploads, pulls, from machines
		"loads/node":          {machines, 1, 0, machines - 1},
		"bulky:1":             {machines - 2, 1, 0, machines - 3},
		"registry.test/app:1": {2, 0, 1, 1},
	}
	for _, i := range run.Images {
		if got := [4]int{i.Machines, i.Uploads, i.Pulls, i.FromMachines}; got != want[i.Image] || i.Faults != 0 {
			t.Errorf("%s: got %+v, want machines, uploads, pulls and from machines %v", i.Image, i, want[i.Image])
		}
		delete(want, i.Image)
	}
	if len(want) > 0 {
		t.Errorf("images %+v, want %v among them", run.Images, want)
	}
}

// An engine is one of which a call may be made to fail.
type engine struct {
	*dockerctl.Engine
	before func(call string) error
}

func (e engine) EnsureNodeImage(ctx context.Context) (string, error) {
	if err := e.before("EnsureNodeImage"); err != nil {
		return "", err
	}
	return e.Engine.EnsureNodeImage(ctx)
}

func (e engine) ImportLayer(ctx context.Context, url, digest string) (string, error) {
	if err := e.before("ImportLayer"); err != nil {
		return "", err
	}
	return e.Engine.ImportLayer(ctx, url, digest)
}

func (e engine) PullLocal(ctx context.Context, address, digest, ref, url string) (string, error) {
	if err := e.before("PullLocal"); err != nil {
		return "", err
	}
	return e.Engine.PullLocal(ctx, address, digest, ref, url)
}

func (e engine) Create(ctx context.Context, spec broker.ContainerSpec) (string, error) {
	if spec.Labels[broker.LabelRole] == broker.RoleImages {
		if err := e.before("Create"); err != nil {
			return "", err
		}
	}
	return e.Engine.Create(ctx, spec)
}

// TestImages_ComeWhateverFails has a call of the engines fail, for the machine
// that makes it first or for all, and sees the run go on.
func TestImages_ComeWhateverFails(t *testing.T) {
	t.Parallel()
	refused := broker.Errorf(broker.EInternal, "there is no room for it on the machine's disk")
	for _, row := range []struct {
		name    string
		call    string
		all     bool
		err     error // nil ends the machine that has the node image, once
		uploads int
	}{
		{"the first machine can't give it to others", "Create", false, refused, 2},
		{"no machine can", "Create", true, refused, 4},
		{"a machine can't get it from others", "ImportLayer", false, refused, 2},
		{"no machine can", "ImportLayer", true, refused, 4},
		{"an engine refuses what came", "PullLocal", false, refused, 2},
		{"the machine that had it first dies", "ImportLayer", false, nil, 2},
	} {
		t.Run(row.call+": "+row.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var victim, first string // endpoints
			var b *brokerage
			c := mustCloud(t)
			b = mustBroker(t, c, func(at broker.Endpoint, call string) error {
				mu.Lock()
				defer mu.Unlock()
				if call == "EnsureNodeImage" && first == "" {
					first = at.Host
				}
				if call != row.call || !row.all && victim != "" && victim != at.Host {
					return nil
				}
				if row.err == nil && victim == "" {
					b.terminate(first)
				}
				victim = at.Host
				return row.err
			})
			run := b.run(`name: fleet
steps:
  - {name: load, container_name: loads/node, additional_command_args: sleep 1s, instance_count: 4, instance_type: m5.large, prune_running: true, run_max_time: 30, stop_timeout: 1}
`)
			if run.Verdict == broker.Errored || run.Verdict == "" || len(run.Images) != 1 {
				t.Fatalf("verdict %s (%s), images %+v", run.Verdict, run.Reason, run.Images)
			}
			machines := 4
			if row.err == nil {
				machines = 5 // with the one that took the place of the other
			}
			if i := run.Images[0]; i.Uploads != row.uploads || i.Machines != machines {
				t.Errorf("images %+v, want %d uploads and %d machines", i, row.uploads, machines)
			}
		})
	}
}

// terminate ends the machine whose engine is at the endpoint.
func (b *brokerage) terminate(host string) {
	b.t.Helper()
	runs, err := b.Runs(b.t.Context(), broker.RunFilter{})
	if err != nil {
		b.t.Fatal(err)
	}
	machines, err := b.Machines(b.t.Context(), runs[0].UUID)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range machines {
		if m.Endpoint.Host == host {
			_, err := b.ec2.TerminateInstances(b.t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{path.Base(m.ProviderID)}})
			if err != nil {
				b.t.Error(err)
			}
		}
	}
}

// A brokerage is a broker that rents light machines.
type brokerage struct {
	*broker.Broker
	t   *testing.T
	ec2 *ec2.Client
}

// mustBroker starts a broker. before is called before some calls of engines, and
// makes them fail by an error.
func mustBroker(t *testing.T, c *cloud, before func(at broker.Endpoint, call string) error) *brokerage {
	t.Helper()
	ctx := context.Background()
	drill := ec2sim.DefaultDrill()
	drill.Delays.Pending, drill.Delays.Terminating = ec2sim.Delay{}, ec2sim.Delay{}
	drill.Limits.Throttle = false
	sim, err := ec2sim.New(ec2sim.Config{
		Host: c.Host, Drill: drill, Dir: t.TempDir(), Keys: map[string]ec2sim.Key{"AKIALIGHT": {Secret: "secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	client := new(http.Client)
	programs := t.TempDir()
	if err := os.WriteFile(filepath.Join(programs, "loads-node-linux-"+runtime.GOARCH), ballast(nodeSize), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	dial := dockerctl.NewDialer(dockerctl.Options{NodeDir: programs, Log: log})
	faulty := func(at broker.Endpoint) (broker.Engine, error) {
		e, err := dial(at)
		if before == nil || err != nil {
			return e, err
		}
		return engine{e.(*dockerctl.Engine), func(call string) error { return before(at, call) }}, nil
	}
	config := sdk.Config{
		Region: "us-west-2", BaseEndpoint: sdk.String(server.URL), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIALIGHT", "secret", ""),
	}
	store, err := db.Open(ctx, filepath.Join(t.TempDir(), "loads.db"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := aws.Open(ctx, aws.Config{
		SDK: &config,
		Dir: t.TempDir(), Dial: dial, Log: log, Private: true, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &brokerage{t: t, ec2: ec2.NewFromConfig(config), Broker: broker.New(broker.Config{
		Store: store, Pools: []broker.Pool{pool}, Dial: faulty, Dir: t.TempDir(), Log: log, Version: "test", ReceiptWait: time.Minute, LostAfter: time.Minute,
	})}
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{b.Close(), store.Close(), sim.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
		client.CloseIdleConnections()
		server.Close()
	})
	return b
}

// run runs a plan to its end.
func (b *brokerage) run(plan string) broker.Run {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*patience)
	defer cancel()
	p, err := strategies.ParseFile("plan.yaml", []byte(plan))
	if err != nil {
		b.t.Fatal(err)
	}
	project, err := b.Import(ctx, p, true)
	if err != nil {
		b.t.Fatal(err)
	}
	run, err := b.StartRun(ctx, broker.StartRequest{PlanUUID: project.Plans[0].Plan.UUID})
	if err != nil {
		b.t.Fatal(err)
	}
	if run, err = b.Wait(ctx, run.UUID); err != nil {
		b.t.Fatal(err)
	}
	return run
}
