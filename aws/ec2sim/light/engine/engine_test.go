package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/aws/ec2sim/light/engine"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/metrics"
)

// A caller makes calls of Docker's API.
type caller func(method, path, body string) (status int, answer string)

// light calls the engine without any network.
func light(e *engine.Engine) caller {
	return func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(method, "/v1.41"+path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
}

// realEngine calls the engine that tests use.
func realEngine(t *testing.T) caller {
	socket := strings.TrimPrefix(dockertest.Endpoint().Host, "unix://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://docker/v1.41"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(answer)
	}
}

// image is one that only its labels tell apart; what is in it can't be run.
func image(t *testing.T, name string) string {
	t.Helper()
	a, err := scratch.Image{
		Architecture: "amd64", Tags: []string{name + ":1"}, Entrypoint: []string{"/nothing"},
		Labels: map[string]string{dockertest.LabelTest: name}, Files: []scratch.File{{Path: "etc", Mode: 0o755, Folder: true}},
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	return string(dockertest.Tar(t, a))
}

// TestAnswers_AreThoseOfTheRealEngine compares statuses, and the words of errors.
func TestAnswers_AreThoseOfTheRealEngine(t *testing.T) {
	name := dockertest.Name(t)
	play, docker := light(engine.New(engine.Config{Name: "m"})), realEngine(t)
	filter := url.QueryEscape(fmt.Sprintf(`{"label":{"%s=%s":true}}`, dockertest.LabelTest, name))
	label := fmt.Sprintf(`"Labels":{%q:%q}`, dockertest.LabelTest, name)
	create := fmt.Sprintf(`{"Image":"%s:1",%s,"HostConfig":{"Mounts":[{"Type":"volume","Source":%q,"Target":"/data","VolumeOptions":{%s}}]}}`,
		name, label, name, label)
	for _, call := range [][3]string{
		{"GET", "/_ping", ""},
		{"GET", "/nothing", ""},
		{"GET", "/images/" + name + ":1/json", ""},
		{"POST", "/images/" + name + ":1/tag?repo=a&tag=b", ""},
		{"POST", "/images/load?quiet=1", image(t, name)},
		{"POST", "/containers/create?name=" + name, `{"Image":"` + name + `:2"}`},
		{"POST", "/containers/create?name=-", create},
		{"POST", "/containers/create?name=" + name, create},
		{"POST", "/containers/" + name + "/stop", ""},
		{"POST", "/containers/" + name + "/wait?condition=nonsense", ""},
		{"GET", "/containers/" + name + "/logs", ""},
		{"GET", "/containers/" + name + "/logs?stdout=1", ""},
		{"HEAD", "/containers/" + name + "/archive?path=/etc", ""},
		{"HEAD", "/containers/" + name + "/archive?path=/data", ""},
		{"HEAD", "/containers/" + name + "/archive?path=/none/at/all", ""},
		{"PUT", "/containers/" + name + "/archive?path=/none/at/all", ""},
		{"GET", "/containers/" + name + "-none/json", ""},
		{"POST", "/containers/" + name + "-none/start", ""},
		{"POST", "/containers/" + name + "-none/stop", ""},
		{"POST", "/containers/" + name + "-none/wait", ""},
		{"GET", "/containers/" + name + "-none/logs?stdout=1", ""},
		{"DELETE", "/containers/" + name + "-none", ""},
		{"GET", "/containers/json?filters=nonsense", ""},
		{"GET", "/volumes/" + name + "-none", ""},
		{"DELETE", "/volumes/" + name + "-none", ""},
		{"POST", "/networks/create", `{"Name":"` + name + `","CheckDuplicate":true,` + label + `}`},
		{"POST", "/networks/create", `{"Name":"` + name + `","CheckDuplicate":true,` + label + `}`},
		{"POST", "/networks/create", `{"Name":"host","CheckDuplicate":true}`},
		{"DELETE", "/networks/bridge", ""},
		{"GET", "/networks/" + name, ""},
		{"GET", "/networks?filters=" + filter, ""},
		{"DELETE", "/networks/" + name, ""},
		{"DELETE", "/networks/" + name, ""},
		{"GET", "/networks/" + name, ""},
		{"DELETE", "/containers/" + name + "?force=1&v=1", ""},
		{"DELETE", "/containers/" + name, ""},
		{"DELETE", "/volumes/" + name, ""},
		{"DELETE", "/images/" + name + ":1", ""},
		{"DELETE", "/images/" + name + ":1", ""},
	} {
		gotStatus, got := play(call[0], call[1], call[2])
		wantStatus, want := docker(call[0], call[1], call[2])
		if gotStatus != wantStatus {
			t.Errorf("%s %s: got %d %s, want %d %s", call[0], call[1], gotStatus, got, wantStatus, want)
		}
		if wantStatus >= 400 && call[0] != http.MethodHead && message(got) != message(want) {
			t.Errorf("%s %s: got the words %q, want %q", call[0], call[1], message(got), message(want))
		}
	}
}

func message(answer string) string {
	var m struct{ Message string }
	_ = json.Unmarshal([]byte(answer), &m)
	return m.Message
}

// nodeContainer makes and starts a container of the node program.
func nodeContainer(t *testing.T, call caller, command ...string) {
	t.Helper()
	a, err := scratch.Image{Architecture: "amd64", Tags: []string{"node:1"}, Entrypoint: []string{"/loads-node"}}.Build()
	if err != nil {
		t.Fatal(err)
	}
	args, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{
		{"/images/load", string(dockertest.Tar(t, a))},
		{"/containers/create?name=node", `{"Image":"node:1","Cmd":` + string(args) + `}`},
		{"/containers/node/start", ""},
	} {
		if status, answer := call("POST", step[0], step[1]); status >= 300 {
			t.Fatalf("%s: %d %s", step[0], status, answer)
		}
	}
}

// lines takes a log off its frames.
func lines(t *testing.T, log string) []string {
	t.Helper()
	var out strings.Builder
	for in := []byte(log); len(in) > 0; {
		n := 8 + binary.BigEndian.Uint32(in[4:8])
		out.Write(in[8:n])
		in = in[n:]
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestRelay_OverAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := light(engine.New(engine.Config{Name: "m", Memory: 1 << 30, VCPUs: 2, Metrics: 9}))
		time.Sleep(300 * time.Millisecond) // frames come at full seconds whenever it starts
		nodeContainer(t, call, "relay", "--series=web")
		time.Sleep(time.Hour)
		call("POST", "/containers/node/stop?t=10", "")
		_, log := call("GET", "/containers/node/logs?stdout=1", "")
		all := lines(t, log)
		if want := 1 + 3600 + 1; len(all) != want {
			t.Fatalf("got %d frames, want %d", len(all), want)
		}
		var sum metrics.Received
		for i, line := range all {
			f, err := metrics.Decode([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			if f.Seq != uint64(i+1) || f.Final != (i == len(all)-1) {
				t.Fatalf("line %d is frame %d, final %v", i, f.Seq, f.Final)
			}
			for _, p := range f.Points {
				sum.Values += valuesOf(p)
				if len(p.Tags) != 1 || p.Tags[0] != (metrics.Tag{Name: "type", Value: "web"}) {
					t.Fatalf("got tags %v, want the relay's series", p.Tags)
				}
			}
			if f.Ledger.Values != sum.Values {
				t.Fatalf("frame %d: the ledger has %d values, the frames have %d", f.Seq, f.Ledger.Values, sum.Values)
			}
		}
		_, tail := call("GET", "/containers/node/logs?stdout=1&tail=2", "")
		if got := lines(t, tail); len(got) != 2 || got[1] != all[len(all)-1] {
			t.Errorf("got a tail of %d lines", len(got))
		}
	})
}

// valuesOf is how many statsd values a point is made of, where a counter's were
// ones.
func valuesOf(p metrics.Point) uint64 {
	switch p.Kind {
	case metrics.Timer:
		return uint64(p.Sketch.Count())
	case metrics.Gauge:
		return uint64(p.Count)
	}
	return uint64(p.Value)
}

func TestSleep_EndsWhenNobodyLooks(t *testing.T) {
	for _, row := range []struct {
		name    string
		command []string
		after   time.Duration
		want    string
	}{
		{"before its end it runs", []string{"sleep", "1h", "--exit", "3"}, time.Hour - 1, "running 0"},
		{"at its end it ends", []string{"sleep", "1h", "--exit", "3"}, time.Hour, "exited 3"},
		{"long after it has", []string{"sleep", "--exit=3", "1h"}, 24 * time.Hour, "exited 3"},
		{"without a duration it fails", []string{"sleep"}, 0, "exited 1"},
		{"with one that is none it fails", []string{"sleep", "long"}, 0, "exited 1"},
		{"a generator ends after its duration", []string{"gen", "--url", "http://a", "--duration", "1m"}, time.Minute, "exited 0"},
		{"a service goes on", []string{"serve"}, 24 * time.Hour, "running 0"},
		{"an unknown command fails", []string{"juggle"}, 0, "exited 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call := light(engine.New(engine.Config{Name: "m"}))
				nodeContainer(t, call, row.command...)
				began := time.Now()
				time.Sleep(row.after)
				var c struct {
					State struct {
						Status, FinishedAt string
						ExitCode           int
					}
				}
				_, answer := call("GET", "/containers/node/json", "")
				if err := json.Unmarshal([]byte(answer), &c); err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(c.State.Status, " ", c.State.ExitCode); got != row.want {
					t.Errorf("got %s, want %s", got, row.want)
				}
				if at, err := time.Parse(time.RFC3339Nano, c.State.FinishedAt); err != nil || at.After(began.Add(time.Hour)) {
					t.Errorf("got end %s, %v; want when it was, not when it was seen", c.State.FinishedAt, err)
				}
			})
		})
	}
}

func TestNetworks_UseTheAddressesUp(t *testing.T) {
	call := light(engine.New(engine.Config{Name: "m"}))
	for i := range 31 {
		status, answer := call("POST", "/networks/create", fmt.Sprintf(`{"Name":"net-%d"}`, i))
		if full := i == 30; full != (status == http.StatusNotFound && bytes.Contains([]byte(answer), []byte("address pool"))) {
			t.Errorf("network %d: got %d %s", i, status, answer)
		}
	}
}
