package strategies_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// step is a step with all defaults but for what edit changes.
func step(name string, edit func(*strategies.Step)) strategies.Step {
	s := strategies.Step{
		Name:           name,
		ContainerName:  "alpine",
		RunMaxTime:     600,
		InstanceRegion: "us-west-2",
		InstanceType:   "t3.micro",
		InstanceCount:  1,
		PruneRunning:   true,
		StopTimeout:    15,
	}
	if edit != nil {
		edit(&s)
	}
	return s
}

func TestParseReadsAProjectOfLoadsV2(t *testing.T) {
	got, err := strategies.Parse("loads_v2.json", mustRead(t, "testdata/valid/loads_v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := strategies.Project{
		Name:     "Push service",
		HomePage: "https://push.example.com",
		Plans: []strategies.Plan{{
			Name:        "Single machine",
			Description: "Connects 10\u202f000 clients 🚦",
			Enabled:     true,
			Steps:       []strategies.Step{monitorOfV2(), clusterOfV2(), testerOfV2()},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("project differs (-want +got):\n%s", diff)
	}
}

func monitorOfV2() strategies.Step {
	return step("monitor", func(s *strategies.Step) {
		s.Monitor = true
		s.ContainerName = ""
		s.RunMaxTime = 0
		s.InstanceRegion = "eu-west-1"
		s.InstanceType = "m3.medium"
		s.DNSName = "metrics.push.example.com"
		s.EnvironmentData = strategies.Environment{{Name: "INFLUXDB_S3_BUCKET", Value: "push-metrics"}}
	})
}

func clusterOfV2() strategies.Step {
	return step("Cluster", func(s *strategies.Step) {
		s.InstanceRegion = "us-east-1"
		s.InstanceType = "m3.large"
		s.RunMaxTime = 340
		s.ContainerName = "example/pushgo:1.5rc4"
		s.ContainerURL = "https://images.example.com/pushgo-1.5rc4.tar.bz2"
		s.AdditionalCommandArgs = `-config="config.toml" -tag $RUN_ID`
		s.DNSName = "testcluster.push.example.com"
		s.PortMapping = "8080:8080,8081:8081,3000:3000,9000:9000/udp"
		s.VolumeMapping = "/var/log:/var/log/$RUN_ID:rw,/etc/push:/srv/push"
		s.DockerSeries = "push_cluster"
		s.PruneRunning = false
		s.NodeDelay = 2
		s.CaptureOutput = "/tmp/cluster.log"
		s.EnvironmentData = strategies.Environment{
			{Name: "PUSHGO_METRICS_STATSD_HOST", Value: "$STATSD_HOST:$STATSD_PORT"},
			{Name: "PUSHGO_HOSTNAME", Value: "${HOST_IP}"},
			{Name: "PUSHGO_EMPTY", Value: ""},
			{Name: "PUSHGO_EXPR", Value: "a=b"},
		}
	})
}

func testerOfV2() strategies.Step {
	return step("Tester", func(s *strategies.Step) {
		s.RunDelay = 20
		s.ContainerName = "example/simpletest:dev"
		s.EnvironmentData = strategies.Environment{
			{Name: "CONNECTIONS", Value: "10000"},
			{Name: "RAMP", Value: "1.50"},
			{Name: "VERBOSE", Value: "true"},
			{Name: "TARGET", Value: "ws://testcluster.push.example.com:8080"},
		}
	})
}

func TestParsePlanReadsAllThatIsNew(t *testing.T) {
	got, err := strategies.ParsePlan("everything.yaml", mustRead(t, "testdata/valid/everything.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	service := step("service", func(s *strategies.Step) {
		s.ContainerName = "$REGISTRY/service@$DIGEST"
		s.ContainerURL = "file:///srv/images/service.tar.zst"
		s.EnvironmentData = strategies.Environment{
			{Name: "REGISTRY", Value: "registry.test:5000"},
			{Name: "RATE", Value: "1_000"},
			{Name: "SINCE", Value: "2020-01-01"},
			{Name: "TLS", Value: "on"},
			{Name: "LABEL", Value: "$$ $RATE"},
		}
		s.PortMapping = "8000:80, 53:5353/udp"
		s.DNSName = "service.test"
		s.Ulimits = map[string]strategies.Ulimit{
			"nofile": {Soft: 1024, Hard: 65536}, "memlock": {Soft: -1, Hard: -1}, "core": {}, "nproc": {Soft: 5, Hard: 10},
		}
		s.CPUs = 1.5
		s.Memory = 512 << 20
		s.StopTimeout = 0
		s.Ready = &strategies.Ready{Port: 80, Timeout: 60}
	})
	merged := strategies.Plan{Steps: []strategies.Step{service}}.Clone().Steps[0]
	merged.Name, merged.RunDelay, merged.DNSName, merged.ContainerURL, merged.Ready = "merged", 7, "", "", nil
	want := strategies.Plan{
		Name:        "everything",
		Description: "One step of each kind.",
		Enabled:     true,
		Steps: []strategies.Step{
			service,
			step("logging", func(s *strategies.Step) {
				s.InstanceCount = 3
				s.RunDelay = 5
				s.Ready = &strategies.Ready{Log: `^listening on \d+$`, Timeout: 10}
				s.StartAfter = []strategies.StartAfter{{Step: "service", Event: strategies.EventReady}}
				s.Memory = 6 << 20
			}),
			step("healthy", func(s *strategies.Step) {
				s.RunDelay = 6
				s.Ready = &strategies.Ready{Health: true, Timeout: 60}
				s.StartAfter = []strategies.StartAfter{
					{Step: "service", Event: strategies.EventReady}, {Step: "logging", Event: strategies.EventEnd},
				}
			}),
			step("last", func(s *strategies.Step) {
				s.RunDelay = 7
				s.StartAfter = []strategies.StartAfter{{Step: "healthy", Event: strategies.EventEnd}}
			}),
			merged,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan differs (-want +got):\n%s", diff)
	}
}

func TestParseFileTakesAProjectOrABarePlan(t *testing.T) {
	project, err := strategies.ParseFile("p.json", mustRead(t, "testdata/valid/loads_v2.json"))
	if err != nil || len(project.Plans) != 1 || project.Name != "Push service" {
		t.Errorf("got project %q with %d plans, error %v", project.Name, len(project.Plans), err)
	}
	plan, err := strategies.ParseFile("p.yaml", mustRead(t, "testdata/valid/everything.yaml"))
	if err != nil || len(plan.Plans) != 1 || plan.Name != "everything" || plan.Plans[0].Name != "everything" {
		t.Errorf("got project %q with %d plans, error %v; want the plan in a project of its name", plan.Name, len(plan.Plans), err)
	}
}

func TestParseAndParsePlanTakeOnlyTheirForm(t *testing.T) {
	_, err := strategies.Parse("p", []byte("name: p\nsteps: []\n"))
	want := "p:2:1: steps is not a field of a project; did you mean plans?"
	if err == nil || !strings.HasPrefix(err.Error(), "p:2:1: steps is not a field of a project") {
		t.Errorf("got %v, want %s…", err, want)
	}
	_, err = strategies.ParsePlan("p", []byte("name: p\nplans: []\n"))
	if err == nil || !strings.Contains(err.Error(), "p:2:1: plans is not a field of a plan") {
		t.Errorf("got %v, want that plans is not a field of a plan", err)
	}
}

// Each document must be read as encoding/json reads it, although YAML in
// general and our YAML decoder in particular would not take all of them.
func TestParseTakesEveryJSONDocument(t *testing.T) {
	const plan = `{"name": %s, "steps": [{"name": "s", "container_name": "alpine"}]}`
	for _, c := range []struct{ name, data, want string }{
		{"tabs are white space", "{\t\"name\"\t:\t\"x\",\n\t\"steps\":\t[\t{\"name\":\"s\",\"container_name\":\"a\"}\t]\t}\t", "x"},
		{"slashes may be escaped", fmt.Sprintf(plan, `"a\/b"`), "a/b"},
		{"surrogate pairs make one character", fmt.Sprintf(plan, `"\ud83d\ude00"`), "😀"},
		{"half a surrogate pair becomes the replacement character", fmt.Sprintf(plan, `"\ud83d!"`), "\ufffd!"},
		{"all short escapes are known", fmt.Sprintf(plan, `"\"\\ok"`), `"\ok`},
		{"DEL and C1 controls may stand unescaped", `{"name":"x","description":"` + "\x7f\u0085" + `","steps":[{"name":"s","container_name":"a"}]}`, "x"},
		{"carriage returns end lines", "{\r\n\"name\": \"x\",\r\n\"steps\": [{\"name\": \"s\", \"container_name\": \"a\"}]}\r\n", "x"},
		{"a byte order mark is ignored", "\ufeff" + fmt.Sprintf(plan, `"x"`), "x"},
		{"long keys are keys", `{"name": "x", "steps": [{"name": "s", "container_name": "a", "environment_data": {"` + strings.Repeat("K", 2000) + `": "v"}}]}`, "x"},
		{"colons need no space", `{"name":"x","steps":[{"name":"s","container_name":"a","run_delay":1,"prune_running":false,"cpus":1e0}]}`, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !json.Valid([]byte(c.data)) && !strings.HasPrefix(c.data, "\ufeff") {
				t.Fatal("the document is not JSON")
			}
			got, err := strategies.ParsePlan("p.json", []byte(c.data))
			if err != nil || got.Name != c.want {
				t.Errorf("got name %q, error %v; want %q", got.Name, err, c.want)
			}
		})
	}
}

func TestParseReportsJSONPositionsInCharacters(t *testing.T) {
	data := "{\"name\": \"é😀\", \"steps\": [\n\t{\"name\": \"é\", \"container_name\": \"a\", \"run_delay\": -1}]}"
	_, err := strategies.ParsePlan("p.json", []byte(data))
	want := "p.json:2:52: steps[0].run_delay: -1 is negative; give seconds, 0 or more"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestParseDeclinesFilesThatExpandTooFar(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("name: bomb\nsteps:\n  - &s {name: s, container_name: a, environment_data: &e {A0: x")
	for i := range 300 {
		fmt.Fprintf(&bomb, ", A%d: x", i+1)
	}
	bomb.WriteString("}}\n")
	for range 400 {
		bomb.WriteString("  - *s\n")
	}
	deep := "name: deep\nsteps: " + strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	laughs := "a0: &a0 [x]\n"
	for i := range 30 {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	merges := "name: m\nsteps:\n  - &m0 {name: a}\n"
	for i := range 30 {
		merges += fmt.Sprintf("  - &m%d {<<: [*m%d, *m%d, *m%d]}\n", i+1, i, i, i)
	}
	for name, data := range map[string]string{
		"aliases of large maps": bomb.String(), "deep nesting": deep, "aliases of aliases": laughs + "steps: *a30\n",
		"merges of merges": merges, "more than a mebibyte": "name: x\ndescription: " + strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := strategies.ParseFile("p.yaml", []byte(data))
			var faults strategies.Faults
			if !errors.As(err, &faults) {
				t.Errorf("got error %v, want faults", err)
			}
		})
	}
}

func TestCheckBoundsWhatAFileCanAskFor(t *testing.T) {
	manySteps := strings.Repeat("  - {name: s, container_name: a}\n", 501)
	plan := "{name: a, steps: [{name: s, container_name: a}]}"
	for _, c := range []struct {
		name, data string
		last       string // of the faults
		count      int
	}{
		{"more steps than a plan may have", "name: p\nsteps:\n" + manySteps, "p:3:3: steps has 501 steps; 500 are the most", 1},
		{"more plans than a project may have", "name: p\nplans:\n" + strings.Repeat("  - "+plan+"\n", 1001), "p:3:3: plans has 1001 plans; 1000 are the most", 1},
		{
			"more variables than a step may have", "name: p\nsteps:\n  - name: s\n    container_name: a\n    environment_data:\n" + numbered(1001, "      A%d: $A%[1]d\n"),
			"p:6:7: steps[0].environment_data has 1001 variables; 1000 are the most", 1,
		},
		{
			"more faults than anybody reads", "name: p\nsteps:\n  - name: s\n    container_name: a\n    port_mapping: " + strings.TrimSuffix(numbered(100_000, "%d,"), ",") + "\n",
			"p:5:19: steps[0].port_mapping: 999 is not a pair of ports; " +
				"give container:host, ports from 1 to 65535, with /udp for UDP\np:5:19: the file has more faults than are shown; correct these first", 1001,
		},
		{
			"more wrong keys than anybody reads", "name: p\nsteps:\n  - name: s\n    container_name: a\n" + numbered(50_000, "    k%d: 1\n"),
			"the file has more faults than are shown; correct these first", 1001,
		},
		{
			"variables that refer to each other in a long row", "name: p\nsteps:\n  - name: s\n    container_name: a\n    environment_data:\n" + chain(999),
			"p:1004:13: steps[0].environment_data.A998: $A999 is not set; did you mean $A99?", 1,
		},
		{
			"variables that double each other", "name: p\nsteps:\n  - name: s\n    container_name: a\n    environment_data:\n      A0: x$NOPE\n" + numbered(500, "      B%d: ${B%[1]d}${B%[1]d}\n"),
			"", 501,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := strategies.Check("p", []byte(c.data), nil)
			var faults strategies.Faults
			if !errors.As(err, &faults) || !strings.HasSuffix(err.Error(), c.last) || len(faults) != c.count {
				t.Errorf("got %d faults, the last: %s\nwant %d faults, the last: %s", len(faults), faults[len(faults)-1], c.count, c.last)
			}
		})
	}
}

// numbered is n times the format with a number from 0.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// chain is variables each of which uses the next; the last one isn't there.
func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "      A%d: $A%d\n", i, i+1)
	}
	return b.String()
}

func TestFileExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("../examples/*.[jy]*")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no examples, error %v", err)
	}
	for _, file := range files {
		if _, err := strategies.ParseFile(file, mustRead(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestFaultStringLeavesOutWhatIsNotKnown(t *testing.T) {
	for want, f := range map[string]strategies.Fault{
		"a.yaml:12:7: plans[0].steps[1].run_delay: -5 is negative; give seconds, 0 or more": {
			File: "a.yaml", Line: 12, Column: 7, Field: "plans[0].steps[1].run_delay", Value: "-5", What: "is negative", Want: "give seconds, 0 or more",
		},
		"name is missing; give a name":   {Field: "name", What: "is missing", Want: "give a name"},
		"a.yaml: the file is empty":      {File: "a.yaml", What: "the file is empty"},
		"3:1: description: x y is wrong": {Line: 3, Column: 1, Field: "description", Value: "x y", What: "is wrong"},
		"a.yaml: -1 is negative; give 0": {File: "a.yaml", Value: "-1", What: "is negative", Want: "give 0"},
	} {
		if got := f.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestValidateFindsWhatParseFinds(t *testing.T) {
	p := strategies.Project{Name: "shop", Plans: []strategies.Plan{{Name: "peak", Steps: []strategies.Step{
		step("web", func(s *strategies.Step) { s.RunDelay = -5 }),
		step("web", func(s *strategies.Step) { s.ContainerName = "" }),
	}}}}
	want := `plans[0].steps[0].run_delay: -5 is negative; give seconds, 0 or more
plans[0].steps[1].name: web is the name of steps[0], too; give each step a name of its own
plans[0].steps[1].container_name is missing; give the image as name:tag`
	if err := p.Validate(); err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	p.Plans[0].Steps = []strategies.Step{step("web", nil)}
	if err := p.Validate(); err != nil {
		t.Errorf("got %v, want no fault", err)
	}
	if err := (strategies.Plan{Name: "zero", Steps: []strategies.Step{{}}}).Validate(); err == nil {
		t.Error("got no fault for a step of zero values")
	}
}
