package strategies_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// editable is a plan with something of everything to edit.
func editable() strategies.Plan {
	return strategies.Plan{
		UUID: "p1", Name: "peak", Description: "old",
		Steps: []strategies.Step{
			step("web", func(s *strategies.Step) {
				s.UUID = "s1"
				s.PortMapping = "80:80"
				s.Ready = &strategies.Ready{Port: 80, Timeout: 5}
				s.Ulimits = map[string]strategies.Ulimit{"core": {}, "nofile": {Soft: 1, Hard: 2}}
				s.EnvironmentData = strategies.Environment{{Name: "RATE", Value: "1"}, {Name: "MODE", Value: "slow"}}
			}),
			step("gen", func(s *strategies.Step) {
				s.UUID = "s2"
				s.StartAfter = []strategies.StartAfter{{Step: "web", Event: strategies.EventReady}}
			}),
			step("gen.fast", func(s *strategies.Step) { s.RunDelay = 3 }),
		},
	}
}

func TestEdit(t *testing.T) {
	for _, c := range []struct {
		name string
		set  map[string]any
		want func(*strategies.Plan)
	}{
		{"nothing changes nothing", nil, func(*strategies.Plan) {}},
		{
			"fields of the plan",
			map[string]any{"description": "new", "name": "peak 2", "enabled": "true"},
			func(p *strategies.Plan) { p.Description, p.Name, p.Enabled = "new", "peak 2", true },
		},
		{
			"a step by name and one by index",
			map[string]any{"steps.web.instance_count": 5.0, "steps.1.instance_count": "7"},
			func(p *strategies.Plan) { p.Steps[0].InstanceCount, p.Steps[1].InstanceCount = 5, 7 },
		},
		{
			"a step with a dot in its name",
			map[string]any{"steps.gen.fast.run_delay": 9, "steps.gen.run_delay": 8},
			func(p *strategies.Plan) { p.Steps[2].RunDelay, p.Steps[1].RunDelay = 9, 8 },
		},
		{
			"text that looks like a number stays text where text belongs",
			map[string]any{"steps.web.docker_series": "5", "steps.web.environment_data.RATE": "007", "description": "true"},
			func(p *strategies.Plan) {
				p.Steps[0].DockerSeries, p.Description = "5", "true"
				p.Steps[0].EnvironmentData[0].Value = "007"
			},
		},
		{
			"variables: a new value, a new one, one taken away",
			map[string]any{"steps.web.environment_data.RATE": 20, "steps.web.environment_data.es.name": true, "steps.web.environment_data.MODE": nil},
			func(p *strategies.Plan) {
				p.Steps[0].EnvironmentData = strategies.Environment{{Name: "RATE", Value: "20"}, {Name: "es.name", Value: "true"}}
			},
		},
		{
			"a whole environment as text",
			map[string]any{"steps.web.environment_data": `{"A": 1, "B": "x"}`},
			func(p *strategies.Plan) {
				p.Steps[0].EnvironmentData = strategies.Environment{{Name: "A", Value: "1"}, {Name: "B", Value: "x"}}
			},
		},
		{
			"limits: a new one, one taken away",
			map[string]any{"steps.web.ulimits.nofile": "5:6", "steps.web.ulimits.core": nil, "steps.gen.ulimits.nproc": 9},
			func(p *strategies.Plan) {
				p.Steps[0].Ulimits = map[string]strategies.Ulimit{"nofile": {Soft: 5, Hard: 6}}
				p.Steps[1].Ulimits = map[string]strategies.Ulimit{"nproc": {Soft: 9, Hard: 9}}
			},
		},
		{
			"parts of ready, also where there was none",
			map[string]any{"steps.web.ready.timeout": nil, "steps.gen.ready.log": "^ok"},
			func(p *strategies.Plan) {
				p.Steps[0].Ready.Timeout = 60
				p.Steps[1].Ready = &strategies.Ready{Log: "^ok", Timeout: 60}
			},
		},
		{
			"the default in place of a value",
			map[string]any{
				"steps.web.ready": nil, "steps.gen.start_after": nil, "steps.web.ulimits": nil, "steps.gen.fast.run_delay": "",
				"steps.web.environment_data": nil, "steps.web.memory": "64m",
			},
			func(p *strategies.Plan) {
				p.Steps[0].Ready, p.Steps[0].Ulimits, p.Steps[0].EnvironmentData, p.Steps[0].Memory = nil, nil, nil, 64<<20
				p.Steps[1].StartAfter, p.Steps[2].RunDelay = nil, 0
			},
		},
		{
			"a new name, and the step by its old one",
			map[string]any{"steps.gen.name": "load", "steps.gen.run_delay": 4},
			func(p *strategies.Plan) { p.Steps[1].Name, p.Steps[1].RunDelay = "load", 4 },
		},
		{
			"a step taken away, and a later one by its old index",
			map[string]any{"steps.1": nil, "steps.2.run_delay": 4},
			func(p *strategies.Plan) {
				p.Steps[2].RunDelay = 4
				p.Steps = []strategies.Step{p.Steps[0], p.Steps[2]}
			},
		},
		{
			"a whole step, which keeps its uuid",
			map[string]any{"steps.gen": map[string]any{"name": "gen", "container_name": "busybox", "start_after": "web"}},
			func(p *strategies.Plan) { p.Steps[1].ContainerName = "busybox" },
		},
		{
			"all steps",
			map[string]any{"steps": []any{map[string]any{"name": "one", "container_name": "alpine"}}, "steps.one.run_delay": 2},
			func(p *strategies.Plan) {
				p.Steps = []strategies.Step{step("one", func(s *strategies.Step) { s.RunDelay = 2 })}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, want := editable(), editable()
			c.want(&want)
			got, err := p.Edit(c.set)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(editable(), p); diff != "" {
				t.Errorf("the original changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEditNamesAllFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		set  map[string]any
		want string
	}{
		{
			"paths that lead nowhere",
			map[string]any{
				"descripton": "x", "steps.wbe.run_delay": 1, "steps.7.name": "x", "steps.web.instances": 1, "steps.web.name.first": "x",
				"uuid": "x", "steps.web.ready.prot": 1,
			},
			`descripton names no field of a plan; did you mean description?
steps.7.name names no step of the plan; the steps are web, gen and gen.fast
steps.wbe.run_delay names no step of the plan; did you mean web?
steps.web.instances names no field of a step; its fields are name, run_delay, run_max_time, instance_region, instance_type, instance_count, container_name, container_url, environment_data, additional_command_args, dns_name, port_mapping, volume_mapping, docker_series, prune_running, node_delay, _capture_output, monitor, ulimits, cpus, memory, stop_timeout, ready, start_after, log_metrics, benchmark, quorum, role, instance_types, spot, image_id, volume_size and lead
steps.web.name.first names a part of a field that has none; set the field as a whole
steps.web.ready.prot names no field of ready; did you mean port?
uuid names no field of a plan; its fields are name, description, enabled, steps, criteria, on_invalid, max_skew_ms, max_cpu_percent and max_cost`,
		},
		{
			"values of the wrong type",
			map[string]any{"steps.web.run_delay": "soon", "steps.web.port_mapping": 80, "steps.gen.environment_data.A": []any{1}, "enabled": "maybe", "steps.web.cpus": func() {}},
			`enabled: maybe is text; give true or false
steps.gen.environment_data.A is a list; give text, a number or a boolean
steps.web.cpus can't be read: json: unsupported type: func(); give a number
steps.web.port_mapping: 80 is a number; put it in quotes if it is meant as text
steps.web.run_delay: soon is text; give a whole number`,
		},
		{
			"values that make the plan wrong",
			map[string]any{"steps.web.run_delay": -5, "steps.gen.start_after": "[nobody]", "steps.gen.fast.name": nil},
			`steps[0].run_delay: -5 is negative; give seconds, 0 or more
steps[2].name is missing; give a name of at most 100 characters
steps[1].start_after[0]: nobody is not a step of the plan; the steps are web, gen and ""`,
		},
		{
			"a step taken away that another waits for",
			map[string]any{"steps.web": nil},
			"steps[0].start_after[0]: web is not a step of the plan; the steps are gen and gen.fast",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := editable().Edit(c.set)
			if err == nil {
				t.Fatal("got no fault")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCloneSharesNothing(t *testing.T) {
	p := editable()
	c := p.Clone()
	if diff := cmp.Diff(p, c); diff != "" {
		t.Errorf("clone differs (-want +got):\n%s", diff)
	}
	c.Steps[0].Name = "x"
	c.Steps[0].Ready.Port = 1
	c.Steps[0].Ulimits["core"] = strategies.Ulimit{Soft: 9, Hard: 9}
	c.Steps[0].EnvironmentData[0].Value = "x"
	c.Steps[1].StartAfter[0].Step = "x"
	if diff := cmp.Diff(editable(), p); diff != "" {
		t.Errorf("the original changed (-want +got):\n%s", diff)
	}
}

func TestEditChangesLogMetricsAsAWhole(t *testing.T) {
	plan := strategies.Plan{Name: "p", Steps: []strategies.Step{{
		Name: "load", ContainerName: "example/load:1", RunMaxTime: 60, InstanceCount: 1, InstanceRegion: "r", InstanceType: "t",
		LogMetrics: []strategies.LogMetric{{Name: "a", Type: strategies.LogCounter, Match: "x", Tags: map[string]strategies.Part{"t": "0"}}},
	}}}
	copied := plan.Clone()
	copied.Steps[0].LogMetrics[0].Tags["t"] = "changed"
	if got := plan.Steps[0].LogMetrics[0].Tags["t"]; got != "0" {
		t.Errorf("a clone's change reached the plan: tag t is %q", got)
	}
	edited, err := plan.Edit(map[string]any{"steps.load.log_metrics": `[{name: b, type: timer, json: ms, value: 1}]`})
	if err != nil {
		t.Fatal(err)
	}
	want := []strategies.LogMetric{{Name: "b", Type: strategies.LogTimer, JSON: "ms", Value: "1"}}
	if diff := cmp.Diff(want, edited.Steps[0].LogMetrics); diff != "" {
		t.Errorf("log metrics differ (-want +got):\n%s", diff)
	}
	_, err = plan.Edit(map[string]any{"steps.load.log_metrics": `[{name: b, type: timer, match: "("}]`})
	if err == nil || !strings.Contains(err.Error(), "steps[0].log_metrics[0].match") {
		t.Errorf("got %v, want a fault of the regular expression", err)
	}
}
