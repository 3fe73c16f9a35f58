package ec2sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	pricetypes "github.com/aws/aws-sdk-go-v2/service/pricing/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/loads/loads/aws/ec2sim"
)

func TestImagesByParameter(t *testing.T) {
	c := startCloud(t, quick())
	client := ssm.NewFromConfig(c.config(ireland))
	path := "/aws/service/ecs/optimized-ami/amazon-linux-2023/"
	out, err := client.GetParameters(t.Context(), &ssm.GetParametersInput{
		Names: []string{path + "recommended/image_id", path + "arm64/recommended/image_id", "/no/such"},
	})
	if err != nil || len(out.Parameters) != 2 || !slices.Equal(out.InvalidParameters, []string{"/no/such"}) {
		t.Fatalf("parameters %+v, error %v", out, err)
	}
	for i, arch := range []types.ArchitectureValues{types.ArchitectureValuesX8664, types.ArchitectureValuesArm64} {
		images, err := c.ec2(ireland).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*out.Parameters[i].Value}})
		if err != nil || len(images.Images) != 1 || images.Images[0].Architecture != arch || *images.Images[0].RootDeviceName != "/dev/xvda" {
			t.Errorf("images %+v, error %v; want one of %s", images, err, arch)
		}
	}
	if *c.image(virginia) == *c.image(ireland) {
		t.Error("two regions have the same image")
	}
	_, err = client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/no/such")})
	wantCode(t, err, "ParameterNotFound")
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: aws.String("/aws/service"), Recursive: aws.Bool(true), MaxResults: aws.Int32(3)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Parameters)
	}
	if n != 10 {
		t.Errorf("%d parameters by path, want 10", n)
	}
}

func TestPlaces(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(ireland)
	regions, err := client.DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{RegionNames: []string{virginia, ireland}})
	if err != nil || len(regions.Regions) != 2 {
		t.Errorf("regions %+v, error %v", regions, err)
	}
	zones, err := client.DescribeAvailabilityZones(t.Context(), &ec2.DescribeAvailabilityZonesInput{})
	if err != nil || len(zones.AvailabilityZones) != 3 || *zones.AvailabilityZones[0].ZoneId != "euw1-az1" {
		t.Errorf("zones %+v, error %v", zones, err)
	}
	vpcs, err := client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("is-default", "true")}})
	if err != nil || len(vpcs.Vpcs) != 1 || !*vpcs.Vpcs[0].IsDefault {
		t.Fatalf("VPCs %+v, error %v", vpcs, err)
	}
	subnets, err := client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{filter("vpc-id", *vpcs.Vpcs[0].VpcId)}})
	if err != nil || len(subnets.Subnets) != 3 {
		t.Errorf("subnets %+v, error %v", subnets, err)
	}
	offered, err := c.ec2(virginia).DescribeInstanceTypeOfferings(t.Context(), &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: types.LocationTypeAvailabilityZone, Filters: []types.Filter{filter("instance-type", "c7g.large")},
	})
	if err != nil || len(offered.InstanceTypeOfferings) != 5 {
		t.Errorf("c7g.large is offered in %d zones, error %v; want 5 of 6", len(offered.InstanceTypeOfferings), err)
	}
	kinds, err := client.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"c6g.xlarge"}})
	if err != nil || *kinds.InstanceTypes[0].VCpuInfo.DefaultVCpus != 4 || *kinds.InstanceTypes[0].MemoryInfo.SizeInMiB != 8192 ||
		!slices.Equal(kinds.InstanceTypes[0].ProcessorInfo.SupportedArchitectures, []types.ArchitectureType{types.ArchitectureTypeArm64}) {
		t.Errorf("types %+v, error %v", kinds, err)
	}
	_, err = client.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"c6g.enormous"}})
	wantCode(t, err, "InvalidInstanceType")
	attributes, err := client.DescribeAccountAttributes(t.Context(), &ec2.DescribeAccountAttributesInput{AttributeNames: []types.AccountAttributeName{"default-vpc"}})
	if err != nil || *attributes.AccountAttributes[0].AttributeValues[0].AttributeValue != *vpcs.Vpcs[0].VpcId {
		t.Errorf("attributes %+v, error %v", attributes, err)
	}
}

func TestWhatIsNotSimulatedIsNotPassedOver(t *testing.T) {
	c := startCloud(t, quick())
	_, err := c.ec2(virginia).DescribeKeyPairs(t.Context(), &ec2.DescribeKeyPairsInput{})
	wantCode(t, err, "InvalidAction")
	_, err = ssm.NewFromConfig(c.config(virginia)).ListCommands(t.Context(), &ssm.ListCommandsInput{})
	wantCode(t, err, "UnknownOperationException")
	_, err = s3.NewFromConfig(c.config(virginia)).GetBucketAcl(t.Context(), &s3.GetBucketAclInput{Bucket: aws.String("bucket")})
	wantCode(t, err, "NotImplemented")
}

