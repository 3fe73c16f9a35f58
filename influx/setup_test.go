package influx_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/influx"
	"github.com/loads/loads/internal/influxtest"
)

func TestAFreshServerIsMadeReady(t *testing.T) {
	server := influxtest.StartFresh(t)
	for _, when := range []string{"at first", "and again"} {
		login, err := influx.SetUp(t.Context(), server.URL, "loads", "a-secret", nil)
		want := influx.Login{Token: "loads:a-secret", Bucket: "loads/autogen"}
		if err != nil || login != want {
			t.Errorf("%s: got %+v, %v; want %+v", when, login, err, want)
		}
	}
	if _, err := influx.SetUp(t.Context(), server.URL, "loads", "another-secret", nil); broker.CodeOf(err) != broker.EUnavailable {
		t.Errorf("with another password: %v; want that it is not ready", err)
	} else if strings.Contains(err.Error(), "another-secret") {
		t.Errorf("the error tells the secret: %v", err)
	}
}

// What is asked of a server of version 2 is held against its documents; no such
// server can be had here.
func TestAServerOfVersion2IsAskedForWhatItsDocumentsSay(t *testing.T) {
	var asked []string
	done := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch {
		case r.URL.Path == "/api/v2/setup" && r.Method == http.MethodGet:
			_ = json.NewEncoder(w).Encode(map[string]bool{"allowed": !done})
		case r.URL.Path == "/api/v2/setup" && done:
			w.WriteHeader(http.StatusUnprocessableEntity)
		case r.URL.Path == "/api/v2/setup":
			var in struct{ Username, Password, Token, Org, Bucket string }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Token != "a-secret" || in.Org == "" || in.Bucket == "" {
				t.Errorf("asked with %+v, %v", in, err)
			}
			done = true
			w.WriteHeader(http.StatusCreated)
		case r.Header.Get("Authorization") != "Token a-secret":
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	for range 2 {
		login, err := influx.SetUp(t.Context(), server.URL, "loads", "a-secret", nil)
		if want := (influx.Login{Token: "a-secret", Org: "loads", Bucket: "loads"}); err != nil || login != want {
			t.Errorf("got %+v, %v; want %+v", login, err, want)
		}
	}
	if _, err := influx.SetUp(t.Context(), server.URL, "loads", "another", nil); broker.CodeOf(err) != broker.EUnavailable {
		t.Errorf("with another password: %v", err)
	}
	if len(asked) != 2+3+3 {
		t.Errorf("asked %v", asked)
	}
}

func TestLinesThatWereHalfWrittenAreCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "points.gz")
	add := func(name string) {
		t.Helper()
		lines, err := influx.OpenLines(path)
		ok(t, err)
		p := influxdb2.NewPointWithMeasurement(name).AddTag("run", "7").AddField("value", 1.5).SetTime(time.UnixMilli(t0))
		ok(t, lines.Add([]*write.Point{p}))
		ok(t, lines.Close())
	}
	add("a")
	add("b")
	data, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.WriteFile(path, data[:len(data)-3], 0o600))
	add("c")
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	text, err := io.ReadAll(z)
	ok(t, err)
	if got, want := string(text), "a,run=7 value=1.5 1790000000000\nc,run=7 value=1.5 1790000000000\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
