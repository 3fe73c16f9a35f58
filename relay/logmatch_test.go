package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// given writes values as statsd would, and faults as they are.
func given(m *matcher, text string, stderr bool) (got []string) {
	m.match([]byte(text), stderr, func(v logValue) {
		if v.err != nil {
			got = append(got, v.err.Error())
			return
		}
		got = append(got, fmt.Sprintf("%s:%g%s", v.line.name, v.value, v.line.suffix))
	})
	return got
}

func TestMatcher(t *testing.T) {
	const k6 = `{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-21T05:00:00Z","value":12.5,"tags":{"status":"200","method":"GET"}}}`
	latency := LogMetric{
		Name: "latency", Type: "timer", JSON: "data.value", Where: map[string]string{"metric": "http_req_duration", "type": "Point"},
		Tags: map[string]string{"status": "data.tags.status", "a": "data.none"},
	}
	percentile := LogMetric{Name: "p99", Type: "gauge", Match: `^\s*99\.000%\s+([0-9.]+\w+)`}
	csv := LogMetric{Name: "csv", Type: "timer", Match: `^\d+,(?P<ms>\d*),([^,]*),(\d+)`, Value: "ms", Tags: map[string]string{"label": "2", "code": "3"}}
	field := LogMetric{Name: "f", Type: "gauge", JSON: "v"}
	for _, row := range []struct {
		name   string
		metric LogMetric
		text   string
		want   string // joined by spaces; empty for no value
	}{
		{"k6: a point of the metric", latency, k6, "latency:12.5|ms|#status:200"},
		{"k6: of another metric", latency, strings.Replace(k6, "http_req_duration", "iterations", 1), ""},
		{"k6: no JSON", latency, "running (10s), 1/1 VUs", ""},
		{"k6: JSON cut off", latency, k6[:len(k6)-2], ""},
		{"k6: something after the JSON", latency, k6 + "}", ""},
		{"k6: with spaces around", latency, "  " + k6 + "\t", "latency:12.5|ms|#status:200"},
		{"wrk: a time in ms", percentile, "   99.000%    3.21ms", "p99:3.21|g"},
		{"wrk: a time in s", percentile, "   99.000%    1.25s", "p99:1250|g"},
		{"wrk: a time in us", percentile, "   99.000%    250us", "p99:0.25|g"},
		{"wrk: a time in minutes", percentile, "   99.000%    2m", "p99:120000|g"},
		{"wrk: no time", percentile, "   99.000%    3.21x", "value is no finite number"},
		{"wrk: requests", LogMetric{Name: "r", Type: "gauge", Match: `Requests/sec:\s+([0-9.]+)$`}, "Requests/sec:   1999.83", "r:1999.83|g"},
		{"vegeta: nanoseconds to milliseconds", LogMetric{Name: "v", Type: "timer", JSON: "latency", Scale: 1e-6, Tags: map[string]string{"code": "code"}}, `{"code":200,"latency":2500000}`, "v:2.5|ms|#code:200"},
		{"csv: groups by name and number", csv, "1700,123,check out,200,OK", "csv:123|ms|#code:200,label:check out"},
		{"csv: an empty value", csv, "1700,,x,200,OK", "value is no finite number"},
		{"a tag that statsd can't have", csv, "1700,1,a:b|c\x01\xff,200", "csv:1|ms|#code:200,label:a_b_c__"},
		{"a group that took no part", LogMetric{Name: "o", Type: "gauge", Match: `a(\d+)?b`}, "ab", "the value's group or field is not there"},
		{"a tag that took no part", LogMetric{Name: "o", Type: "counter", Match: `a(\d+)?b`, Tags: map[string]string{"t": "1"}}, "ab", "o:1|c"},
		{"a counter counts lines", LogMetric{Name: "e", Type: "counter", Match: `(\d+) ERROR`}, "17 ERROR", "e:1|c"},
		{"a counter takes the value named", LogMetric{Name: "e", Type: "counter", Match: `(\d+) ERROR`, Value: "1"}, "17 ERROR", "e:17|c"},
		{"a counter takes the group value", LogMetric{Name: "e", Type: "counter", Match: `(?P<value>\d+) ERROR`}, "17 ERROR", "e:17|c"},
		{"the group value before the first", LogMetric{Name: "e", Type: "gauge", Match: `(\w+)=(?P<value>\d+)`}, "x=7", "e:7|g"},
		{"JSON: a field that is null", field, `{"v":null}`, ""},
		{"JSON: a number as text", field, `{"v":"-1.5e3"}`, "f:-1500|g"},
		{"JSON: text", field, `{"v":"much"}`, "value is no finite number"},
		{"JSON: a boolean", field, `{"v":true}`, "value is no finite number"},
		{"JSON: an object", field, `{"v":{}}`, "value is no finite number"},
		{"JSON: not finite", LogMetric{Name: "f", Type: "gauge", JSON: "v", Scale: 1e300}, `{"v":1e300}`, "value is no finite number"},
		{"JSON: another field has the value", LogMetric{Name: "f", Type: "gauge", JSON: "v", Value: "w"}, `{"v":"x","w":2}`, "f:2|g"},
		{"JSON: which is missing", LogMetric{Name: "f", Type: "gauge", JSON: "v", Value: "w"}, `{"v":1}`, "the value's group or field is not there"},
		{"JSON: a counter of lines with a field", LogMetric{Name: "f", Type: "counter", JSON: "err", Tags: map[string]string{"b": "b"}}, `{"err":"x","b":false}`, "f:1|c|#b:false"},
		{"JSON: names with dots", LogMetric{Name: "f", Type: "gauge", JSON: "a.b.c"}, `{"a.b":{"c":3},"a":{"b":1}}`, "f:3|g"},
		{"JSON: an item of a list", LogMetric{Name: "f", Type: "gauge", JSON: "a.1.ms"}, `{"a":[{"ms":1},{"ms":2}]}`, "f:2|g"},
		{"JSON: beyond a list", LogMetric{Name: "f", Type: "gauge", JSON: "a.2"}, `{"a":[1,2]}`, ""},
		{"JSON: a large number as a tag", LogMetric{Name: "f", Type: "counter", JSON: "v", Tags: map[string]string{"id": "v"}}, `{"v":12345678901234567890}`, "f:1|c|#id:12345678901234567890"},
		{"tags that are too long", LogMetric{Name: "f", Type: "counter", Match: `(.*)`, Tags: map[string]string{"t": "1"}}, strings.Repeat("x", 5000), "tags are too long"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, err := newMatcher([]LogMetric{row.metric})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // scratch of the first line must not show in the second
				if got := strings.Join(given(m, row.text, false), " "); got != row.want {
					t.Errorf("got %q, want %q", got, row.want)
				}
			}
		})
	}
}

