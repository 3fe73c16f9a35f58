package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/loads/loads/loadgen/recording"
)

// runImport makes a benchmark file of a HAR file or a command of curl.
func runImport(_ context.Context, p program, args []string) error {
	fs := p.flags("import")
	var load recording.Load
	var hosts list
	var opts recording.HAROptions
	curl := fs.Bool("curl", false, "the argument is a command line of curl, in quotes, not a file")
	fs.StringVar(&load.Name, "name", "imported", "name of the benchmark")
	fs.Float64Var(&load.UsersPerSec, "rate", 1, "`users` that start each second")
	fs.StringVar(&load.Duration, "duration", "1m", "how `long` users start")
	fs.IntVar(&load.Connections, "connections", 50, "most connections to each server, of all machines together")
	fs.BoolVar(&opts.Assets, "assets", false, "of a HAR file, take in images, styles, scripts and fonts")
	fs.Var(&hosts, "host", "take in the requests to this `host`; may be given again. Default is the host of the first request")
	positional, err := p.parse(fs, args, 1)
	if err != nil {
		return err
	}
	rec, err := readRecording(positional[0], *curl, opts)
	if err != nil {
		return err
	}
	if err := rec.Only(hosts); err != nil {
		return err
	}
	file, err := rec.Benchmark(load)
	if err != nil {
		return err
	}
	for _, note := range rec.Notes {
		fmt.Fprintln(p.stderr, note)
	}
	_, err = p.stdout.Write(file)
	return err
}

// readRecording reads the argument: a command of curl, or a file with one, or
// a HAR file; - is standard input.
func readRecording(arg string, curl bool, opts recording.HAROptions) (recording.Recording, error) {
	if curl {
		return recording.FromCurl(arg)
	}
	file := os.Stdin
	if arg != "-" {
		f, err := os.Open(arg)
		if err != nil {
			return recording.Recording{}, fmt.Errorf("read what is to be imported: %w; for a command line of curl use --curl", err)
		}
		defer f.Close()
		file = f
	}
	head := make([]byte, 256)
	n, err := io.ReadFull(file, head)
	if err != nil && n == 0 {
		return recording.Recording{}, fmt.Errorf("read what is to be imported: %w", err)
	}
	all := io.MultiReader(bytes.NewReader(head[:n]), file)
	if strings.HasPrefix(strings.TrimSpace(string(head[:n])), "curl") {
		text, err := io.ReadAll(io.LimitReader(all, 1<<20))
		if err != nil {
			return recording.Recording{}, fmt.Errorf("read what is to be imported: %w", err)
		}
		return recording.FromCurl(string(text))
	}
	return recording.FromHAR(all, opts)
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
