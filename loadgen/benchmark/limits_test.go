package benchmark_test

import (
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
)

// A short file can't be made to stand for so much that it isn't refused soon.
func TestFilesThatGrowAreRefused(t *testing.T) {
	bomb := "name: x\nhttp: {host: http://x}\na: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'k'; c++ {
		before := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+before+", ", 9) + "*" + before + "]\n"
	}
	tests := []struct{ name, file string }{
		{"aliases of aliases as steps", bomb + "usersPerSec: 1\nduration: 1s\nscenario: [{s: *k}]"},
		{"aliases of aliases in a template", bomb + "usersPerSec: !param X 1\nduration: 1s\nscenario: [{s: [noop]}]"},
		{"an alias inside of its anchor", "name: x\nhttp: {host: http://x}\nusersPerSec: 1\nduration: 1s\nscenario: [{s: &s [*s, *s]}]"},
		{"the same in a template", "name: !param X y\nphases: &s [*s, *s]"},
		{"loops in loops", "name: !foreach {items: 'a,a,a,a,a,a,a,a,a,a', do: &x !foreach {items: 'a,a,a,a,a,a,a,a,a,a', do: *x}}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := benchmark.Parse("b.yaml", []byte(test.file), nil); err == nil {
				t.Error("the file is taken")
			}
		})
	}
}