func TestMatcherReadsTheStreamsItIsTold(t *testing.T) {
	var list []LogMetric
	for _, stream := range []string{"", "both", "stdout", "stderr"} {
		list = append(list, LogMetric{Name: "of" + stream, Type: "counter", Match: "x", Stream: stream})
	}
	m, err := newMatcher(list)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := given(m, "x", false), []string{"of:1|c", "ofboth:1|c", "ofstdout:1|c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("of standard output: got %q, want %q", got, want)
	}
	if got, want := given(m, "x", true), []string{"of:1|c", "ofboth:1|c", "ofstderr:1|c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("of standard error: got %q, want %q", got, want)
	}
}

func TestMatcherDeclinesWhatNoPlanHas(t *testing.T) {
	_, err := newMatcher([]LogMetric{
		{Name: "a", Type: "set", Match: "x"},
		{Name: "b", Type: "gauge", Match: "("},
		{Name: "c", Type: "gauge", Match: "x"},
		{Name: "d", Type: "gauge", Match: "(x)", Value: "2", Tags: map[string]string{"t": "no"}},
		{Name: "e", Type: "gauge"},
	})
	for _, want := range []string{"metric a", "metric b", "metric c", "no group 2", "no group no", "metric e"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestReadLogMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logmetrics.json")
	if _, err := ReadLogMetrics(path); err == nil {
		t.Error("got no error of a file that is not there")
	}
	if err := os.WriteFile(path, []byte(`[{"name":"a","type":"timer","json":"b","tags":{"t":"c"}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLogMetrics(path)
	want := []LogMetric{{Name: "a", Type: "timer", JSON: "b", Tags: map[string]string{"t": "c"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}
