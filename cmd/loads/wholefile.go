package main

import (
	"bytes"
	"os"
)

const outputUsage = "file to write to (default: standard output)"

// A wholeFile takes text that is written only once all of it has come: to the
// file at path, or to standard output when there is no path. An answer that
// breaks off leaves a file as it was.
type wholeFile struct {
	*program
	bytes.Buffer
	path string
}

func (f *wholeFile) save() error {
	if f.path == "" {
		_, err := f.WriteTo(f.Stdout)
		return err
	}
	return os.WriteFile(f.path, f.Bytes(), 0o644)
}
