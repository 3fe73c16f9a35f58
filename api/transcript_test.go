package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// A transcript is a series of calls and their answers as text. Ids and times,
// which differ from one time to the next, are replaced.
type transcript struct {
	*bench
	name string
	text bytes.Buffer
	ids  map[string]string
}

func (b *bench) transcript(name string) *transcript {
	return &transcript{bench: b, name: name, ids: map[string]string{}}
}

// call makes a call as the old client does, and writes both sides down.
func (c *transcript) call(method, path, body string) map[string]any {
	c.Helper()
	header := []string{"User-Agent", "python-requests/2.18.4", "Accept", "*/*"}
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	answer := c.do(method, path, body, header...)
	fmt.Fprintf(&c.text, "> %s %s\n", method, c.plain(path))
	if body != "" {
		fmt.Fprintf(&c.text, "%s\n", c.plain(body))
	}
	fmt.Fprintf(&c.text, "< %d %s\n", answer.status, answer.header.Get("Content-Type"))
	if allow := answer.header.Get("Allow"); allow != "" {
		fmt.Fprintf(&c.text, "< Allow: %s\n", allow)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(answer.body), "", "  "); err != nil {
		c.Fatalf("answer of %s %s is not JSON: %v\n%s", method, path, err, answer.body)
	}
	fmt.Fprintf(&c.text, "%s\n\n", bytes.TrimSpace([]byte(c.plain(pretty.String()))))
	return answer.object(c)
}

