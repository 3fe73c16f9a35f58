//go:build !linux

package main

import (
	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/strategies"
)

// generatorFaults leaves to the broker what only the generator knows, which is
// there on Linux alone.
func generatorFaults(string, *benchmark.Benchmark, []phases.Phase, func(string) ([]byte, error)) strategies.Faults {
	return nil
}
