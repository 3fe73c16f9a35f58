package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
)

// operationsOf returns a path's operations by their methods.
func operationsOf(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{
		"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete, "PATCH": item.Patch,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return all
}

// The calls that the document must describe: those of loads v2 and the rest.
func allCalls() []string {
	return []string{
		"DELETE /api/instances",
		"DELETE /api/instances/{id}",
		"DELETE /api/orchestrate/{uuid}",
		"DELETE /api/project/{uuid}",
		"DELETE /api/run/{uuid}",
		"GET /api",
		"GET /api/compare",
		"GET /api/instances",
		"GET /api/instances/{id}",
		"GET /api/openapi.json",
		"GET /api/plan",
		"GET /api/plan/{uuid}",
		"GET /api/plan/{uuid}/cost",
		"GET /api/project",
		"GET /api/project/{uuid}",
		"GET /api/project/{uuid}/budget",
		"GET /api/run",
		"GET /api/run/{uuid}",
		"GET /api/run/{uuid}/events",
		"GET /api/run/{uuid}/hosts",
		"GET /api/run/{uuid}/junit",
		"GET /api/run/{uuid}/links",
		"GET /api/run/{uuid}/logs",
		"GET /api/run/{uuid}/machines",
		"GET /api/run/{uuid}/monitor",
		"GET /api/run/{uuid}/plan",
		"GET /api/run/{uuid}/report",
		"GET /api/run/{uuid}/series",
		"GET /api/run/{uuid}/summary",
		"GET /api/run/{uuid}/wait",
		"GET /api/schema.json",
		"GET /dashboards/run/{uuid}/",
		"POST /api/import",
		"POST /api/orchestrate/{uuid}",
		"POST /api/plan/{uuid}/fork",
		"POST /api/project",
		"POST /api/run/{uuid}/fork",
		"POST /api/validate",
		"PUT /api/plan/{uuid}",
		"PUT /api/project/{uuid}/budget",
	}
}

func TestOpenAPIDescribesEveryCall(t *testing.T) {
	b := mustServe(t, nil)
	answer := b.do("GET", "/api/openapi.json", "")
	if answer.status != 200 || answer.header.Get("Content-Type") != contentJSON {
		t.Fatalf("got %d %s", answer.status, answer.header.Get("Content-Type"))
	}
	var doc struct {
		OpenAPI    string
		Info       struct{ Title, Version string }
		Paths      map[string]map[string]operationDoc
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(answer.body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Title != "Loads" || doc.Info.Version != "1.2.3" {
		t.Errorf("got version %q of %q %q", doc.OpenAPI, doc.Info.Title, doc.Info.Version)
	}
	var got []string
	ids := map[string]bool{}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			call := strings.ToUpper(method) + " " + path
			got = append(got, call)
			if op.Summary == "" || op.OperationID == "" || ids[op.OperationID] || op.Responses["200"] == nil || op.Responses["default"] == nil {
				t.Errorf("%s: want a summary, an id of its own, an answer and a failure", call)
			}
			ids[op.OperationID] = true
			op.checkParameters(t, call)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(allCalls(), got); diff != "" {
		t.Errorf("calls in the document, -want +got:\n%s", diff)
	}
	checkRefs(t, answer.body, doc.Components.Schemas)
	for _, name := range []string{"Failure", "Run", "Plan", "FilePlan", "Event", "LogLine"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("the document has no schema %s", name)
		}
	}
	if doc.Components.Schemas["ErrorModel"] != nil {
		t.Error("the document has the framework's own error")
	}
}

type operationDoc struct {
	OperationID string
	Summary     string
	Parameters  []struct {
		Name, In string
		Required bool
	}
	Responses map[string]any
}

// checkParameters wants each part in braces of a path to be described.
func (op operationDoc) checkParameters(t *testing.T, call string) {
	t.Helper()
	for part := range strings.SplitSeq(call, "/") {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		found := false
		for _, p := range op.Parameters {
			found = found || p.In == "path" && p.Name == name && p.Required
		}
		if !found {
			t.Errorf("%s: the parameter %s is not described", call, name)
		}
	}
}

// checkRefs wants each reference to lead to a schema.
func checkRefs(t *testing.T, doc string, schemas map[string]any) {
	t.Helper()
	const mark = `"$ref": "#/components/schemas/`
	for i := strings.Index(doc, mark); i >= 0; i = strings.Index(doc, mark) {
		doc = doc[i+len(mark):]
		name, _, _ := strings.Cut(doc, `"`)
		if schemas[name] == nil {
			t.Errorf("a reference leads to %s, which is not there", name)
		}
	}
}

// Each call of the document is served: none is unknown to the mux.
func TestEveryDescribedCallIsServed(t *testing.T) {
	b := mustServe(t, nil)
	for _, call := range allCalls() {
		method, path, _ := strings.Cut(call, " ")
		path = strings.NewReplacer("{uuid}", "x", "{id}", "x").Replace(path)
		got := b.do(method, path, "")
		if strings.Contains(got.body, "There is nothing at") || got.status == 405 || got.status >= 500 {
			t.Errorf("%s: got %d %s", call, got.status, got.body)
		}
	}
}

func TestSchemaOfPlanFiles(t *testing.T) {
	b := mustServe(t, nil)
	got := b.do("GET", "/api/schema.json", "")
	if got.status != 200 {
		t.Fatalf("got %d, want 200", got.status)
	}
	got.object(t)
}
