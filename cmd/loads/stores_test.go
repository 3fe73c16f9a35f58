package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

func TestOptionsOfStoresSayWhatIsMissing(t *testing.T) {
	file := writeFile(t, "token", "hidden\n")
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"a token is needed", []string{"--influx-url", "http://h:8086"}, "--influx-url needs a token; give it by --influx-token-file or LOADS_INFLUX_TOKEN."},
		{"one token is enough", []string{"--influx-url", "http://h", "--influx-token", "hidden", "--influx-token-file", file}, "--influx-token and --influx-token-file are both given; give one of them."},
		{"the file must be there", []string{"--influx-url", "http://h", "--influx-token-file", "/nowhere/t"}, "The file of --influx-token-file can't be read: open /nowhere/t: no such file or directory."},
		{"a token of nothing", []string{"--influx-token-file", file}, "--influx-token-file is given, but no --influx-url."},
		{"Grafana needs InfluxDB", []string{"--grafana-url", "http://h", "--grafana-token-file", file}, "--grafana-url needs --influx-url: Grafana reads the metrics from there."},
		{"an address must be one", []string{"--influx-url", "h:8086", "--influx-token-file", file}, `"h:8086" is not the address of an InfluxDB; give one such as http://127.0.0.1:8086.`},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			code, _, stderr := invoke(t, append([]string{"broker", "--listen", "127.0.0.1:0"}, tt.args...)...)
			if code != exitUsage || !strings.HasSuffix(stderr, "loads: "+tt.want+"\n") {
				t.Errorf("exit code %d and\n got %q\nwant %q", code, stderr, tt.want)
			}
			if strings.Contains(stderr, "hidden") {
				t.Error("the token is shown")
			}
		})
	}
}

func TestABrokerWhoseStoresAreAwayServes(t *testing.T) {
	file := writeFile(t, "token", "hidden\n")
	url, i := startBroker(t, "--initial-db", writeFile(t, "p.yaml", goodPlan),
		"--influx-url", "http://127.0.0.1:1", "--influx-token-file", file, "--grafana-url", "http://127.0.0.1:1", "--grafana-token-file", file)
	if out := ask(t, url, "info"); !strings.Contains(out, "There are no runs.") {
		t.Errorf("got %q, want an answer", out)
	}
	if strings.Contains(i.stderr.String()+i.stdout.String(), "hidden") {
		t.Error("the token is shown")
	}
}

func TestTheReportHasTheAccountOfInfluxDB(t *testing.T) {
	var out bytes.Buffer
	r := api.Report{Influx: &api.Exported{Written: 12, Refused: 1, Waiting: 3, Trouble: broker.TroubleUnreachable, Detail: "connection refused"}}
	if err := writeReport(&out, r); err != nil {
		t.Fatal(err)
	}
	if want := "InfluxDB: 12 points written, 1 refused, 3 frames to be written; unreachable: connection refused\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got %q, want the line %q", out.String(), want)
	}
}
