package strategies

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// BenchmarkFolder is where in a step's containers the files of its benchmark
// are.
const BenchmarkFolder = "/etc/loads/benchmark"

// maxBenchmark is how many bytes the files of a benchmark may have together: a
// plan is one body of a REST call.
const maxBenchmark = 3 << 20

// A Benchmark is what the load generator does in a step's containers, all of
// them together. In a file the name of the benchmark file alone will do.
type Benchmark struct {
	File   string            `json:"file" doc:"The benchmark file, relative to the plan's folder."`
	Params Environment       `json:"params,omitempty" doc:"Values of the file's parameters. Interpolated."`
	Files  map[string]string `json:"files,omitempty" doc:"That file and those that it reads, by name; put in when the plan is brought to a broker."`
}

// Missing returns the names among wanted that are not in Files.
func (b Benchmark) Missing(wanted ...string) (names []string) {
	for _, name := range wanted {
		if _, ok := b.Files[path.Clean(name)]; !ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Text returns what is in a file of the benchmark.
func (b Benchmark) Text(name string) (string, bool) {
	text, ok := b.Files[path.Clean(name)]
	return text, ok
}

// benchmark decodes the name of a file, and reports false for the long form.
func (d *decoder) benchmark(n *yaml.Node, at string, b **Benchmark) bool {
	if n.Kind == yaml.MappingNode || !source.IsText(n) {
		return false
	}
	if name, ok := d.text(n, at); ok {
		*b = &Benchmark{File: name}
	}
	return true
}

func (b *Benchmark) clone() *Benchmark {
	if b == nil {
		return nil
	}
	// What is in the files never changes, so they are shared.
	return &Benchmark{File: b.File, Params: slices.Clone(b.Params), Files: b.Files}
}

// benchmark checks what can be said without reading the files.
func (c *checker) benchmark(at string, b *Benchmark) {
	if b == nil {
		return
	}
	if file := child(at, "file"); b.File == "" {
		c.add(file, "", "is missing", "give the name of a benchmark file, such as shop.yaml")
	} else {
		c.benchmarkFile(file, b.File)
	}
	c.environment(child(at, "params"), b.Params)
	size := 0
	for name, text := range b.Files {
		if path.Clean(name) != name {
			c.add(child(child(at, "files"), name), "", "is not the shortest form of the name", "give "+path.Clean(name))
		}
		c.benchmarkFile(child(child(at, "files"), name), name)
		size += len(text)
	}
	if size > maxBenchmark {
		c.add(child(at, "files"), "", fmt.Sprintf("have %d bytes", size), fmt.Sprintf("%d are the most; put larger ones into an image", maxBenchmark))
	}
}

func (c *checker) benchmarkFile(field, name string) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
		c.add(field, source.Show(name), "is outside of the plan's folder", "give a name in the folder, such as shop.yaml")
		return
	}
	c.printable(field, name)
}

// benchmark puts the generator's command before the arguments of the step, and
// the benchmark's files into its containers.
func (x *expander) benchmark(s Step, r *Resolved) error {
	if s.Benchmark == nil {
		return nil
	}
	params, err := x.params(s)
	if err != nil {
		return err
	}
	command := []string{"gen", path.Join(BenchmarkFolder, s.Benchmark.File)}
	for _, p := range params {
		command = append(command, "--param", p.Name+"="+p.Value)
	}
	r.Args = append(command, r.Args...)
	r.Files = map[string][]byte{}
	for name, text := range s.Benchmark.Files {
		r.Files[path.Join(BenchmarkFolder, name)] = []byte(text)
	}
	return nil
}

// params returns those that have values, and what is wrong with the first other.
func (x *expander) params(s Step) (params []Variable, err error) {
	for _, p := range s.Benchmark.Params {
		value, wrong := x.expand(p.Value)
		if wrong == nil {
			params = append(params, Variable{p.Name, value})
		} else if err == nil {
			err = fmt.Errorf("interpolate benchmark.params.%s: %w", p.Name, wrong)
		}
	}
	return params, err
}

// SampleParams returns the values of the benchmark's parameters as they could
// be on the step's first machine, to check the benchmark before there is one. The
// error is about the first that has no value; for such the value is 1.
func (s Step) SampleParams(run Environment) (map[string]string, error) {
	x := newExpander(s.EnvironmentData, run)
	x.builtin = func(name string) (string, bool) {
		switch name {
		case "HOST_IP", "PRIVATE_IP", "STATSD_HOST":
			return "127.0.0.1", true
		case "STATSD_SOCKET":
			return StatsdSocket, true
		case "LOADS_MACHINES":
			return fmt.Sprint(s.InstanceCount), true
		}
		return "0", isBuiltin(name)
	}
	params, err := x.params(s)
	values := Environment(params).Map()
	for _, p := range s.Benchmark.Params {
		if _, ok := values[p.Name]; !ok {
			values[p.Name] = "1"
		}
	}
	return values, err
}