func TestPricesAndQuotas(t *testing.T) {
	d := quick()
	d.Limits.OnDemandVCPUs, d.Limits.SpotVCPUs = 64, 32
	c := startCloud(t, d)
	out, err := pricing.NewFromConfig(c.config(virginia)).GetProducts(t.Context(), &pricing.GetProductsInput{
		ServiceCode: aws.String("AmazonEC2"),
		Filters: []pricetypes.Filter{
			{Type: pricetypes.FilterTypeTermMatch, Field: aws.String("instanceType"), Value: aws.String("m5.large")},
			{Type: pricetypes.FilterTypeTermMatch, Field: aws.String("regionCode"), Value: aws.String(virginia)},
			{Type: pricetypes.FilterTypeTermMatch, Field: aws.String("operatingSystem"), Value: aws.String("Linux")},
		},
	})
	if err != nil || len(out.PriceList) != 1 {
		t.Fatalf("prices %+v, error %v", out, err)
	}
	var item struct {
		Terms map[string]map[string]struct {
			PriceDimensions map[string]struct {
				Unit         string
				PricePerUnit map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(out.PriceList[0]), &item); err != nil {
		t.Fatal(err)
	}
	for _, term := range item.Terms["OnDemand"] {
		for _, d := range term.PriceDimensions {
			if d.Unit != "Hrs" || d.PricePerUnit["USD"] != "0.0960000000" {
				t.Errorf("price %+v, want 0.096 dollars an hour", d)
			}
		}
	}
	quotas := servicequotas.NewFromConfig(c.config(virginia))
	one, err := quotas.GetServiceQuota(t.Context(), &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: aws.String("L-34B43A08")})
	if err != nil || *one.Quota.Value != 32 {
		t.Errorf("quota %+v, error %v", one, err)
	}
	all, err := quotas.ListServiceQuotas(t.Context(), &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("ec2")})
	if err != nil || len(all.Quotas) != 2 || *all.Quotas[0].Value != 64 {
		t.Errorf("quotas %+v, error %v", all, err)
	}
	_, err = quotas.GetServiceQuota(t.Context(), &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: aws.String("L-00000000")})
	wantCode(t, err, "NoSuchResourceException")
}

func TestWhoeverHasNoKeyIsRefused(t *testing.T) {
	c := startCloud(t, quick())
	tests := []struct {
		name           string
		access, secret string
		ec2, sts, ssm  string
		s3             string
	}{
		{"unknown key", "AKIAUNKNOWN000000000", secretKey, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"},
		{"wrong secret", accessKey, "wrong", "AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"right key", accessKey, secretKey, "", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := c.config(virginia)
			config.Credentials = credentials.NewStaticCredentialsProvider(tt.access, tt.secret, "")
			_, err := ec2.NewFromConfig(config).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
			wantCode(t, err, tt.ec2)
			_, err = sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			wantCode(t, err, tt.sts)
			_, err = ssm.NewFromConfig(config).GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: aws.String("/aws")})
			wantCode(t, err, tt.ssm)
			_, err = s3.NewFromConfig(config).ListBuckets(t.Context(), &s3.ListBucketsInput{})
			wantCode(t, err, tt.s3)
		})
	}
}

func TestAClockThatIsWrongIsRefused(t *testing.T) {
	c := startCloud(t, quick())
	creds := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	for by, want := range map[time.Duration]string{
		-time.Minute: "", 10 * time.Minute: "RequestExpired", -10 * time.Minute: "RequestExpired",
	} {
		body := "Action=DescribeVpcs&Version=2016-11-15"
		answer := c.signed(creds, time.Now().Add(by), body)
		if want == "" && strings.Contains(answer, "<Error>") || !strings.Contains(answer, want) {
			t.Errorf("clock off by %v: %s", by, answer)
		}
	}
}

