package grafanatest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/loads/loads/grafana/grafanatest"
)

// do makes a call and returns its status.
func do(t *testing.T, s *grafanatest.Server, method, path, token, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestItAnswersAsGrafanaDoes(t *testing.T) {
	s := grafanatest.Start(t)
	// One after the other: each finds what those before have made.
	for _, call := range []struct {
		desc, method, path, body string
		want                     int
	}{
		{"a body that is no JSON", "POST", "/api/folders", "{", 400},
		{"a folder without a title", "POST", "/api/folders", `{"uid":"f"}`, 400},
		{"a folder", "POST", "/api/folders", `{"uid":"f","title":"shop"}`, 200},
		{"a title that is taken", "POST", "/api/folders", `{"uid":"g","title":"shop"}`, 409},
		{"a folder that is there", "GET", "/api/folders/f", "", 200},
		{"a folder that is not there", "GET", "/api/folders/g", "", 404},
		{"a data source without a type", "POST", "/api/datasources", `{"uid":"d","name":"Loads","access":"proxy"}`, 400},
		{"a data source", "POST", "/api/datasources", `{"uid":"d","name":"Loads","type":"influxdb","access":"proxy"}`, 200},
		{"a name that is taken", "POST", "/api/datasources", `{"uid":"e","name":"Loads","type":"influxdb","access":"proxy"}`, 409},
		{"a change to what is not there", "PUT", "/api/datasources/uid/e", `{"name":"x"}`, 404},
		{"a dashboard without a title", "POST", "/api/dashboards/db", `{"dashboard":{"uid":"x"}}`, 400},
		{"a uid over 40 characters", "POST", "/api/dashboards/db", `{"dashboard":{"title":"t","uid":"` + strings.Repeat("x", 41) + `"}}`, 400},
		{"a dashboard in no folder there is", "POST", "/api/dashboards/db", `{"dashboard":{"title":"t","uid":"x"},"folderUid":"g"}`, 400},
		{"a mark on no dashboard there is", "POST", "/api/annotations", `{"dashboardUID":"x","time":1,"timeEnd":2,"text":"t"}`, 404},
		{"a dashboard", "POST", "/api/dashboards/db", `{"dashboard":{"title":"t","uid":"x"},"folderUid":"f"}`, 200},
		{"the same without overwrite", "POST", "/api/dashboards/db", `{"dashboard":{"title":"t","uid":"x"},"folderUid":"f"}`, 412},
		{"the same with overwrite", "POST", "/api/dashboards/db", `{"dashboard":{"title":"t","uid":"x"},"folderUid":"f","overwrite":true}`, 200},
		{"a mark without text", "POST", "/api/annotations", `{"dashboardUID":"x","time":1,"timeEnd":2}`, 400},
		{"a mark that ends before it begins", "POST", "/api/annotations", `{"dashboardUID":"x","time":3,"timeEnd":2,"text":"t"}`, 400},
		{"a mark", "POST", "/api/annotations", `{"dashboardUID":"x","time":1,"timeEnd":2,"text":"t"}`, 200},
		{"a change of a mark", "PUT", "/api/annotations/1", `{"time":1,"timeEnd":5,"text":"t"}`, 200},
		{"a change of no mark there is", "PUT", "/api/annotations/9", `{"time":1,"timeEnd":5,"text":"t"}`, 404},
	} {
		if got := do(t, s, call.method, call.path, grafanatest.Token, call.body); got != call.want {
			t.Errorf("%s: got %d, want %d", call.desc, got, call.want)
		}
	}
	s.Look(func(state grafanatest.State) {
		if d := state.Dashboards["x"]; d.Version != 2 || d.Folder != "f" || len(state.Annotations) != 1 || state.Annotations[0].TimeEnd != 5 || state.Writes != 6 {
			t.Errorf("got dashboard %+v, marks %+v, %d writes", d, state.Annotations, state.Writes)
		}
	})
}

func TestItRefusesStrangersAndCanFail(t *testing.T) {
	s := grafanatest.Start(t)
	if got := do(t, s, "GET", "/api/folders/f", "another", ""); got != http.StatusUnauthorized {
		t.Errorf("with another token: got %d, want 401", got)
	}
	s.Fail(http.StatusBadGateway)
	if got := do(t, s, "GET", "/api/folders/f", grafanatest.Token, ""); got != http.StatusBadGateway {
		t.Errorf("out of order: got %d, want 502", got)
	}
}
