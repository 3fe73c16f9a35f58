package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

func TestRefusals(t *testing.T) {
	b := mustServe(t, nil)
	frozen := b.mustPlan()
	run := b.mustStore(frozen)
	big := strings.Repeat(" ", maxBody+1)
	for _, c := range []struct {
		what    string // one sentence on the call
		method  string
		path    string
		body    string
		status  int
		message string // part of it
	}{
		{"An unknown path is not there.", "GET", "/api/nothing", "", 404, "There is nothing at /api/nothing"},
		{"The root is not there.", "GET", "/", "", 404, "There is nothing at /"},
		{"What lies under a dashboard is not there.", "GET", "/dashboards/run/x/y", "", 404, "There is nothing at"},
		{"A method that a path does not know is refused.", "PATCH", "/api/project", "", 405, "Invalid HTTP method."},
		{"A dashboard can't be deleted.", "DELETE", "/dashboards/run/x/", "", 405, "Invalid HTTP method."},
		{"A limit that is no number is refused.", "GET", "/api?limit=ten", "", 400, "limit is wrong: ten: invalid integer"},
		{"A limit of nothing is refused.", "GET", "/api/run?limit=0", "", 400, "limit is wrong: 0: expected number >= 1"},
		{"A limit over a thousand is refused.", "GET", "/api/run?limit=1001", "", 400, "expected number <= 1000"},
		{"A negative offset is refused.", "GET", "/api?offset=-1", "", 400, "offset is wrong: -1: expected number >= 0"},
		{"An unknown state is refused.", "GET", "/api/run?state=running,asleep", "", 400, `state is wrong: "asleep"; give initializing`},
		{"A parameter that is not known is refused where no old client calls.", "GET", "/api/run?sate=running", "", 400, "The query parameter sate is not known here."},
		{"A flag that is neither yes nor no is refused.", "DELETE", "/api/run/x?purge=maybe", "", 400, "purge is wrong: maybe: invalid boolean"},
		{"A body of over 4 MiB is refused.", "POST", "/api/project", big, 413, "larger than 4 MiB"},
		{"An empty project file is refused.", "POST", "/api/project", "", 400, "request body is required"},
		{"A project file that is no project is refused.", "POST", "/api/project", "hello", 400, "The plan has a mistake: 1:1:"},
		{"An import that is no project is refused.", "POST", "/api/import?name=x.yaml", "- a", 400, "x.yaml:1:1"},
		{"An environment that is not JSON is refused.", "POST", "/api/orchestrate/x", "{,}", 400, "not JSON"},
		{"An environment that breaks off is refused.", "POST", "/api/orchestrate/x", `{"a": `, 400, "The body can't be read: unexpected EOF."},
		{"An environment that is a list is refused.", "POST", "/api/orchestrate/x", "[]", 400, "The body is a JSON array; give an object."},
		{"An environment that is null is refused.", "POST", "/api/orchestrate/x", "null", 400, "not one JSON object"},
		{"Two environments are refused.", "POST", "/api/orchestrate/x", "{} {}", 400, "not one JSON object"},
		{"A value of the environment that is a list is refused.", "POST", "/api/orchestrate/x", `{"A": [1]}`, 400, "The value of A is a list"},
		{"A value of the environment that is an object is refused.", "POST", "/api/orchestrate/x", `{"A": {}}`, 400, "The value of A is an object"},
		{"A run id that could be a path is refused.", "POST", "/api/orchestrate/x", `{"run_uuid": "../x"}`, 400, `The run_uuid "../x" can't name a run`},
		{"An unknown plan can't be run.", "POST", "/api/orchestrate/x", "", 404, "No such strategy."},
		{"A run id that is taken is refused.", "POST", "/api/orchestrate/" + frozen, `{"run_uuid": "` + run.UUID + `"}`, 409, run.UUID},
		{"An unknown plan is not there.", "GET", "/api/plan/x", "", 404, "x"},
		{"An unknown plan can't be replaced.", "PUT", "/api/plan/x", planFile, 404, "x"},
		{"A plan that has been run can't be replaced.", "PUT", "/api/plan/" + frozen, planFile, 409, ""},
		{"An unknown project has no budget.", "GET", "/api/project/x/budget", "", 404, "x"},
		{"A budget can't be set without a sum.", "PUT", "/api/project/x/budget", "{}", 400, "max_usd"},
		{"A budget can't be less than nothing.", "PUT", "/api/project/" + run.ProjectUUID + "/budget", `{"max_usd": -1}`, 400, "max_cost"},
		{"A plan can't be replaced by nonsense.", "PUT", "/api/plan/" + frozen, "steps: 1", 400, "mistake"},
		{"An unknown plan can't be forked.", "POST", "/api/plan/x/fork", "", 404, "x"},
		{"An unknown run can't be forked.", "POST", "/api/run/x/fork", "", 404, "x"},
		{"A fork with an unknown key is refused.", "POST", "/api/plan/x/fork", `{"nam": "y"}`, 400, `unknown field "nam"`},
		{"A fork with a key of a wrong type is refused.", "POST", "/api/plan/x/fork", `{"name": 5}`, 400, "The body's name is a number; give a string."},
		{"A fork with a broken plan is refused.", "POST", "/api/plan/x/fork", `{"plan": {"name": "p"}}`, 400, "mistake"},
		{"A fork with a path that leads nowhere is refused.", "POST", "/api/plan/" + frozen + "/fork", `{"set": {"steps.two.run_delay": 1}}`, 400, "two"},
		{"Two bodies in one are refused.", "POST", "/api/plan/x/fork", "{} {}", 400, "more after its JSON object"},
		{"Validation with a variable that is none is refused.", "POST", "/api/validate?env=RATE", planFile, 400, `"RATE" is not NAME=VALUE`},
		{"Validation with a variable twice is refused.", "POST", "/api/validate?env=A=1&env=A=2", planFile, 400, "gives A twice"},
		{"An unknown run is not there.", "GET", "/api/run/x", "", 404, "x"},
		{"An unknown run can't be deleted.", "DELETE", "/api/run/x", "", 404, "No such run"},
		{"An unknown run can't be aborted.", "DELETE", "/api/orchestrate/x", "", 404, "No such run"},
		{"An unknown run has no plan.", "GET", "/api/run/x/plan", "", 404, "x"},
		{"An unknown run can't be waited for.", "GET", "/api/run/x/wait", "", 404, "x"},
		{"A wait of over ten minutes is refused.", "GET", "/api/run/x/wait?timeout=601", "", 400, "expected number <= 600"},
		{"An unknown run has no events.", "GET", "/api/run/x/events", "", 404, "x"},
		{"An event number that is none is refused.", "GET", "/api/run/x/events?after=b", "", 400, "after is wrong: b: invalid integer"},
		{"An unknown run has no logs.", "GET", "/api/run/x/logs", "", 404, "x"},
		{"An unknown step has no logs.", "GET", "/api/run/" + run.UUID + "/logs?step=two", "", 404, "The run has no step two; it has one."},
		{"A machine too many has no logs.", "GET", "/api/run/" + run.UUID + "/logs?machine=1", "", 404, "There is no machine 1"},
		{"An unknown run has no machines.", "GET", "/api/run/x/machines", "", 404, "x"},
		{"An unknown run has no summary.", "GET", "/api/run/x/summary", "", 404, "x"},
		{"An unknown run has no series.", "GET", "/api/run/x/series", "", 404, "x"},
		{"An unknown run has no hosts.", "GET", "/api/run/x/hosts", "", 404, "x"},
		{"Hosts at a time that ends before it begins are refused.", "GET", "/api/run/x/hosts?from=2&to=1", "", 400, "from is later than to"},
		{"Series by something unknown are refused.", "GET", "/api/run/x/series?by=day", "", 400, "by is wrong: day"},
		{"A tag without a value is refused.", "GET", "/api/run/x/series?tag=a", "", 400, `"a" is not name:value`},
		{"A time that ends before it begins is refused.", "GET", "/api/run/x/series?from=2&to=1", "", 400, "from is later than to"},
		{"An unknown project is not there.", "GET", "/api/project/x", "", 404, "There is no project x."},
		{"An unknown machine is not there.", "GET", "/api/instances/x", "", 404, "There is no machine x"},
		{"An unknown machine can't be ended.", "DELETE", "/api/instances/x", "", 404, "There is no machine x"},
		{"A project under way can't be deleted.", "DELETE", "/api/project/" + run.ProjectUUID, "", 409, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := b.do(c.method, c.path, c.body)
			if got.status != c.status {
				t.Fatalf("got status %d, want %d\n%s", got.status, c.status, got.body)
			}
			answer := got.object(t)
			if answer["success"] != false || answer["status"] != float64(c.status) {
				t.Errorf("got success %v, status %v, want false, %d", answer["success"], answer["status"], c.status)
			}
			if message, _ := answer["message"].(string); message == "" || !strings.Contains(message, c.message) {
				t.Errorf("got message %q, want one with %q", message, c.message)
			}
			if kind := got.header.Get("Content-Type"); kind != contentJSON {
				t.Errorf("got content type %q, want %q", kind, contentJSON)
			}
			if c.status == 405 && got.header.Get("Allow") == "" {
				t.Error("got no Allow")
			}
		})
	}
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("calls that were refused are in the log as errors:\n%s", log)
	}
}

