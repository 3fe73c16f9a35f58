package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/loads/loads/api"
)

func TestRunsAreFoundByWhatIsTyped(t *testing.T) {
	const id = "1f0c22d0-4f2a-4a8d-8f1e-9a432f6f0a1f"
	ids := []string{"Nightly-2", "Nightly", id}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := len(ids)
		if r.URL.Query().Get("limit") == "1" {
			n = 1
		}
		fmt.Fprintf(w, `{"success": true, "status": 200, "runs": [{"uuid": "%s"}]}`, strings.Join(ids[:n], `"}, {"uuid": "`))
	}))
	defer server.Close()
	client := &api.Client{BaseURL: server.URL}
	for _, row := range []struct{ typed, want, fault string }{
		{id, id, ""},
		{strings.ToUpper(id), id, ""},
		{"1F0c", id, ""},
		{"last", "Nightly-2", ""},
		{"Nightly", "Nightly", ""},
		{"nightly-", "Nightly-2", ""},
		{"night", "", `"night" means 2 runs; give more of the uuid of the one you want, which loads runs shows.`},
		{"other", "", `There is no run "other"; loads runs shows what there is.`},
	} {
		t.Run(row.typed, func(t *testing.T) {
			got, err := findRun(t.Context(), client, row.typed)
			if got != row.want || (err == nil) != (row.fault == "") || err != nil && err.Error() != row.fault {
				t.Errorf("got %q, %v; want %q, %s", got, err, row.want, row.fault)
			}
		})
	}
}
