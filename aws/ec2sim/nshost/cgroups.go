//go:build linux

package nshost

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupName is the control group of all machines of a simulator.
func cgroupName(simulator string) string { return "loads-ec2sim-" + simulator }

// A hierarchy is a tree of control groups.
type hierarchy struct {
	path string
	v2   bool
}

// hierarchies are the trees that this computer has mounted.
func hierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list control groups: %w", err)
	}
	defer file.Close()
	var all []hierarchy
	for s := bufio.NewScanner(file); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		f := strings.Fields(before)
		if len(f) < 5 || !strings.HasPrefix(f[4], "/sys/fs/cgroup") {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		if kind == "cgroup" || kind == "cgroup2" {
			all = append(all, hierarchy{f[4], kind == "cgroup2"})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no control groups are mounted below /sys/fs/cgroup")
	}
	return all, nil
}

// joinCgroup makes the control group, a path of names, in all hierarchies, and
// moves the process into it.
func joinCgroup(group string, pid int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := h.join(group, pid); err != nil {
			return fmt.Errorf("move process %d to its control group: %w", pid, err)
		}
	}
	return nil
}

func (h hierarchy) join(group string, pid int) error {
	path := h.path
	for part := range strings.SplitSeq(group, "/") {
		if h.v2 {
			h.delegate(path)
		}
		path = filepath.Join(path, part)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := inheritCPUs(path); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// delegate lets the group's children have the controllers that the group has;
// those that can't be had there, Docker does without.
func (h hierarchy) delegate(path string) {
	text, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if err != nil {
		return
	}
	for c := range strings.FieldsSeq(string(text)) {
		_ = os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// inheritCPUs gives a new group of version 1 the processors and memory nodes
// of its parent, without which it takes no process.
func inheritCPUs(path string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(path, name))
		if err != nil || strings.TrimSpace(string(own)) != "" {
			continue // not of this tree, or set
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil || strings.TrimSpace(string(parent)) == "" {
			continue // version 2 inherits by itself
		}
		if err := os.WriteFile(filepath.Join(path, name), parent, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups ends all processes in the group and those below it, and
// removes them.
func removeCgroups(group string) error {
	const limit = 30 * time.Second
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		var last error
		for _, path := range groupsBelow(group) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left, last = left+1, err
				killMembers(path)
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("remove control groups: %w", last)
		}
	}
}

// groupsBelow returns the group's folders in all hierarchies, the innermost
// first.
func groupsBelow(group string) []string {
	all, err := hierarchies()
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range all {
		_ = filepath.WalkDir(filepath.Join(h.path, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil // one that has gone meanwhile is no matter
		})
	}
	slices.Reverse(out)
	return out
}

func killMembers(path string) {
	text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		return // gone
	}
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended is no matter
		}
	}
}
