// Package grafana shows runs in Grafana: Dashboard and Annotations make what
// is to be shown, without input or output; Client and Publisher bring it to a
// Grafana by its HTTP API.
//
// The queries are InfluxQL, which InfluxDB 1.8 has of its own and InfluxDB 2
// by its API for version 1.
package grafana

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// maxMetrics bounds the metrics that have panels of their own.
const maxMetrics = 100

// Input is what a dashboard is made of.
type Input struct {
	Report broker.Report
	// Export is how far the metrics have come in InfluxDB; nil when unknown.
	Export *broker.Export
	// DataSource is the uid of the data source in Grafana; when it is empty,
	// Grafana asks for one on import.
	DataSource string
}

// importVariable stands for the data source until Grafana has asked for it.
const importVariable = "${DS_LOADS}"

type object = map[string]any

// Dashboard returns a run's dashboard as Grafana's JSON. Its uid is the run's
// uuid. It covers the run's time exactly, and goes to now while the run is
// under way.
func Dashboard(in Input) ([]byte, error) {
	run := in.Report.Run
	source := in.DataSource
	if source == "" {
		source = importVariable
	}
	b := builder{run: run.UUID, source: object{"type": "influxdb", "uid": source}}
	b.all(in)
	from, to := timeRange(run)
	refresh := "5s"
	if run.State == broker.Completed {
		refresh = ""
	}
	d := object{
		"uid": run.UUID, "title": title(run), "tags": []string{"loads", run.ProjectName, run.PlanName},
		"schemaVersion": 39, "editable": true, "timezone": "utc", "refresh": refresh, "graphTooltip": 1,
		"time":       object{"from": from, "to": to},
		"timepicker": object{"refresh_intervals": []string{"1s", "5s", "10s", "1m"}},
		"annotations": object{"list": []any{object{
			"builtIn": 1, "type": "dashboard", "name": "Steps", "enable": true, "hide": false,
			"iconColor": "rgba(0, 211, 255, 1)", "datasource": object{"type": "grafana", "uid": "-- Grafana --"},
		}}},
		"templating": object{"list": []any{b.variable("step"), b.variable("host")}},
		"panels":     b.panels,
	}
	if in.DataSource == "" {
		d["__inputs"] = []any{object{
			"name": "DS_LOADS", "label": "InfluxDB with the runs", "type": "datasource",
			"pluginId": "influxdb", "pluginName": "InfluxDB",
		}}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write dashboard: %w", err)
	}
	return append(text, '\n'), nil
}

// title is unique in its folder, as Grafana demands of older versions.
func title(run broker.Run) string {
	return fmt.Sprintf("%s, %s (%.8s)", run.PlanName, run.CreatedAt.UTC().Format("2006-01-02 15:04:05"), run.UUID)
}

func timeRange(run broker.Run) (from, to string) {
	begin := run.CreatedAt
	if run.StartedAt != nil {
		begin = *run.StartedAt
	}
	from, to = isoTime(begin), "now"
	if run.CompletedAt != nil {
		to = isoTime(*run.CompletedAt)
	}
	return from, to
}

func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// all adds the panels, from what matters most to what explains it.
func (b *builder) all(in Input) {
	b.text("Run", 24, 9, runText(in))
	b.row("Overview")
	b.chart(panel{title: "All counters", unit: "cps", width: 12, queries: []query{{
		sql: rateOf("value", `/_merged$/`, `"metric_type" = 'counter'`, ""), alias: "$m",
	}}})
	b.chart(panel{title: "Errors", unit: "cps", width: 12, queries: []query{{
		sql: rateOf("value", `/(?i)(error|fail|timeout|exception|refused).*_merged$/`, `"metric_type" = 'counter'`, ""), alias: "$m",
	}}})
	b.metrics(in.Report.Summary.Metrics)
	b.row("Hosts")
	b.hosts()
	b.row("Instrument")
	b.ledger()
}

// metrics adds a row for each metric of the plan.
func (b *builder) metrics(all []metrics.MetricSummary) {
	for i, m := range all {
		if i == maxMetrics {
			b.text("More metrics", 24, 3, fmt.Sprintf("%d more metrics have no panels of their own.", len(all)-maxMetrics))
			return
		}
		from := identifier(metrics.Measurement(m.Name) + metrics.MergedSuffix)
		b.row(m.Name)
		switch m.Kind {
		case metrics.Counter:
			b.chart(panel{title: m.Name + ", rate", unit: "cps", width: 24, queries: []query{{
				sql: rateOf("value", from, `"metric_type" = 'counter'`, ""), alias: "rate",
			}}})
		case metrics.Timer:
			b.chart(panel{title: m.Name + ", rate", unit: "cps", width: 12, queries: []query{{
				sql: rateOf("count", from, `"metric_type" = 'timing'`, ""), alias: "rate",
			}}})
			b.chart(panel{
				title: m.Name + ", percentiles over all machines", unit: "ms", width: 12,
				note:    "Each second's percentile is that of all values of all machines. A point that stands for several seconds shows the highest of them.",
				queries: percentiles(from),
			})
		case metrics.Set:
			b.chart(panel{
				title: m.Name + ", different values over all machines", unit: "short", width: 24,
				note:    "Each second's figure is that of all values of all machines. A point that stands for several seconds shows the highest of them.",
				queries: []query{{sql: selectFrom(`max("value")`, from, `"metric_type" = 'set'`, ""), alias: "different"}},
			})
		default:
			b.chart(panel{title: m.Name + ", sum over machines", unit: "short", width: 24, queries: []query{{
				sql: selectFrom(`last("value")`, from, `"metric_type" = 'gauge'`, ""), alias: "value",
			}}})
		}
	}
}

