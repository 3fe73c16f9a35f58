package main

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
)

// startCloud starts a simulated EC2 without machines, which the AWS settings of
// the test's environment lead to.
func startCloud(t *testing.T) *ec2sim.Sim {
	t.Helper()
	drill := ec2sim.DefaultDrill()
	drill.Delays.Pending, drill.Delays.Terminating = ec2sim.Fixed(time.Millisecond), ec2sim.Fixed(time.Millisecond)
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
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIASIMULATED0000000", "AWS_SECRET_ACCESS_KEY": "a secret",
		"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	return sim
}

// launch starts a machine with tags, as name=value.
func launch(t *testing.T, region string, tags ...string) string {
	t.Helper()
	settings, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(region))
	if err != nil {
		t.Fatal(err)
	}
	spec := types.TagSpecification{ResourceType: types.ResourceTypeInstance}
	for _, tag := range tags {
		name, value, _ := strings.Cut(tag, "=")
		spec.Tags = append(spec.Tags, types.Tag{Key: sdk.String(name), Value: sdk.String(value)})
	}
	client := ec2.NewFromConfig(settings)
	images, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{
		Owners: []string{"amazon"}, Filters: []types.Filter{{Name: sdk.String("architecture"), Values: []string{"x86_64"}}},
	})
	if err != nil || len(images.Images) == 0 {
		t.Fatalf("find an image: %d, %v", len(images.Images), err)
	}
	made, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: images.Images[0].ImageId, InstanceType: types.InstanceTypeT3Micro, MinCount: sdk.Int32(1), MaxCount: sdk.Int32(1),
		TagSpecifications: []types.TagSpecification{spec},
	})
	if err != nil {
		t.Fatal(err)
	}
	return "ec2/" + region + "/" + *made.Instances[0].InstanceId
}

func TestReapEndsWhatCarriesTheTagsAndNothingElse(t *testing.T) {
	sim := startCloud(t)
	mine := launch(t, "us-east-1", "Project=loads", "loads:broker=b1", "RunId=r1")
	far := launch(t, "eu-west-1", "Project=loads", "loads:broker=b1", "RunId=r2")
	other := launch(t, "us-east-1", "Project=loads", "loads:broker=b2", "RunId=r3")
	foreign := launch(t, "us-east-1", "Project=shop")
	want := func(code int, stdout, stderr string, ended ...string) {
		t.Helper()
		var r reaped
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
		}
		slices.Sort(r.Ended)
		slices.Sort(ended)
		if !slices.Equal(r.Ended, ended) || len(r.Left) > 0 {
			t.Errorf("ended %v, left %v; want %v ended", r.Ended, r.Left, ended)
		}
	}
	code, _, stderr := invoke(t, "reap", "--all")
	if code != 1 || !strings.Contains(stderr, "give --yes") || sim.State().Alive != 4 {
		t.Fatalf("without a terminal and --yes: exit code %d, %q, %d machines left; want 1, a hint and 4", code, stderr, sim.State().Alive)
	}
	code, stdout, stderr := invoke(t, "reap", "--broker-id", "b1", "--yes", "--json")
	want(code, stdout, stderr, mine, far)
	code, stdout, stderr = invoke(t, "reap", "--all", "--yes", "--json")
	want(code, stdout, stderr, other)
	code, stdout, stderr = invoke(t, "reap", "--all", "--yes", "--json")
	want(code, stdout, stderr)
	if n := sim.State().Alive; n != 1 {
		t.Errorf("%d machines are left, want %s, which has other tags", n, foreign)
	}
}

func TestReapAndCheckSayWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		desc string
		args []string
		want string
	}{
		{"which broker", []string{"reap"}, "either --broker-id ID or --all"},
		{"one of the two", []string{"reap", "--all", "--broker-id", "b"}, "either --broker-id ID or --all"},
		{"a provider that there is", []string{"check", "--provider", "moon", "plan.yaml"}, `--provider is "moon"; give ec2`},
		{"a limit that is one", []string{"broker", "--max-cost", "-1"}, "--max-cost is -1; give USD"},
		{"a silence that a restart may take", []string{"broker", "--lost-after", "1s"}, "--lost-after is 1s; give 5s or more"},
		{"a time to boot in", []string{"broker", "--ec2", "--ec2-boot-limit", "1s"}, "--ec2-boot-limit is 1s; give 5s or more"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			if code, _, stderr := invoke(t, tt.args...); code != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, %q; want 1 and %q", code, stderr, tt.want)
			}
		})
	}
}

func TestCostsArePrintedForPeople(t *testing.T) {
	var text strings.Builder
	err := writeCost(&text, broker.Cost{
		Lines: []broker.CostLine{
			{QuoteLine: broker.QuoteLine{
				Name: "load", Count: 3, Region: "eu-west-1", Type: "c7g.large", Architecture: "arm64", Spot: "prefer", Image: "ami-0abc", Alternatives: []string{"c6g.large"},
				Zones: []string{"eu-west-1a"}, LowUSD: 0.03, HighUSD: 0.0725,
			}, WorstUSD: 0.3, UpSeconds: 40},
			{QuoteLine: broker.QuoteLine{Name: "web", Count: 1, Region: "eu-west-1", Type: "t3.micro"}},
		},
		WorstUSD: 0.3, Partial: true, MaxUSD: 5,
		Quotas: []broker.Quota{{Name: "standard instances", Region: "eu-west-1", Limit: 32, Used: 4, Needed: 6, Unit: "vCPU"}},
		Notes:  []string{"Prices are without taxes."}, Faults: []string{"That won't do."},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"c7g.large arm64 or c6g.large, spot prefer", "ami-0abc", "0.0300–0.0725", "not known", "standard instances: 4 of 32 vCPU used, 28 left, 6 needed",
		"Note: Prices are without taxes.", "Fault: That won't do.", "up in about 40s",
		"Worst possible bill: 0.3000 USD, without what has no known price, if every machine lives as long as it can, whatever fails; the limit is 5.00 USD.",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, text.String())
		}
	}
}
