// Package loads_test holds the checks on the source as a whole: which package
// may import what, how long files and functions may be, and that the examples
// and documents are right.
package loads_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/loads/loads"

// mayImport says which packages of ours a package may import, by its path in
// the module; a package in a folder of another has the rule of that one, and
// may be imported by it.
// Every package needs a row: a new one makes its author decide.
var mayImport = map[string][]string{
	"strategies": {"internal/source"},
	"metrics":    {},
	"agreement":  {"metrics"},
	"broker":     {"strategies", "metrics", "agreement", "images/order"},

	// What brings images from machine to machine, and what is said about it.
	"images":            {"images/order", "dockerctl/scratch", "internal/unpack"},
	"images/order":      {},
	"dockerctl/scratch": {},

	"relay":   {"metrics"},
	"loadgen": {"metrics", "agreement", "internal/source"},

	"api":        {"broker", "strategies", "metrics"},
	"aws":        {"broker", "strategies", "metrics", "images/order"},
	"aws/ec2sim": {}, // a cloud, which nothing but the program and tests may know
	// Its light machines read what real ones run: user data, leases, and frames.
	"aws/ec2sim/light": {"aws", "aws/ec2sim", "metrics", "images/order", "internal/unpack"},
	"db":               {"broker", "strategies", "metrics", "agreement"},
	"dockerctl":        {"broker", "strategies", "metrics", "images/order", "dockerctl/scratch", "internal/unpack"},
	"grafana":          {"broker", "strategies", "metrics"},
	"hosts":            {"broker", "strategies", "metrics", "internal/waittest"},
	"influx":           {"broker", "strategies", "metrics"},
	"report":           {"broker", "strategies", "metrics"},
	"web":              {"broker", "strategies", "metrics"},

	"cmd/loads": {
		"api", "aws", "aws/ec2sim", "aws/ec2sim/light", "db", "dockerctl", "grafana", "hosts", "influx", "report", "web",
		"broker", "strategies", "metrics", "loadgen",
	},
	"cmd/loads-node": {"relay", "loadgen", "metrics", "agreement", "images", "images/order"},

	"e2e":                 {"api", "broker"},
	"internal/brokertest": {},
	"internal/influxtest": {"internal/waittest"},
	"internal/source":     {},
	"internal/unpack":     {},
	"internal/waittest":   {},
	"scripts":             {},
}

// onlyIn keeps each library of weight in the package that is there to hide it.
// The keys are prefixes of import paths.
var onlyIn = map[string][]string{
	"github.com/moby/moby":                    {"dockerctl"},
	"github.com/docker/cli":                   {"dockerctl"},
	"github.com/aws/":                         {"aws", "aws/ec2sim"},
	"golang.org/x/time":                       {"aws"},
	"github.com/influxdata/":                  {"influx"},
	"github.com/jmoiron/sqlx":                 {"db"},
	"github.com/mattn/go-sqlite3":             {"db"},
	"github.com/pressly/goose":                {"db"},
	"database/sql":                            {"db"},
	"github.com/danielgtaylor/huma":           {"api"},
	"github.com/spf13/cobra":                  {"cmd/loads"},
	"github.com/vbauerster/mpb":               {"cmd/loads"},
	"go.yaml.in/yaml":                         {"internal/source", "strategies", "hosts", "loadgen", "aws/ec2sim"},
	"github.com/invopop/jsonschema":           {"strategies", "loadgen"},
	"github.com/expr-lang/expr":               {"strategies"},
	"github.com/DataDog/sketches-go":          {"metrics"},
	"github.com/HdrHistogram/hdrhistogram-go": {"metrics", "loadgen"},
	"github.com/axiomhq/hyperloglog":          {"metrics"},
	"github.com/shirou/gopsutil":              {"relay"},
	"github.com/chromedp/":                    {"e2e"},
	"github.com/coder/websocket":              {"loadgen"},
	"google.golang.org/grpc":                  {"loadgen"},
	"google.golang.org/protobuf":              {"loadgen"},
	"github.com/pavlo-v-chernykh/":            {"loadgen"},
	"software.sslmate.com/":                   {"loadgen"},
	"oras.land/":                              {"images"},
}

// pure packages do no input or output.
var pure = []string{
	"strategies", "metrics", "agreement", "internal/source",
	"loadgen/arrivals", "loadgen/benchmark", "loadgen/jsonpath", "loadgen/page", "loadgen/pattern", "loadgen/phases", "loadgen/recording",
}

// impure are the packages of the standard library that a pure one has no use for.
var impure = []string{"os", "os/exec", "net", "net/http", "database/sql", "log/slog", "syscall"}

// nodeHasNot are packages that the node program must not even carry
// indirectly: it is shipped to every machine.
var nodeHasNot = []string{
	module + "/broker", module + "/strategies", "github.com/moby/moby/client",
	"github.com/jmoiron/sqlx", "github.com/danielgtaylor/huma/v2",
}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// name is the package's path in the module.
func (p goPackage) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func TestImportDirection(t *testing.T) {
	for _, p := range listPackages(t) {
		t.Run(p.name(), func(t *testing.T) {
			owner, allowed := ruleOf(p.name())
			if allowed == nil {
				t.Fatalf("package %s has no row in mayImport; give it one", p.name())
			}
			for _, imported := range p.Imports {
				other, ours := strings.CutPrefix(imported, module+"/")
				if !ours {
					continue
				}
				otherOwner, _ := ruleOf(other)
				if otherOwner != owner && !slices.Contains(allowed, otherOwner) {
					t.Errorf("%s imports %s; it may import %v", p.name(), other, allowed)
				}
				if isForTests(other) && !isForTests(p.name()) {
					t.Errorf("%s imports %s, which is for tests", p.name(), other)
				}
			}
		})
	}
}

func TestLibrariesStayInTheirAdapter(t *testing.T) {
	for _, p := range listPackages(t) {
		owner, _ := ruleOf(p.name())
		for _, imported := range p.Imports {
			for prefix, owners := range onlyIn {
				if strings.HasPrefix(imported, prefix) && !slices.Contains(owners, owner) {
					t.Errorf("%s imports %s, which only %v may", p.name(), imported, owners)
				}
			}
			isPure := slices.Contains(pure, owner) || slices.Contains(pure, p.name())
			if isPure && slices.Contains(impure, imported) {
				t.Errorf("%s imports %s, but does no input or output", p.name(), imported)
			}
		}
	}
}

func TestNodeProgramStaysSmall(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.name() != "cmd/loads-node" {
			continue
		}
		for _, heavy := range nodeHasNot {
			if slices.Contains(p.Deps, heavy) {
				t.Errorf("cmd/loads-node depends on %s", heavy)
			}
		}
	}
}

// ruleOf returns the row for a package and whose it is: its own, or that of
// the nearest folder above it.
func ruleOf(name string) (owner string, allowed []string) {
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if allowed, ok := mayImport[dir]; ok {
			return dir, allowed
		}
	}
	return name, nil
}

// isForTests reports whether the package is there for tests only, which its
// name says.
func isForTests(name string) bool { return strings.HasSuffix(path.Base(name), "test") }

// listPackages returns the packages of the module, by what they import when
// they are built, not tested: tests may bring real parts together.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(),
		"go", "list", "-e", "-buildvcs=false", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("decode what go list says: %v", err)
		}
		if p.name() != "" { // the folder of these tests
			packages = append(packages, p)
		}
	}
}