func percentiles(from string) (queries []query) {
	for _, p := range []struct{ field, alias string }{
		{"50_percentile", "p50"}, {"90_percentile", "p90"}, {"95_percentile", "p95"}, {"99_percentile", "p99"}, {"upper", "max"},
	} {
		queries = append(queries, query{
			sql: selectFrom("max("+identifier(p.field)+")", from, `"metric_type" = 'timing'`, ""), alias: p.alias,
		})
	}
	return queries
}

// hosts adds what relays tell of the machines and of the plan's containers,
// with the names of Telegraf's inputs, by step and host.
func (b *builder) hosts() {
	const where = `"step" =~ /^$step$/ AND "host" =~ /^$host$/`
	by, alias := `, "step", "host"`, "$tag_step $tag_host"
	rate := func(field, factor, from string) string {
		return selectFrom(`non_negative_derivative(max("`+field+`"), 1s)`+factor, `"`+from+`"`, where, by)
	}
	level := func(what, from string) []query {
		return []query{{sql: selectFrom(what, `"`+from+`"`, where, by), alias: alias}}
	}
	b.chart(panel{title: "CPU", unit: "percent", width: 8, queries: level(`mean("usage_active")`, "cpu")})
	b.chart(panel{title: "Memory", unit: "percent", width: 8, queries: level(`mean("used_percent")`, "mem")})
	b.chart(panel{title: "Network", unit: "bps", width: 8, queries: []query{
		{sql: rate("bytes_recv", " * 8", "net"), alias: "in " + alias},
		{sql: rate("bytes_sent", " * 8", "net"), alias: "out " + alias},
	}})
	b.chart(panel{
		title: "CPU taken by other virtual machines (steal)", unit: "percent", width: 12,
		queries: level(`mean("usage_steal")`, "cpu"),
	})
	b.chart(panel{title: "Load", unit: "short", width: 12, queries: level(`mean("load1")`, "system")})
	b.chart(panel{title: "Disk", unit: "Bps", width: 12, queries: []query{
		{sql: rate("read_bytes", "", "diskio"), alias: "read " + alias},
		{sql: rate("write_bytes", "", "diskio"), alias: "written " + alias},
	}})
	b.chart(panel{title: "TCP connections", unit: "short", width: 12, queries: []query{
		{sql: selectFrom(`max("tcp_established")`, `"netstat"`, where, by), alias: "established " + alias},
		{sql: selectFrom(`max("tcp_time_wait")`, `"netstat"`, where, by), alias: "time wait " + alias},
	}})
	b.row("Containers")
	b.chart(panel{
		title: "Container CPU", unit: "percent", width: 8, note: "In percent of one processor.",
		queries: level(`mean("usage_percent")`, metrics.ContainerCPU),
	})
	b.chart(panel{title: "Container memory", unit: "bytes", width: 8, queries: level(`max("usage")`, metrics.ContainerMemory)})
	b.chart(panel{
		title: "Container network", unit: "bps", width: 8, note: "Of containers that have a network of their own.",
		queries: []query{
			{sql: rate("rx_bytes", " * 8", metrics.ContainerNetwork), alias: "in " + alias},
			{sql: rate("tx_bytes", " * 8", metrics.ContainerNetwork), alias: "out " + alias},
		},
	})
}

// ledger adds what the relays received and lost.
func (b *builder) ledger() {
	by, alias := `, "step", "host"`, " $tag_step $tag_host"
	from := identifier(metrics.LedgerMeasurement)
	b.chart(panel{title: "Values received", unit: "cps", width: 12, queries: []query{{
		sql: selectFrom(`non_negative_derivative(max("values"), 1s)`, from, "", by), alias: strings.TrimSpace(alias),
	}}})
	b.chart(panel{title: "Lost: malformed lines, dropped values", unit: "short", width: 12, queries: []query{
		{sql: selectFrom(`max("malformed")`, from, "", by), alias: "malformed" + alias},
		{sql: selectFrom(`max("dropped")`, from, "", by), alias: "dropped" + alias},
	}})
}
