package benchmark

import (
	"bytes"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// file is what benchmark files are to hold, for faults.
var file = source.Reader{Want: "write a benchmark (name, http, phases)", One: "benchmark"}

// Parse reads a benchmark file, YAML or JSON. The name is the file's, for
// faults; it is not opened. The params fill in the file's !param tags. All
// faults are returned at once, as Faults with positions, and no benchmark.
func Parse(name string, data []byte, params map[string]string) (*Benchmark, error) {
	b, err := parse(name, data, params)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// FilesOf returns what the steps of a benchmark file read, as far as that can be
// told although it has faults.
func FilesOf(data []byte, params map[string]string) []FileUse {
	if b, _ := parse("", data, params); b != nil {
		return b.Files
	}
	return nil
}

// parse returns what it has understood also beside faults.
func parse(name string, data []byte, params map[string]string) (*Benchmark, error) {
	d := &decoder{seen: map[Fault]bool{}, bad: map[string]bool{}, told: map[*yaml.Node]bool{}}
	b := &Benchmark{}
	root, fault := file.Read(data)
	if fault != nil {
		return nil, result(name, data, Faults{*fault})
	}
	checkAnchors(d, root, map[string]int{})
	if isTemplate(root) || len(params) > 0 {
		t := &template{d: d, params: params, used: map[string]bool{}}
		root = t.node(root)
		if root == nil || len(d.faults) > 0 { // what is missing would be found again
			return nil, result(name, data, d.faults)
		}
		t.unknown(root)
		d.values = 0
	}
	b.decode(d, root)
	b.checkEndpoints(d)
	d.checkData()
	b.Warnings = named(name, d.warnings)
	for _, u := range d.uses {
		if u.kind == useFile && !slices.ContainsFunc(b.Files, func(f FileUse) bool { return f.Name == u.name }) {
			b.Files = append(b.Files, FileUse{u.name, u.node.Line, u.node.Column})
		}
	}
	if len(d.faults) > 0 {
		return b, result(name, data, d.faults)
	}
	return b, nil
}

// decode reads the root map. Keys of a phase are one of constant rate, which is
// called main.
func (b *Benchmark) decode(d *decoder, root *yaml.Node) {
	b.defaults()
	var own, phase []pair
	fields := fieldsOf(reflect.ValueOf(b).Elem().Type())
	phaseFields := fieldsOf(reflect.ValueOf(&Phase{}).Elem().Type())
	for _, p := range d.pairs(root, "") {
		_, isOwn := fieldNamed(fields, p.key)
		_, isPhase := fieldNamed(phaseFields, p.key)
		if isPhase && !isOwn {
			phase = append(phase, p)
		} else {
			own = append(own, p)
		}
	}
	d.fields(root, "", reflect.ValueOf(b).Elem(), own, func(field) bool { return true })
	given := 0
	for _, is := range []bool{len(phase) > 0, has(own, "phases"), has(own, "staircase")} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		d.fault(root, Fault{What: "the file has no phases", Want: "give phases, staircase, or usersPerSec, duration and scenario"})
	case given > 1 && len(phase) > 0:
		d.fault(phase[0].keyAt, Fault{Field: phase[0].key, What: "is given beside phases or staircase", Want: "put it into a phase"})
	case given > 1:
		d.fault(root, Fault{Field: "staircase", What: "is given beside phases", Want: "give one of them"})
	case len(phase) > 0:
		main := Phase{Name: "main", Kind: ConstantRate, Line: phase[0].keyAt.Line, Column: phase[0].keyAt.Column}
		main.defaults()
		d.phaseFields(root, "", &main, phase)
		b.Phases = Phases{main}
	case len(b.Phases) == 0 && b.Staircase == nil && len(d.faults) == 0:
		d.fault(root, Fault{Field: "phases", What: "is empty", Want: "give a phase"})
	}
	seen := map[string]bool{}
	for _, p := range b.Phases {
		if seen[p.Name] {
			d.fault(&yaml.Node{Line: p.Line, Column: p.Column}, Fault{
				Field: "phases", Value: source.Show(p.Name), What: "is the name of two phases", Want: "use another",
			})
		}
		seen[p.Name] = true
	}
}

func has(pairs []pair, key string) bool {
	return slices.ContainsFunc(pairs, func(p pair) bool { return p.key == key })
}

// result gives the faults their file, and puts them in its order.
func result(name string, data []byte, faults Faults) error {
	lastLine := bytes.Count(data, []byte("\n")) + 1
	faults = named(name, faults)
	for i := range faults {
		// The YAML decoder puts what is missing at the end a line further.
		faults[i].Line = min(max(faults[i].Line, 1), lastLine)
		faults[i].Column = max(faults[i].Column, 1)
	}
	faults.Sort()
	if len(faults) > maxFaults {
		faults = append(faults[:maxFaults], Fault{
			File: name, Line: faults[maxFaults-1].Line, Column: faults[maxFaults-1].Column,
			What: "the file has more faults than are shown", Want: "correct these first",
		})
	}
	return faults
}

func named(name string, faults Faults) Faults {
	for i := range faults {
		faults[i].File = name
	}
	return faults
}
