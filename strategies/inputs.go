package strategies

import (
	"slices"
	"strings"
)

// An Input is a variable that a run of a plan may be given.
type Input struct {
	Name string
	// Value is what environment_data has for it, with secrets masked; where
	// steps differ, all their values with commas between.
	Value    string
	Required bool // no step that uses it has it, so that a run must be given it
	Secret   bool // by its name
}

// Inputs lists the variables of a plan, those first that a run must be given.
// Variables that are built in are not among them.
func (p Plan) Inputs() []Input {
	var required, optional []Input
	add := func(list *[]Input, in Input) {
		i := slices.IndexFunc(*list, func(have Input) bool { return have.Name == in.Name })
		switch {
		case i < 0:
			*list = append(*list, in)
		case !slices.Contains(strings.Split((*list)[i].Value, ", "), in.Value):
			(*list)[i].Value += ", " + in.Value
		}
	}
	faults, _ := CheckVariables(p, nil).(Faults)
	for _, f := range faults {
		if name, ok := strings.CutPrefix(f.Value, "$"); ok && f.What == notSet {
			add(&required, Input{Name: name, Required: true, Secret: isSecret(name)})
		}
	}
	for _, s := range p.Steps {
		for _, v := range s.EnvironmentData.Masked() {
			add(&optional, Input{Name: v.Name, Value: v.Value, Secret: isSecret(v.Name)})
		}
	}
	optional = slices.DeleteFunc(optional, func(in Input) bool {
		return slices.ContainsFunc(required, func(r Input) bool { return r.Name == in.Name })
	})
	return slices.Concat(required, optional)
}
