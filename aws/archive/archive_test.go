package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/loads/loads/aws/archive"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
)

const (
	bucket  = "runs"
	key     = "shop/smoke/7.tar.gz"
	address = "s3://" + bucket + "/" + key
)

// permissions are what the documents of S3 say that a call needs.
var permissions = map[string][]string{
	"CreateMultipartUpload": {"s3:PutObject"}, "UploadPart": {"s3:PutObject"}, "CompleteMultipartUpload": {"s3:PutObject"},
	"AbortMultipartUpload": {"s3:AbortMultipartUpload"}, "ListParts": {"s3:ListMultipartUploadParts"},
	"ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
	// Without ListBucket S3 does not say that an object is missing.
	"HeadObject": {"s3:GetObject", "s3:ListBucket"},
}

// calls are all that the tests had archivers make.
var (
	callsMu sync.Mutex
	calls   = map[string]bool{}
)

// TestMain compares, once all tests have passed, the permissions for the calls
// that they made with those of the policy.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""; code == 0 && all {
		if err := policyIsExact(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

func policyIsExact() error {
	data, err := os.ReadFile("policy.json")
	if err != nil {
		return err
	}
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(data, &policy); err != nil {
		return fmt.Errorf("policy.json: %w", err)
	}
	allowed, needed := map[string]bool{}, map[string]bool{}
	for _, s := range policy.Statement {
		for _, action := range s.Action {
			allowed[action] = true
		}
	}
	for call := range calls {
		if permissions[call] == nil {
			return fmt.Errorf("it is not known what the call %s needs", call)
		}
		for _, p := range permissions[call] {
			needed[p] = true
		}
	}
	if !maps.Equal(allowed, needed) {
		return fmt.Errorf("archives need %v,\nand policy.json allows %v", slices.Sorted(maps.Keys(needed)), slices.Sorted(maps.Keys(allowed)))
	}
	return nil
}

// A cloud is a simulated S3 with a bucket.
type cloud struct {
	*testing.T
	sim *ec2sim.Sim
	url string
}

func startCloud(t *testing.T, faults ...ec2sim.Fault) *cloud {
	t.Helper()
	drill := ec2sim.DefaultDrill()
	drill.Faults = faults
	sim, err := ec2sim.New(ec2sim.Config{
		Host: ec2sim.NewNoMachines(), Drill: drill, Dir: t.TempDir(), AdminToken: "a token",
		Keys: map[string]ec2sim.Key{"AKIASIMULATED0000000": {Secret: "a secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c := &cloud{T: t, sim: sim, url: server.URL}
	if _, err := c.client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: sdk.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) config(via http.RoundTripper) sdk.Config {
	return sdk.Config{
		Region: "us-east-1", BaseEndpoint: sdk.String(c.url),
		Credentials: credentials.NewStaticCredentialsProvider("AKIASIMULATED0000000", "a secret", ""),
		HTTPClient:  &http.Client{Transport: via},
	}
}

// client is for what tests look at.
func (c *cloud) client() *s3.Client {
	return s3.NewFromConfig(c.config(http.DefaultTransport), func(o *s3.Options) { o.UsePathStyle = true })
}

// archiver makes one whose calls may be changed on their way.
func (c *cloud) archiver(before func(action string) error) *archive.Archiver {
	c.Helper()
	cfg := c.config(roundTrip(func(r *http.Request) (*http.Response, error) {
		action := actionOf(r)
		callsMu.Lock()
		calls[action] = true
		callsMu.Unlock()
		if before != nil {
			if err := before(action); err != nil {
				return nil, err
			}
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	a, err := archive.Open(c.Context(), archive.Config{SDK: &cfg})
	if err != nil {
		c.Fatal(err)
	}
	return a
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// actionOf names a call by what is asked for.
func actionOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("uploads") && r.Method == http.MethodGet:
		return "ListMultipartUploads"
	case q.Has("uploads"):
		return "CreateMultipartUpload"
	case q.Has("uploadId"):
		return map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}[r.Method]
	}
	return map[string]string{"HEAD": "HeadObject"}[r.Method]
}

// file has bytes that nothing compresses.
func file(t *testing.T, size int) (*os.File, []byte) {
	t.Helper()
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{7})
	_, _ = source.Read(data)
	name := filepath.Join(t.TempDir(), "archive.tar.gz")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, data
}

// is checks that the object is the data, by the SDK's own comparison with the
// checksum too, and that no upload is left.
func (c *cloud) is(data []byte, checksum string) {
	c.Helper()
	out, err := c.client().GetObject(c.Context(), &s3.GetObjectInput{Bucket: sdk.String(bucket), Key: sdk.String(key), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		c.Fatal(err)
	}
	defer out.Body.Close()
	got, err := io.ReadAll(out.Body)
	if err != nil || !bytes.Equal(got, data) {
		c.Errorf("%d bytes came back, %v; want the %d that were stored", len(got), err, len(data))
	}
	if sdk.ToString(out.ChecksumSHA256) != checksum || out.ChecksumType != types.ChecksumTypeComposite {
		c.Errorf("checksum %v of type %v, want %s of parts", sdk.ToString(out.ChecksumSHA256), out.ChecksumType, checksum)
	}
	c.noneLeft()
}

func (c *cloud) noneLeft() {
	c.Helper()
	if left := c.sim.State().Receipt["multipart-uploads"].Left; left != 0 {
		c.Errorf("%d uploads are left", left)
	}
}

const size = 20<<20 + 1 // three parts

func TestFilesOfAnySizeAreStored(t *testing.T) {
	for name, size := range map[string]int{"nothing": 0, "one byte": 1, "one part": 8 << 20, "three parts": size} {
		t.Run(name, func(t *testing.T) {
			c := startCloud(t)
			f, data := file(t, size)
			noted := ""
			sum, err := c.archiver(nil).Store(t.Context(), address, f, "", func(upload string) error { noted = upload; return nil })
			if err != nil || noted == "" {
				t.Fatalf("noted %q, %v", noted, err)
			}
			c.is(data, sum)
		})
	}
}

// Faults of single calls are none of the archive's, and leave nothing.
func TestFaultsOnTheWay(t *testing.T) {
	for _, fault := range []ec2sim.FaultName{ec2sim.Throttled, ec2sim.ErrorAfter, ec2sim.AnswerLost} {
		for _, action := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
			t.Run(string(fault)+" of "+action, func(t *testing.T) {
				t.Parallel()
				c := startCloud(t, ec2sim.Fault{Name: fault, Action: action, Count: 1})
				f, data := file(t, 9<<20)
				sum, err := c.archiver(nil).Store(t.Context(), address, f, "", func(string) error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				c.is(data, sum)
			})
		}
	}
}

// A process is killed after any of its calls; what follows it goes on.
func TestAnotherGoesOnWithAnUpload(t *testing.T) {
	for _, tt := range []struct {
		name  string
		kill  string // the action before whose nth call it is killed
		nth   int
		parts int // that the second process has to upload
	}{
		{"killed before the upload was noted", "UploadPart", 1, 3},
		{"killed with parts uploaded", "CompleteMultipartUpload", 1, 0},
		{"killed after the end, before it was known", "ListMultipartUploads", 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startCloud(t)
			f, data := file(t, size)
			noted := ""
			c.killed(tt.kill, tt.nth, func(ctx context.Context, a *archive.Archiver) {
				_, err := a.Store(ctx, address, f, "", func(upload string) error {
					if tt.parts == 0 {
						noted = upload
					}
					return nil
				})
				if err == nil {
					t.Error("the first has succeeded")
				}
			})
			var mu sync.Mutex
			uploaded := 0
			second := c.archiver(func(action string) error {
				mu.Lock()
				defer mu.Unlock()
				if action == "UploadPart" {
					uploaded++
				}
				return nil
			})
			sum, err := second.Store(t.Context(), address, f, noted, func(string) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if uploaded != tt.parts {
				t.Errorf("%d parts were uploaded again, want %d", uploaded, tt.parts)
			}
			c.is(data, sum)
		})
	}
}

// killed runs f until the nth call of an action, which is not made any more.
func (c *cloud) killed(action string, nth int, f func(context.Context, *archive.Archiver)) {
	ctx, kill := context.WithCancel(c.Context())
	defer kill()
	var mu sync.Mutex
	f(ctx, c.archiver(func(called string) error {
		mu.Lock()
		defer mu.Unlock()
		if called == action {
			if nth--; nth <= 0 {
				kill()
				return ctx.Err()
			}
		}
		return nil
	}))
}

func TestAnUploadThatIsForgottenLeavesNothing(t *testing.T) {
	c := startCloud(t)
	f, _ := file(t, size)
	c.killed("CompleteMultipartUpload", 1, func(ctx context.Context, a *archive.Archiver) {
		_, _ = a.Store(ctx, address, f, "", func(string) error { return nil })
	})
	if c.sim.State().Receipt["multipart-uploads"].Left != 1 {
		t.Fatal("no upload is left of a process that was killed")
	}
	if err := c.archiver(nil).Forget(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	c.noneLeft()
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	c := startCloud(t)
	f, _ := file(t, 1)
	note := func(string) error { return nil }
	_, err := c.archiver(nil).Store(t.Context(), "s3://another/key", f, "", note)
	if broker.CodeOf(err) != broker.EInvalid || !strings.Contains(err.Error(), "S3 has no bucket another; make it") {
		t.Errorf("no bucket: %v", err)
	}
	wrong := c.config(http.DefaultTransport)
	wrong.Credentials = credentials.NewStaticCredentialsProvider("AKIASIMULATED0000000", "not the secret", "")
	a, err := archive.Open(t.Context(), archive.Config{SDK: &wrong})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Store(t.Context(), address, f, "", note)
	if broker.CodeOf(err) != broker.EInvalid || !strings.Contains(err.Error(), "policy.json") {
		t.Errorf("wrong credentials: %v", err)
	}
	sick := errors.New("the disk is full")
	_, err = c.archiver(nil).Store(t.Context(), address, f, "", func(string) error { return sick })
	if !errors.Is(err, sick) {
		t.Errorf("an upload that can't be noted: %v", err)
	}
	for _, address := range []string{"", "runs", "http://runs/x", "s3:///x", "s3://runs/x?y=z"} {
		if _, _, err := archive.Parse(address); broker.CodeOf(err) != broker.EInvalid {
			t.Errorf("%q: %v, want that it is no address", address, err)
		}
	}
}

// What a bucket says of its region is heeded.
func TestABucketInAnotherRegion(t *testing.T) {
	c := startCloud(t)
	f, data := file(t, 1)
	cfg := c.config(roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/") {
			h := http.Header{"X-Amz-Bucket-Region": {"us-east-1"}}
			body := "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
			return &http.Response{StatusCode: http.StatusMovedPermanently, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	a, err := archive.Open(t.Context(), archive.Config{SDK: &cfg, Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	sum, err := a.Store(ctx, address, f, "", func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	c.is(data, sum)
}
