package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// netFields are the words of a line of /proc/PID/net/dev after the interface's
// name, by their place.
var netFields = map[int]string{
	0: "rx_bytes", 1: "rx_packets", 2: "rx_errors", 3: "rx_dropped",
	8: "tx_bytes", 9: "tx_packets", 10: "tx_errors", 11: "tx_dropped",
}

// readNetwork returns the totals of the container's interfaces together, but
// for loopback.
func (r *Reader) readNetwork(c *container) (map[string]float64, error) {
	if !r.findProcess(c) {
		return nil, nil
	}
	path := filepath.Join(r.proc, c.pid, "net", "dev")
	own, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the process has ended meanwhile
	}
	if err != nil {
		return nil, err
	}
	// The kernel makes this file once for each network.
	hosts, err := os.Stat(filepath.Join(r.proc, "1", "net", "dev"))
	if err != nil {
		return nil, err
	}
	if os.SameFile(own, hosts) {
		return nil, nil
	}
	return readInterfaces(path)
}

// readInterfaces adds up a table as proc(5) describes /proc/PID/net/dev: two
// lines of heading, then one for each interface.
func readInterfaces(path string) (map[string]float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var sums map[string]float64
	for line := range bytes.Lines(text) {
		name, rest, found := strings.Cut(string(line), ":")
		if !found || strings.TrimSpace(name) == "lo" {
			continue
		}
		words := strings.Fields(rest)
		if sums == nil {
			sums = make(map[string]float64, len(netFields))
		}
		for place, field := range netFields {
			if place >= len(words) {
				return nil, fmt.Errorf("read %s: interface %s has %d figures", path, strings.TrimSpace(name), len(words))
			}
			v, err := strconv.ParseFloat(words[place], 64)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			sums[field] += v
		}
	}
	return sums, nil
}

// findProcess sees to a process of the container, and reports whether there is
// one. The group's own list of processes can't be used: it leaves out those that
// the reader, being in a container, has no number for.
func (r *Reader) findProcess(c *container) bool {
	if c.pid != "" && r.isOf(c, c.pid) {
		return true
	}
	c.pid = ""
	if c.tries > searchEvery && c.tries%searchEvery != 1 {
		return false // looked for in vain at first
	}
	entries, err := os.ReadDir(r.proc)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil && r.isOf(c, e.Name()) {
			c.pid = e.Name()
			return true
		}
	}
	return false
}

// isOf reports whether the process is in the container's group. Its groups are
// in lines of number, controllers and path. In version 2 the path is relative
// to the group of the reader, but ends in the same way.
func (r *Reader) isOf(c *container, pid string) bool {
	text, err := os.ReadFile(filepath.Join(r.proc, pid, "cgroup"))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) == 3 && c.owns(parts[2]) {
			return true
		}
	}
	return false
}
