package grafana

import "strings"

// columns is the width of Grafana's grid.
const columns = 24

// A builder places panels one after the other.
type builder struct {
	run    string
	source object
	panels []any
	x, y   int
	height int // of the panels in this line
}

// A panel is a chart over time.
type panel struct {
	title, note, unit string
	width             int
	queries           []query
}

// A query is InfluxQL with ofRun for the condition on the run.
type query struct{ sql, alias string }

// ofRun can't be in a name, which has no control characters.
const ofRun = "\x00"

func (b *builder) place(width, height int) object {
	if b.x+width > columns {
		b.x, b.y, b.height = 0, b.y+b.height, 0
	}
	at := object{"x": b.x, "y": b.y, "w": width, "h": height}
	b.x += width
	b.height = max(b.height, height)
	return at
}

func (b *builder) add(p object) {
	p["id"] = len(b.panels) + 1
	b.panels = append(b.panels, p)
}

func (b *builder) row(title string) {
	b.x = columns
	b.add(object{"type": "row", "title": title, "collapsed": false, "panels": []any{}, "gridPos": b.place(columns, 1)})
}

func (b *builder) text(title string, width, height int, markdown string) {
	b.add(object{
		"type": "text", "title": title, "gridPos": b.place(width, height),
		"options": object{"mode": "markdown", "content": markdown},
	})
}

func (b *builder) chart(p panel) {
	var targets []any
	for i, q := range p.queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": b.source, "rawQuery": true, "resultFormat": "time_series",
			"query": strings.ReplaceAll(q.sql, ofRun, b.ofRun()), "alias": q.alias,
		})
	}
	b.add(object{
		"type": "timeseries", "title": p.title, "description": p.note, "datasource": b.source,
		"gridPos": b.place(p.width, 8), "interval": "1s", "targets": targets,
		"fieldConfig": object{
			"defaults":  object{"unit": p.unit, "min": 0, "custom": object{"lineWidth": 1, "fillOpacity": 5, "spanNulls": false}},
			"overrides": []any{},
		},
		"options": object{"legend": object{"displayMode": "table", "placement": "bottom", "calcs": []string{"mean", "max"}}, "tooltip": object{"mode": "multi"}},
	})
}

// variable lets people choose among the values of a tag.
func (b *builder) variable(tag string) object {
	return object{
		"name": tag, "label": tag, "type": "query", "datasource": b.source, "multi": true,
		"includeAll": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"}, "refresh": 2, "sort": 1,
		"query": `SHOW TAG VALUES FROM "loads_ledger" WITH KEY = "` + tag + `" WHERE ` + b.ofRun(),
	}
}

func (b *builder) ofRun() string { return `"run" = ` + literal(b.run) }

// selectFrom is a query by time; by names more that it is grouped by.
func selectFrom(what, from, where, by string) string {
	if where != "" {
		where = " AND " + where
	}
	return "SELECT " + what + " FROM " + from + " WHERE " + ofRun + where + " AND $timeFilter GROUP BY time($__interval)" + by + " fill(none)"
}

// rateOf sums a field up and divides it by the seconds that a point stands for.
func rateOf(field, from, where, by string) string {
	return selectFrom("sum("+identifier(field)+") * 1000 / $__interval_ms", from, where, by)
}

// identifier quotes a name for InfluxQL.
func identifier(name string) string { return quote(name, `"`) }

// literal quotes a text for InfluxQL.
func literal(text string) string { return quote(text, `'`) }

func quote(text, mark string) string {
	return mark + strings.NewReplacer(`\`, `\\`, mark, `\`+mark, "\n", `\n`).Replace(text) + mark
}