func TestRefusedPlanHasAllFaults(t *testing.T) {
	b := mustServe(t, nil)
	got := b.do("POST", "/api/project", `{"name": "Shop", "plans": [{"name": "x", "steps": [{"name": "s", "run_delay": -1}]}], "colour": 1}`)
	if got.status != http.StatusBadRequest {
		t.Fatalf("got status %d, want 400\n%s", got.status, got.body)
	}
	var fields []string
	for _, fault := range got.object(t)["faults"].([]any) {
		fields = append(fields, fault.(map[string]any)["field"].(string))
	}
	for _, want := range []string{"plans[0].steps[0].run_delay", "plans[0].steps[0].container_name", "colour"} {
		if !slices.Contains(fields, want) {
			t.Errorf("got faults in %q, want one in %s", fields, want)
		}
	}
}

// A brokenStore fails where it is told to.
type brokenStore struct {
	broker.Store
	projects func() ([]broker.ProjectRecord, error)
}

func (s *brokenStore) Projects(context.Context) ([]broker.ProjectRecord, error) {
	return s.projects()
}

func TestInternalErrorIsLoggedOnceAndNotShown(t *testing.T) {
	for name, projects := range map[string]func() ([]broker.ProjectRecord, error){
		"error": func() ([]broker.ProjectRecord, error) { return nil, errors.New("the disk is on fire") },
		"internal": func() ([]broker.ProjectRecord, error) {
			return nil, &broker.Error{Code: broker.EInternal, Message: "Oh.", Err: errors.New("the disk is on fire")}
		},
		"panic": func() ([]broker.ProjectRecord, error) { panic("the disk is on fire") },
	} {
		t.Run(name, func(t *testing.T) {
			b := mustServeStore(t, nil, func(s broker.Store) broker.Store { return &brokenStore{Store: s, projects: projects} })
			got := b.do("GET", "/api/project", "")
			if got.status != 500 || got.object(t)["message"] != messageInternal {
				t.Errorf("got %d %s, want 500 with %q", got.status, got.body, messageInternal)
			}
			if n := strings.Count(b.log.String(), "the disk is on fire"); n != 1 {
				t.Errorf("got the cause %d times in the log, want once:\n%s", n, b.log)
			}
			if next := b.do("GET", "/api", ""); next.status != 200 {
				t.Errorf("got %d after it, want 200", next.status)
			}
		})
	}
}

func TestCodesAndStatusesMatch(t *testing.T) {
	for code, status := range codeStatus() {
		if got := codeOf(status); got != code {
			t.Errorf("codeOf(%d): got %s, want %s", status, got, code)
		}
		if got := statusOf(code); got != status {
			t.Errorf("statusOf(%s): got %d, want %d", code, got, status)
		}
	}
	for status, want := range map[int]broker.Code{
		403: broker.EUnauthorized, 405: broker.EInvalid, 413: broker.EInvalid, 418: broker.EInvalid,
		502: broker.EUnavailable, 504: broker.EUnavailable, 501: broker.EInternal, 302: broker.EInternal,
	} {
		if got := codeOf(status); got != want {
			t.Errorf("codeOf(%d): got %s, want %s", status, got, want)
		}
	}
	if got := statusOf("unheard of"); got != 500 {
		t.Errorf("statusOf of an unknown code: got %d, want 500", got)
	}
}
