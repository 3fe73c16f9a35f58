// Package cgroup measures single containers by what the kernel tells of their
// control groups, of version 1 or 2: processor time, memory and processes
// killed for want of it; and what their network interfaces transfer.
//
// It only reads files below two folders, in which the machine's /proc and
// /sys/fs/cgroup are, so it needs neither the engine nor any right but to read.
//
// Measurements, tags and fields have the names that Telegraf's input docker
// gives them; oom_kill is the kernel's own name.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/metrics"
)

// searchEvery is how many readings are between two searches of all groups, or
// of all processes, for a container.
const searchEvery = 10

// unlimited is what version 1 says for no limit, but for the last page of it.
const unlimited = math.MaxInt64 &^ 0xffff

// A Reader measures containers. It is not safe for concurrent use.
type Reader struct {
	proc, root string
	log        *slog.Logger
	warned     map[string]bool // measurements whose failure was told of
	containers map[string]*container
}

// container is what is known of one that was asked for.
type container struct {
	id     string
	tries  int    // readings so far
	group  string // its folder below the root, or below that of a controller; empty when not found
	second bool   // of version 2
	found  string // the controller that it was found by, in version 1
	pid    string // of a process in it; empty when not known

	used float64   // processor time at the last reading, in seconds
	at   time.Time // of that reading; zero when there is none
}

// NewReader returns a reader of the machine whose /proc and /sys/fs/cgroup are
// in these folders. It tells of what it can't measure, once for each
// measurement; a nil log drops that.
func NewReader(proc, root string, log *slog.Logger) *Reader {
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Reader{proc: proc, root: root, log: log, warned: make(map[string]bool), containers: make(map[string]*container)}
}

// Read measures the container of that full id, which gets the name as a tag.
// One that does not run has no measurements. Usage of processors is that since
// the last call, so the first call has none; there is none of the network for
// containers that share the host's.
func (r *Reader) Read(id, name string) []metrics.HostPoint {
	c := r.containers[id]
	if c == nil {
		c = &container{id: id}
		r.containers[id] = c
	}
	c.tries++
	if !r.find(c) {
		c.at = time.Time{}
		return nil
	}
	tags := []metrics.Tag{{Name: metrics.ContainerTag, Value: name}}
	var points []metrics.HostPoint
	for _, m := range []struct {
		name string
		read func(*container) (map[string]float64, error)
	}{
		{metrics.ContainerCPU, r.readCPU},
		{metrics.ContainerMemory, r.readMemory},
		{metrics.ContainerNetwork, r.readNetwork},
	} {
		fields, err := m.read(c)
		if len(fields) > 0 {
			points = append(points, metrics.HostPoint{Name: m.name, Tags: tags, Fields: fields})
		}
		if err != nil && !r.warned[m.name] && r.isThere(c) {
			r.warned[m.name] = true
			r.log.Warn("a measurement of a container is left out", "measurement", m.name, "container", name, "error", err)
		}
	}
	return points
}

// find sees to the container's group, and reports whether it is there.
func (r *Reader) find(c *container) bool {
	if c.group != "" {
		if r.isThere(c) {
			return true
		}
		c.group, c.pid = "", ""
	}
	_, err := os.Stat(filepath.Join(r.root, "cgroup.controllers"))
	c.second = err == nil
	for _, c.found = range []string{"memory", "cpuacct"} {
		for _, c.group = range []string{"docker/" + c.id, "system.slice/docker-" + c.id + ".scope"} {
			if r.isThere(c) {
				return true
			}
		}
		c.group = ""
		if c.tries%searchEvery == 1 {
			c.group = search(r.path(c, c.found, ""), c)
		}
		if c.group != "" || c.second {
			break
		}
	}
	return c.group != ""
}

// isThere reports whether the container's group is there; it is not any more
// when the container has ended.
func (r *Reader) isThere(c *container) bool {
	_, err := os.Stat(r.path(c, c.found, ""))
	return err == nil
}

// search looks for the group of an engine that puts them elsewhere.
func search(base string, c *container) (group string) {
	_ = filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir // gone, or not for us
			}
			return nil
		}
		if d.IsDir() && c.owns(path) {
			group, _ = filepath.Rel(base, path)
			return fs.SkipAll
		}
		return nil
	})
	return group
}

// owns reports whether a group of that path is the container's, by the names
// that the drivers cgroupfs and systemd give them.
func (c *container) owns(path string) bool {
	base := filepath.Base(path)
	return base == c.id || base == "docker-"+c.id+".scope"
}

// path is that of a file of the container's group; the controller matters in
// version 1 only.
func (r *Reader) path(c *container, controller, file string) string {
	if c.second {
		controller = ""
	}
	return filepath.Join(r.root, controller, c.group, file)
}

// readCPU returns the processor time since the last reading, in percent of one
// processor.
func (r *Reader) readCPU(c *container) (map[string]float64, error) {
	now := time.Now()
	var used float64
	if c.second {
		stat, err := readTable(r.path(c, "", "cpu.stat"), "usage_usec")
		if err != nil {
			return nil, err
		}
		used = stat["usage_usec"] / 1e6
	} else {
		ns, err := readNumber(r.path(c, "cpuacct", "cpuacct.usage"))
		if err != nil {
			return nil, err
		}
		used = ns / 1e9
	}
	passed, before := now.Sub(c.at).Seconds(), c.used
	first := c.at.IsZero()
	c.used, c.at = used, now
	if first || passed <= 0 || used < before {
		return nil, nil
	}
	return map[string]float64{"usage_percent": math.Round(1e4*(used-before)/passed) / 100}, nil
}

// readMemory returns what is in use without the files that are only kept as
// long as there is room for them, as the engine counts it, and the limit if one
// is set.
func (r *Reader) readMemory(c *container) (map[string]float64, error) {
	usage, limit, inactive := "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"
	kills := "memory.oom_control"
	if c.second {
		usage, limit, inactive, kills = "memory.current", "memory.max", "inactive_file", "memory.events"
	}
	fields := map[string]float64{}
	used, err := readNumber(r.path(c, "memory", usage))
	if err == nil {
		var stat map[string]float64
		stat, err = readTable(r.path(c, "memory", "memory.stat"), inactive)
		if err == nil {
			fields["usage"] = math.Max(0, used-stat[inactive])
		}
	}
	bound, limitErr := readNumber(r.path(c, "memory", limit))
	if limitErr == nil && bound < unlimited {
		fields["limit"] = bound
		if _, ok := fields["usage"]; ok && bound > 0 {
			fields["usage_percent"] = math.Round(1e4*fields["usage"]/bound) / 100
		}
	}
	events, killsErr := readTable(r.path(c, "memory", kills), "oom_kill")
	if killsErr == nil {
		fields["oom_kill"] = events["oom_kill"]
	}
	return fields, errors.Join(err, limitErr, killsErr)
}

// readNumber reads a file of one number; "max" is infinite.
func readNumber(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	word := strings.TrimSpace(string(text))
	if word == "max" {
		return math.Inf(1), nil
	}
	v, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return float64(v), nil
}

// readTable reads the numbers of these keys from a file of lines with a key and
// a number each. All of them have to be there.
func readTable(path string, keys ...string) (map[string]float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := make(map[string]float64, len(keys))
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) != 2 || !slices.Contains(keys, words[0]) {
			continue
		}
		if values[words[0]], err = strconv.ParseFloat(words[1], 64); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	if len(values) < len(keys) {
		return nil, fmt.Errorf("read %s: it has not all of %s", path, strings.Join(keys, ", "))
	}
	return values, nil
}