func TestSTSTellsTheAccount(t *testing.T) {
	c := startCloud(t, quick())
	out, err := sts.NewFromConfig(c.config(virginia)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != account || !strings.Contains(*out.Arn, account) {
		t.Errorf("identity %+v, error %v", out, err)
	}
}

func TestAdmin(t *testing.T) {
	c := startCloud(t, quick()).serve()
	ask := func(method, path, token, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	wantStatus := func(got int, text string, want int) {
		t.Helper()
		if got != want {
			t.Errorf("status %d, want %d: %s", got, want, text)
		}
	}
	status, text := ask("GET", "/_sim/state", "wrong", "")
	wantStatus(status, text, http.StatusUnauthorized)
	status, text = ask("POST", "/_sim/faults", token, `{"fault":"throttled","action":"RunInstances","count":1}`)
	wantStatus(status, text, http.StatusOK)
	status, text = ask("POST", "/_sim/faults", token, `{"fault":"flood"}`)
	wantStatus(status, text, http.StatusBadRequest)
	_, err := c.ec2(virginia).RunInstances(t.Context(), c.request(virginia, 1))
	wantCode(t, err, "RequestLimitExceeded")
	if status, text = ask("GET", "/_sim/faults", token, ""); status != http.StatusOK || !strings.Contains(text, `"hits":1`) {
		t.Errorf("faults: %d %s", status, text)
	}
	status, text = ask("DELETE", "/_sim/faults", token, "")
	wantStatus(status, text, http.StatusOK)
	id := c.run(virginia, 1)[0]
	c.await(virginia, id, types.InstanceStateNameRunning)
	status, text = ask("POST", "/_sim/machines/"+id+"/faults", token, `{"fault":"dies"}`)
	wantStatus(status, text, http.StatusOK)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	status, text = ask("POST", "/_sim/machines/"+id+"/faults", token, `{"fault":"dies"}`)
	wantStatus(status, text, http.StatusConflict)
	var state ec2sim.State
	status, text = ask("GET", "/_sim/state", token, "")
	wantStatus(status, text, http.StatusOK)
	if err := json.Unmarshal([]byte(text), &state); err != nil || state.Launched != 1 || state.Alive != 0 || state.Receipt["instances"].Left != 0 {
		t.Errorf("state %s, error %v", text, err)
	}
	counted := func(action, code string) bool {
		return slices.ContainsFunc(state.Calls, func(c ec2sim.Calls) bool { return c.Action == action && c.Code == code && c.N == 1 })
	}
	if !counted("RunInstances", "OK") || !counted("RunInstances", "RequestLimitExceeded") {
		t.Errorf("calls %+v", state.Calls)
	}
	if status, text = ask("GET", "/_sim/things?tag=RunId=none", token, ""); status != http.StatusOK || strings.TrimSpace(text) != "[]" {
		t.Errorf("things with a tag that none has: %d %s", status, text)
	}
	status, text = ask("GET", "/_sim/things?tag=RunId", token, "")
	wantStatus(status, text, http.StatusBadRequest)
	if status, text = ask("GET", "/_sim/machines", token, ""); status != http.StatusOK || !strings.Contains(text, id) || !strings.Contains(text, `"faults":["dies"]`) || !strings.Contains(text, `"ended":"20`) {
		t.Errorf("machines: %d %s", status, text)
	}
}

func TestOneAccountDoesNotSeeAnother(t *testing.T) {
	host := ec2sim.NewNoMachines()
	sim, err := ec2sim.New(ec2sim.Config{Host: host, Drill: quick(), Dir: t.TempDir(), Keys: map[string]ec2sim.Key{
		accessKey: {Secret: secretKey, Account: account}, "AKIAOTHER00000000000": {Secret: "other", Account: "210987654321"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	c := &cloud{t: t, sim: sim, host: host, via: inMemory{sim}, url: "http://ec2sim.invalid"}
	c.run(virginia, 1)
	config := c.config(virginia)
	config.Credentials = credentials.NewStaticCredentialsProvider("AKIAOTHER00000000000", "other", "")
	out, err := ec2.NewFromConfig(config).DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{})
	if err != nil || len(out.Reservations) != 0 {
		t.Errorf("another account sees %d reservations, error %v", len(out.Reservations), err)
	}
}

func TestThingsAreToldByTheirTags(t *testing.T) {
	c := startCloud(t, quick()).serve()
	in := c.request(virginia, 1)
	tags := []types.Tag{{Key: aws.String("RunId"), Value: aws.String("one")}}
	for _, kind := range []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume} {
		in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: kind, Tags: tags})
	}
	out, err := c.ec2(virginia).RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	c.run("eu-west-1", 1) // has no tags
	things := func(of map[string]string) string {
		var kinds []string
		for _, thing := range c.sim.Things(of) {
			kinds = append(kinds, thing.Kind+" in "+thing.Region)
		}
		return strings.Join(kinds, ", ")
	}
	if got, want := things(map[string]string{"RunId": "one"}), "instances in us-east-1, volumes in us-east-1"; got != want {
		t.Errorf("with the tag: %s, want %s", got, want)
	}
	if got := things(nil); !strings.Contains(got, "instances in eu-west-1") || !strings.Contains(got, "network-interfaces in us-east-1") {
		t.Errorf("of all there is %s, want what has no tags, too", got)
	}
	c.terminate(virginia, ids(out.Instances)...)
	c.await(virginia, ids(out.Instances)[0], types.InstanceStateNameTerminated)
	if got := things(map[string]string{"RunId": "one"}); got != "" {
		t.Errorf("left are %s, want nothing", got)
	}
}
