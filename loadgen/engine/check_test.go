package engine_test

import (
	"os"
	"regexp"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/phases"
)

// A file with the steps and handlers of the language is compiled whole, and
// what can't be run is named, each once.
func TestEveryStepIsRunOrRefused(t *testing.T) {
	data, err := os.ReadFile("../benchmark/testdata/steps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b, err := benchmark.Parse("steps.yaml", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := phases.Expand("steps.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	faults := engine.Check(engine.Config{
		Benchmark: b, Name: "steps.yaml", Phases: list,
		Read: func(name string) ([]byte, error) {
			if name == "shop.pb" {
				return orders(t), nil
			}
			return []byte("1,2,3,4,5\n"), nil
		},
	})
	var got []string
	name := regexp.MustCompile(`has (\w+), which the generator`)
	for _, f := range faults {
		what := f.What
		if m := name.FindStringSubmatch(what); m != nil {
			what = m[1]
		}
		got = append(got, what)
	}
	if len(got) != 0 {
		t.Errorf("refused are\n%q, want nothing", got)
	}
}

// orders are the descriptors of a service with one method.
func orders(t *testing.T) []byte {
	t.Helper()
	order := proto.String(".shop.Order")
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Order")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   proto.String("Orders"),
			Method: []*descriptorpb.MethodDescriptorProto{{Name: proto.String("Get"), InputType: order, OutputType: order}},
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}