var (
	uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timePattern = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`)
)

// plain replaces what differs from one time to the next. Equal ids stay equal.
func (c *transcript) plain(text string) string {
	text = timePattern.ReplaceAllString(text, "<time>")
	return uuidPattern.ReplaceAllStringFunc(text, func(id string) string {
		if _, ok := c.ids[id]; !ok {
			c.ids[id] = fmt.Sprintf("<id-%d>", len(c.ids)+1)
		}
		return c.ids[id]
	})
}

// check compares the transcript with the one kept.
func (c *transcript) check() {
	c.Helper()
	file := filepath.Join("testdata", c.name+".txt")
	if *update {
		if err := os.WriteFile(file, c.text.Bytes(), 0o644); err != nil {
			c.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		c.Fatal(err)
	}
	if diff := cmp.Diff(string(want), c.text.String()); diff != "" {
		c.Errorf("%s, -want +got (go test -update writes it anew):\n%s", file, diff)
	}
}

func TestOldClientInfo(t *testing.T) {
	b := mustServe(t, nil)
	c := b.transcript("info")
	c.call("GET", "/api", "")
	run := b.mustStore(b.mustPlan())
	b.complete(&run)
	c.call("GET", "/api?limit=10&offset=0", "")
	c.call("GET", "/api?limit=10&offset=1", "")
	c.check()
}

func TestOldClientProjects(t *testing.T) {
	b := mustServe(t, nil)
	c := b.transcript("projects")
	made := c.call("POST", "/api/project", projectFile)
	path := "/api/project/" + made["uuid"].(string)
	plan := made["plans"].([]any)[0].(map[string]any)
	run := b.mustStore(plan["uuid"].(string))
	b.complete(&run)
	c.call("GET", "/api/project", "")
	c.call("GET", path, "")
	c.call("DELETE", path, "")
	c.call("GET", path, "")
	c.call("DELETE", path, "")
	c.check()
}

func TestOldClientRuns(t *testing.T) {
	b := mustServe(t, nil)
	plan := b.mustProject(projectFile).Plans[0].UUID
	c := b.transcript("runs")
	fixed := "11111111-2222-3333-4444-555555555555"
	c.call("POST", "/api/orchestrate/"+plan, `{"run_uuid": "`+fixed+`", "owner": "ann", "RATE_GIVEN": 50, "unset": null}`)
	c.call("POST", "/api/orchestrate/"+plan, `{"run_uuid": "`+fixed+`", "RATE_GIVEN": "50"}`)
	c.call("POST", "/api/orchestrate/"+plan, "")
	c.call("POST", "/api/orchestrate/00000000-0000-0000-0000-000000000000", "{}")
	c.call("DELETE", "/api/orchestrate/"+fixed, "")
	if _, done, err := b.client().Wait(t.Context(), fixed, time.Minute); err != nil || !done {
		t.Fatalf("wait: got %v, %v", done, err)
	}
	c.call("DELETE", "/api/orchestrate/"+fixed, "")
	c.call("DELETE", "/api/run/"+fixed, "")
	c.call("DELETE", "/api/run/"+fixed+"?purge=1", "")
	c.call("GET", "/api/run/"+fixed, "")
	c.call("DELETE", "/api/run/"+fixed, "")
	c.call("DELETE", "/api/orchestrate/"+fixed, "")
	c.check()
}

// A run whose course the test itself writes, so that every field has a value.
func TestOldClientRunRecord(t *testing.T) {
	b := mustServe(t, nil)
	c := b.transcript("run-record")
	run := b.mustStore(b.mustPlan(), strategies.Variable{Name: "RATE", Value: "5"}, strategies.Variable{Name: "API_TOKEN", Value: "hidden"})
	c.call("GET", "/api/run/"+run.UUID, "")
	at, skew := time.Date(2026, 11, 21, 10, 0, 0, 1000, time.UTC), 12.5
	run.State, run.StartedAt, run.Versions = broker.Running, &at, map[string]string{"broker": "1.2.3"}
	b.save(&run)
	step := run.StepRecords[0]
	step.State, step.StartAt, step.StartedAt, step.ReadyAt, step.CompletedAt = broker.StepFailed, &at, &at, &at, &at
	step.Failed, step.Reason, step.SkewMS, step.ImageDigest = true, "A container ended with 3.", &skew, "sha256:abc"
	if err := b.store.SaveStep(t.Context(), &run, &step); err != nil {
		t.Fatal(err)
	}
	b.complete(&run)
	c.call("GET", "/api/run/"+run.UUID, "")
	c.call("GET", "/api/run/"+run.UUID+"/links", "")
	c.call("GET", "/dashboards/run/none/", "")
	c.check()
}

func TestOldClientTerminate(t *testing.T) {
	b := mustServe(t, nil)
	c := b.transcript("terminate")
	plan := b.mustPlan()
	stopped := b.mustStart(plan)
	c.call("DELETE", "/api/run/"+stopped, "")
	ended := b.mustStart(plan)
	b.eventually("the run asks for its machine", func() bool {
		list, _ := b.shelf.Owned(t.Context(), "")
		return slices.ContainsFunc(list, func(o broker.Owned) bool { return o.RunUUID == ended })
	})
	answer := c.call("DELETE", "/api/run/"+ended+"?terminate=1", "")
	c.check()
	if got := answer["terminated"].([]any); len(got) != 1 {
		t.Errorf("got %v terminated, want one machine", got)
	}
	b.eventually("no machine is left", func() bool {
		list, _ := b.shelf.Owned(t.Context(), "")
		return len(list) == 0
	})
}

func TestOldClientInstances(t *testing.T) {
	b := mustServe(t, nil)
	c := b.transcript("instances")
	c.call("GET", "/api/instances", "")
	run := b.mustStore(b.mustPlan()) // which is not completed, so its machines stay
	for _, id := range []string{"i-1", "i-2", "i-3"} {
		b.shelf.put(broker.Owned{
			ProviderID: id, Kind: "instance", RunUUID: run.UUID, Name: "loads-x", Address: "10.0.0.1",
			State: "running", Type: "t3.micro", Placement: "us-west-2a", Tags: map[string]string{"Project": "loads"},
		})
	}
	c.call("GET", "/api/instances", "")
	c.call("GET", "/api/instances/i-1", "")
	c.call("DELETE", "/api/instances/i-1", "")
	c.call("GET", "/api/instances/i-1", "")
	c.call("DELETE", "/api/instances/i-1", "")
	c.call("DELETE", "/api/instances", "")
	c.call("GET", "/api/instances", "")
	c.check()
}

// The fields of loads v2's records, which its clients may look for.
func TestOldFieldsAreThere(t *testing.T) {
	b := mustServe(t, nil)
	made := b.mustProject(projectFile)
	run := b.mustStore(made.Plans[0].UUID)
	b.complete(&run)
	project := b.do("GET", "/api/project/"+made.UUID, "").object(t)["project"].(map[string]any)
	plan := project["plans"].([]any)[0].(map[string]any)
	step := plan["steps"].([]any)[0].(map[string]any)
	kept := plan["runs"].([]any)[0].(map[string]any)
	record := step["step_records"].([]any)[0].(map[string]any)
	for _, c := range []struct {
		record string
		got    map[string]any
		fields string
	}{
		{"project", project, "uuid name home_page plans"},
		{"plan", plan, "uuid name description enabled runs steps"},
		{"step", step, `uuid name run_delay run_max_time instance_region instance_type instance_count container_name container_url
			environment_data additional_command_args dns_name port_mapping volume_mapping docker_series prune_running node_delay
			_capture_output plan_id step_records`},
		{"run", kept, "uuid state aborted step_records created_at completed_at started_at plan_id plan_name owner environment_data"},
		{"step record", record, "uuid run_id step_id failed created_at completed_at started_at"},
	} {
		for _, field := range strings.Fields(c.fields) {
			if _, ok := c.got[field]; !ok {
				t.Errorf("a %s has no %s: %v", c.record, field, c.got)
			}
		}
	}
	if state, ok := kept["state"].(float64); !ok || state != 3 {
		t.Errorf("got state %v, want the number 3", kept["state"])
	}
	if at, _ := kept["created_at"].(string); !timePattern.MatchString(at) || len(at) != len(timeLayout) {
		t.Errorf("got created_at %q, want ISO 8601 with microseconds and Z", at)
	}
}

// Clients of loads v2 tell a monitor step by whether it has the field.
func TestOnlyMonitorStepsHaveTheField(t *testing.T) {
	b := mustServe(t, nil)
	made := b.do("POST", "/api/project", `{"name": "Shop", "plans": [{"name": "Watched", "steps": [
		{"monitor": true, "instance_type": "m5.large", "dns_name": "metrics.shop.test", "environment_data": ["INFLUXDB_S3_BUCKET=shop"]},
		{"name": "load", "container_name": "shop/load:7"}]}]}`).object(t)
	steps := made["plans"].([]any)[0].(map[string]any)["steps"].([]any)
	for i, want := range []any{true, nil} {
		if got := steps[i].(map[string]any)["monitor"]; got != want {
			t.Errorf("step %d: got monitor %v, want %v", i, got, want)
		}
	}
}

// The environment of a run is an object of anything that can be written as
// text, whatever the content type says of it.
func TestEnvironmentIsReadAsLoadsV2Did(t *testing.T) {
	b := mustServe(t, nil)
	plan := b.mustPlan()
	for _, kind := range []string{"", "application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"} {
		got := b.do("POST", "/api/orchestrate/"+plan+"?owner=bob",
			`{"TEXT": "a b", "WHOLE": 5, "PART": 1.50, "YES": true, "NO": false, "NONE": null, "EMPTY": ""}`, "Content-Type", kind)
		if got.status != 200 {
			t.Fatalf("content type %q: got %d %s", kind, got.status, got.body)
		}
		run, err := b.client().Run(t.Context(), got.object(t)["run_id"].(string))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"TEXT": "a b", "WHOLE": "5", "PART": "1.50", "YES": "True", "NO": "False", "EMPTY": ""}
		if diff := cmp.Diff(want, run.Environment); diff != "" {
			t.Errorf("content type %q: environment, -want +got:\n%s", kind, diff)
		}
		if run.Owner != "bob" {
			t.Errorf("content type %q: got owner %q, want bob", kind, run.Owner)
		}
	}
}
