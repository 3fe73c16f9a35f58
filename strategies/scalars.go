package strategies

import (
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// ofType names a type with its article, as it stands after "a field of".
func ofType(t reflect.Type) string {
	if t == reflect.TypeFor[Ready]() || t == reflect.TypeFor[StartAfter]() {
		return nounOf(t)
	}
	return "a " + nounOf(t)
}

// nounOf names a type for people.
func nounOf(t reflect.Type) string {
	if t == reflect.TypeFor[StartAfter]() {
		return "start_after"
	}
	if t == reflect.TypeFor[LogMetric]() {
		return "log metric"
	}
	return strings.ToLower(t.Name())
}

// wantOf says what a field of the type takes.
func wantOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[[]StartAfter]():
		return "give a list of step names"
	case reflect.TypeFor[StartAfter]():
		return "give the name of a step, or step and event"
	case reflect.TypeFor[[]Criterion]():
		return "give a list of criteria"
	case reflect.TypeFor[Criterion]():
		return "give an expression, or a map with expr"
	case reflect.TypeFor[Seconds]():
		return "give whole seconds, or a time such as 30s or 2m"
	case reflect.TypeFor[Ulimit]():
		return "give a number, or soft:hard"
	case reflect.TypeFor[map[string]Part]():
		return "give a map, for example status: data.status"
	case reflect.TypeFor[Part]():
		return "give text or a number"
	case reflect.TypeFor[Benchmark](), reflect.TypeFor[*Benchmark]():
		return "give the name of a benchmark file, or a map with file and params"
	case reflect.TypeFor[Ready]():
		return "give a map with port, log or health"
	case reflect.TypeFor[map[string]Ulimit]():
		return "give a map of limits, for example nofile: 65536"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "give a list of " + nounOf(t.Elem()) + "s"
	case reflect.Struct:
		return "give a map with the " + nounOf(t) + "'s fields"
	case reflect.Pointer:
		return wantOf(t.Elem())
	case reflect.Int, reflect.Int64:
		return "give a whole number"
	case reflect.Float64:
		return "give a number"
	case reflect.Bool:
		return "give true or false"
	}
	return "give text"
}

func (d *decoder) text(n *yaml.Node, path string) (string, bool) {
	if !source.IsText(n) {
		want := "give text"
		if n.Kind == yaml.ScalarNode {
			want = "put it in quotes if it is meant as text"
		}
		d.wrongType(n, path, want)
		return "", false
	}
	if strings.ContainsRune(n.Value, 0) {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "holds a NUL character", Want: "leave it out"})
		return "", false
	}
	return n.Value, true
}

func (d *decoder) boolean(n *yaml.Node, path string) (bool, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		d.wrongType(n, path, wantOf(reflect.TypeFor[bool]()))
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

func (d *decoder) integer(n *yaml.Node, path string) (int64, bool) {
	want := wantOf(reflect.TypeFor[int]())
	digits := strings.ReplaceAll(n.Value, "_", "")
	switch {
	case n.Kind != yaml.ScalarNode:
	case n.ShortTag() == "!!int":
		if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
			return i, true
		}
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is too large", Want: want})
		return 0, false
	case n.ShortTag() == "!!float":
		f, err := strconv.ParseFloat(digits, 64)
		if err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), true
		}
		what := "is not a whole number"
		if math.Abs(f) >= 1<<53 {
			what = "is too large"
		}
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: what, Want: want})
		return 0, false
	case source.IsText(n):
		if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			d.wrongType(n, path, want+", without quotes")
			return 0, false
		}
	}
	d.wrongType(n, path, want)
	return 0, false
}

func (d *decoder) number(n *yaml.Node, path string) (float64, bool) {
	if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!int" && n.ShortTag() != "!!float") {
		d.wrongType(n, path, wantOf(reflect.TypeFor[float64]()))
		return 0, false
	}
	digits := strings.ReplaceAll(n.Value, "_", "")
	if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is not a number to count with", Want: "give a number"})
		return 0, false
	}
	return f, true
}
