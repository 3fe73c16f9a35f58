package loads_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFileLines = 650 // over it, a file is split by concept
	maxFuncLines = 100 // over it, a function's comment has to argue for it; tests' tables may be long
)

func TestSizes(t *testing.T) {
	for _, name := range goFiles(t) {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(source, []byte("\n")); lines > maxFileLines {
			t.Errorf("%s has %d lines; split it, %d are the limit", name, lines, maxFileLines)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, fault := range longFunctions(t, name, source) {
			t.Error(fault)
		}
	}
}

// longFunctions names the functions that are too long and don't argue for it.
func longFunctions(t *testing.T, name string, source []byte) []string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil || f.Doc != nil && len(f.Doc.List) > 2 {
			continue
		}
		lines := files.Position(f.Body.Rbrace).Line - files.Position(f.Pos()).Line + 1
		if lines > maxFuncLines {
			faults = append(faults, files.Position(f.Pos()).String()+": "+f.Name.Name+
				" has over 100 lines, and no comment of three lines or more that argues for it")
		}
	}
	return faults
}

// goFiles returns the Go files of the module, in folders not hidden.
func goFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".go") {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
