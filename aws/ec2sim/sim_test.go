package ec2sim_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"github.com/loads/loads/aws/ec2sim"
)

const (
	account   = "123456789012"
	accessKey = "AKIASIMULATED0000000"
	secretKey = "a secret of nobody"
	token     = "a token for tests"
)

// A cloud is a simulator under test, spoken to by the real SDK.
type cloud struct {
	t    *testing.T
	sim  *ec2sim.Sim
	host *ec2sim.NoMachines
	// via is how requests get there: over a socket, or straight in.
	via http.RoundTripper
	url string
}

// startCloud makes a simulator that is reached without sockets, so that it runs
// in a bubble of synctest too.
func startCloud(t *testing.T, drill ec2sim.Drill) *cloud {
	t.Helper()
	return startCloudOn(t, drill, func(h *ec2sim.NoMachines) ec2sim.Host { return h })
}

// startCloudOn makes a simulator whose machines are behind something else.
func startCloudOn(t *testing.T, drill ec2sim.Drill, front func(*ec2sim.NoMachines) ec2sim.Host) *cloud {
	t.Helper()
	c := &cloud{t: t, host: ec2sim.NewNoMachines(), url: "http://ec2sim.invalid"}
	sim, err := ec2sim.New(ec2sim.Config{
		Host: front(c.host), Drill: drill, Dir: t.TempDir(), AdminToken: token,
		Keys: map[string]ec2sim.Key{accessKey: {Secret: secretKey, Account: account}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.sim, c.via = sim, inMemory{sim}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// serve lets the simulator be reached on a port of loopback as well.
func (c *cloud) serve() *cloud {
	server := httptest.NewServer(c.sim)
	c.t.Cleanup(server.Close)
	c.url, c.via = server.URL, http.DefaultTransport
	return c
}

// config is what the SDK needs to know. Calls are not tried again.
func (c *cloud) config(region string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(c.url),
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:  &http.Client{Transport: c.via},
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (c *cloud) ec2(region string) *ec2.Client { return ec2.NewFromConfig(c.config(region)) }

// image is the image to start machines from.
func (c *cloud) image(region string) *string {
	c.t.Helper()
	return c.parameter(region, "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
}

// request asks for n machines.
func (c *cloud) request(region string, n int32) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ImageId: c.image(region), InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(n), MaxCount: aws.Int32(n),
	}
}

// run starts n machines.
func (c *cloud) run(region string, n int32) []string {
	c.t.Helper()
	out, err := c.ec2(region).RunInstances(c.t.Context(), c.request(region, n))
	if err != nil {
		c.t.Fatal(err)
	}
	return ids(out.Instances)
}

func ids(instances []types.Instance) []string {
	var all []string
	for _, in := range instances {
		all = append(all, *in.InstanceId)
	}
	return all
}

// instance is what is said of one.
func (c *cloud) instance(region, id string) types.Instance {
	c.t.Helper()
	out, err := c.ec2(region).DescribeInstances(c.t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Reservations[0].Instances[0]
}

func (c *cloud) state(region, id string) types.InstanceStateName {
	c.t.Helper()
	return c.instance(region, id).State.Name
}

// await waits, in real time, until an instance is in a state.
func (c *cloud) await(region, id string, want types.InstanceStateName) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got := c.state(region, id)
		if got == want {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("instance %s is %s, want %s", id, got, want)
		case <-tick.C:
		}
	}
}

func (c *cloud) terminate(region string, ids ...string) {
	c.t.Helper()
	if _, err := c.ec2(region).TerminateInstances(c.t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		c.t.Fatal(err)
	}
}

// wantCode checks which error came.
func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	var api smithy.APIError
	switch {
	case err == nil && want == "":
	case !errors.As(err, &api):
		t.Errorf("error %v, want code %q", err, want)
	case api.ErrorCode() != want:
		t.Errorf("code %s (%s), want %s", api.ErrorCode(), api.ErrorMessage(), want)
	}
}

// quick is a drill without delays.
func quick() ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Delays.Pending, d.Delays.Stopping, d.Delays.Terminating, d.Delays.Checks = ec2sim.Delay{}, ec2sim.Delay{}, ec2sim.Delay{}, ec2sim.Delay{}
	d.Limits.Throttle = false
	return d
}

// inMemory hands requests to a handler without a socket.
type inMemory struct{ http.Handler }

// RoundTrip answers a request. A handler that aborts is a lost connection.
func (m inMemory) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "127.0.0.1:1", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler:
			answer, err = nil, io.ErrUnexpectedEOF
		default:
			panic(cause)
		}
	}()
	m.ServeHTTP(recorder, in)
	return recorder.Result(), nil
}

// together does something n times at once, and waits.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func name(args ...any) *string { return aws.String(fmt.Sprint(args...)) }

// parameter is the value of a public parameter of Systems Manager.
func (c *cloud) parameter(region, name string) *string {
	c.t.Helper()
	out, err := ssm.NewFromConfig(c.config(region)).GetParameter(c.t.Context(), &ssm.GetParameterInput{Name: &name})
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Parameter.Value
}

// awaitRules waits until a machine was told rules of a kind.
func (c *cloud) awaitRules(id string, fits func([]ec2sim.Rule) bool) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _, rules := c.host.Machine(id).State()
		if fits(rules) {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("rules are %+v", rules)
		case <-tick.C:
		}
	}
}

// signed sends a call of EC2 that was signed at a time of one's choice.
func (c *cloud) signed(creds aws.Credentials, at time.Time, body string) string {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(c.t.Context(), creds, r, hex.EncodeToString(sum[:]), "ec2", virginia, at); err != nil {
		c.t.Fatal(err)
	}
	answer, err := c.via.RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}
