package influxtest

import (
	"net/http"
	"strings"
	"testing"
)

func TestStartGivesAServer(t *testing.T) {
	s := Start(t)

	t.Run("that answers", func(t *testing.T) {
		res, err := http.Get(s.URL + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got, want := res.Header.Get("X-Influxdb-Version"), "1.8"; res.StatusCode != http.StatusNoContent || !strings.HasPrefix(got, want) && got != "unknown" {
			t.Errorf("ping: got status %d, version %q; want 204, %s", res.StatusCode, got, want)
		}
	})

	t.Run("that keeps what version 2's clients write", func(t *testing.T) {
		bucket := s.CreateDatabase(t, "runs")
		if got := write(t, s.URL, bucket, s.Token, "latency,step=web p99=12.5 1000000000"); got != http.StatusNoContent {
			t.Fatalf("write: got status %d, want 204", got)
		}
		rows := s.Query(t, "runs", "SELECT p99 FROM latency")
		if len(rows) != 1 || len(rows[0].Values) != 1 {
			t.Fatalf("got %v, want one point", rows)
		}
	})

	t.Run("that asks for a token", func(t *testing.T) {
		if got := write(t, s.URL, "runs/autogen", "somebody:else", "m v=1"); got != http.StatusUnauthorized {
			t.Errorf("write with a wrong token: got status %d, want 401", got)
		}
	})
}

// write sends a line by the API of InfluxDB 2 and returns the status.
func write(t *testing.T, server, bucket, token, line string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server+"/api/v2/write?bucket="+bucket, strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestStoppedServersKeepTheirDataAndAddress(t *testing.T) {
	s := Start(t)
	bucket := s.CreateDatabase(t, "runs")
	if got := write(t, s.URL, bucket, s.Token, "m v=1 1"); got != http.StatusNoContent {
		t.Fatalf("write: got status %d, want 204", got)
	}
	at := s.URL
	s.Stop(t)
	if res, err := http.Get(at + "/ping"); err == nil {
		res.Body.Close()
		t.Error("a stopped server answers")
	}
	s.Restart(t)
	if rows := s.Query(t, "runs", "SELECT v FROM m"); s.URL != at || len(rows) != 1 {
		t.Errorf("got %v at %s, want the point at %s", rows, s.URL, at)
	}
}
