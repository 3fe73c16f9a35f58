package hoststest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/internal/waittest"
)

// endLimit is how long what was killed may take to be gone.
const endLimit = 5 * time.Minute

// killAll kills what find finds, until it finds no more.
func killAll(t testing.TB, name string, find func() []int) {
	t.Helper()
	var pids []int
	gone := waittest.Holds(endLimit, func() bool {
		pids = find()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended is no matter
		}
		return len(pids) == 0
	})
	if !gone {
		t.Errorf("processes %v of %s can't be killed", pids, name)
	}
}

// cgroups returns the control groups of an engine's containers, in all
// hierarchies, the innermost first.
func cgroups(ns string) []string {
	var out []string
	for _, pattern := range []string{"/sys/fs/cgroup/loads-test-", "/sys/fs/cgroup/*/loads-test-"} {
		roots, _ := filepath.Glob(pattern + ns) // the only error is a bad pattern
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					out = append(out, path)
				}
				return nil // one that has gone meanwhile is no matter
			})
		}
	}
	slices.Reverse(out)
	return out
}

// members returns the processes in an engine's containers, which outlive an
// engine that is killed.
func members(ns string) []int {
	var pids []int
	for _, group := range cgroups(ns) {
		list, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue // gone
		}
		for f := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func removeCgroups(t testing.TB, ns string) {
	t.Helper()
	for _, group := range cgroups(ns) {
		if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("clean up hosts: %v", err)
		}
	}
}

// below returns the processes that name the folder in their command line: the
// engine, its containerd, and the shims of its containers, which have left the
// engine's process group.
func below(t testing.TB, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// unmountBelow unmounts what engine and containers have mounted, the innermost
// first.
func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	slices.Reverse(points)
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil && !errors.Is(err, fs.ErrNotExist) && err != syscall.EINVAL {
			t.Errorf("unmount %s: %v", p, err)
		}
	}
}
