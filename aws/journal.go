package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A journal keeps where anything was ever made, and what machines were
// launched for each run: EC2 itself forgets a machine an hour after its end.
// Its methods may be called concurrently.
type journal struct {
	dir string

	mu      sync.Mutex
	regions []string
	runs    map[string]made // those that were asked for since the start
}

// made are the machines that a run has had, by region.
type made map[string]had

// had are the ids of the machines that were launched for a run in a region, and
// of those that it took over from another.
type had struct{ Launched, Reused []string }

// UnmarshalJSON also reads what was written before machines were used again: a
// list of those launched.
func (h *had) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &h.Launched) == nil {
		return nil
	}
	type plain had
	return json.Unmarshal(data, (*plain)(h))
}

// ids are all machines that the run has had in the region.
func (h had) ids() []string { return slices.Concat(h.Launched, h.Reused) }

// runKept is how long the journal knows a run after its last launch.
const runKept = 90 * 24 * time.Hour

const regionsFile = "regions.json"

func openJournal(dir string) (*journal, error) {
	j := &journal{dir: dir, runs: map[string]made{}}
	if err := os.MkdirAll(filepath.Join(dir, "runs"), 0o700); err != nil {
		return nil, fmt.Errorf("open journal of launches: %w", err)
	}
	if err := readJSON(filepath.Join(dir, regionsFile), &j.regions); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(dir, "runs"))
	if err != nil {
		return nil, fmt.Errorf("open journal of launches: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err == nil && (time.Since(info.ModTime()) > runKept || !strings.HasSuffix(f.Name(), suffix)) {
			_ = os.Remove(filepath.Join(dir, "runs", f.Name()))
		}
	}
	return j, nil
}

// readJSON reads a file; one that is not there leaves the value as it is.
func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("read what was launched: %w", err)
	}
	return nil
}

func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		err = writeWhole(path, data)
	}
	if err != nil {
		return fmt.Errorf("write what was launched: %w", err)
	}
	return nil
}

// inUse returns the regions in which anything was ever made.
func (j *journal) inUse() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.regions)
}

// see notes that there is something in the region, on disk.
func (j *journal) see(region string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seeLocked(region)
}

func (j *journal) seeLocked(region string) error {
	if slices.Contains(j.regions, region) {
		return nil
	}
	next := append(slices.Clone(j.regions), region)
	if err := writeJSON(filepath.Join(j.dir, regionsFile), next); err != nil {
		return err
	}
	j.regions = next
	return nil
}

// noteHad keeps, on disk, that the run of a record has had its machine.
func (j *journal) noteHad(rec record) error {
	if rec.Taken.IsZero() {
		return j.note(rec.Request.RunUUID, rec.Region, rec.Instance)
	}
	return j.noteReused(rec.Request.RunUUID, rec.Region, rec.Instance)
}

// note keeps, on disk, that machines were launched for the run in the region;
// without any, that something is about to be made there.
func (j *journal) note(run, region string, machines ...string) error {
	return j.change(run, region, func(h *had) *[]string { return &h.Launched }, machines...)
}

// noteReused keeps, on disk, that the run takes the machine over.
func (j *journal) noteReused(run, region, machine string) error {
	return j.change(run, region, func(h *had) *[]string { return &h.Reused }, machine)
}

func (j *journal) change(run, region string, list func(*had) *[]string, machines ...string) error {
	if run == standbyRun {
		return j.see(region) // there is no receipt for it
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.seeLocked(region); err != nil {
		return err
	}
	all, err := j.load(run)
	if err != nil {
		return err
	}
	h, there := all[region]
	known := h.ids()
	machines = slices.DeleteFunc(slices.Clone(machines), func(id string) bool { return slices.Contains(known, id) })
	if there && len(machines) == 0 {
		return nil
	}
	next := maps.Clone(all)
	ids := list(&h)
	*ids = slices.Concat(*ids, machines)
	next[region] = h
	if err := writeJSON(j.file(run), next); err != nil {
		return err
	}
	j.runs[run] = next
	return nil
}

// of returns what the run has had.
func (j *journal) of(run string) (made, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m, err := j.load(run)
	return maps.Clone(m), err
}

func (j *journal) load(run string) (made, error) {
	if m, ok := j.runs[run]; ok {
		return m, nil
	}
	m := made{}
	if err := readJSON(j.file(run), &m); err != nil {
		return nil, err
	}
	j.runs[run] = m
	return m, nil
}

func (j *journal) file(run string) string {
	return filepath.Join(j.dir, "runs", filepath.Base(run)+suffix)
}
