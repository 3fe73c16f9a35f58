package main

import (
	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/strategies"
)

// generatorFaults says what in a benchmark the generator can't run.
func generatorFaults(name string, b *benchmark.Benchmark, list []phases.Phase, read func(string) ([]byte, error)) strategies.Faults {
	return engine.Check(engine.Config{Benchmark: b, Name: name, Phases: list, Read: read})
}
