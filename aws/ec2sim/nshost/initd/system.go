//go:build linux

package initd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountSystem mounts what a kernel shows: /proc, /sys, /dev, /run and the
// control groups.
func mountSystem(root string, groups []cgroupMount) error {
	at := func(path string) string { return filepath.Join(root, path) }
	if err := mkdirs(at("proc"), at("sys"), at("dev"), at("run"), at("tmp")); err != nil {
		return err
	}
	const noexec = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	for _, m := range []struct {
		kind, path, options string
		flags               uintptr
	}{
		{"proc", "proc", "", noexec},
		{"sysfs", "sys", "", noexec | unix.MS_RDONLY},
		{"tmpfs", "dev", "mode=755,size=1m", unix.MS_NOSUID},
		{"tmpfs", "run", "mode=755", unix.MS_NOSUID},
		{"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"mqueue", "dev/mqueue", "", noexec},
		{"tmpfs", "sys/fs/cgroup", "mode=755", noexec},
	} {
		if m.path == "sys/fs/cgroup" && len(groups) == 1 && groups[0].point == "/sys/fs/cgroup" {
			continue // version 2 only: it is mounted right there
		}
		if err := mountAt(at(m.path), m.kind, m.options, m.flags); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if err := mountAt(at(g.point), g.kind, g.options, noexec); err != nil {
			return err
		}
	}
	if err := makeDevices(at("dev")); err != nil {
		return err
	}
	return keepKernelSettings(at("proc"), at("run"))
}

func mountAt(path, kind, options string, flags uintptr) error {
	if !exists(path) {
		if err := mkdirs(path); err != nil {
			return err
		}
	}
	if err := unix.Mount(kind, path, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// A cgroupMount is a hierarchy of control groups, where this computer has it.
type cgroupMount struct{ point, kind, options string }

// cgroupMounts returns the hierarchies that this computer has, of version 1, 2
// or both.
func cgroupMounts() ([]cgroupMount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer file.Close()
	var mounts []cgroupMount
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 || !strings.HasPrefix(f[4], "/sys/fs/cgroup") {
			continue
		}
		switch g[0] {
		case "cgroup":
			mounts = append(mounts, cgroupMount{f[4], g[0], v1Options(g[2])})
		case "cgroup2":
			mounts = append(mounts, cgroupMount{f[4], g[0], ""})
		}
	}
	return mounts, nil
}

// v1Options keeps of a hierarchy's options those that say which it is.
func v1Options(all string) string {
	var out []string
	for o := range strings.SplitSeq(all, ",") {
		if o != "rw" && o != "ro" && !strings.HasPrefix(o, "release_agent=") && o != "xattr" && o != "clone_children" {
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

func makeDevices(dev string) error {
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3},
		{"zero", 1, 5},
		{"full", 1, 7},
		{"random", 1, 8},
		{"urandom", 1, 9},
		{"tty", 5, 0},
		{"fuse", 10, 229},
		{"net/tun", 10, 200},
	} {
		path := filepath.Join(dev, d.name)
		if err := mkdirs(filepath.Dir(path)); err != nil {
			return err
		}
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make %s: %w", path, err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx", "console": "/proc/1/fd/1",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return nil
}

// keepKernelSettings gives the machine copies of the kernel's settings that
// are not a namespace's own: what it sets there it can read back, and this
// computer stays as it is. Those of the network are real. The trigger for
// emergencies is a pipe that process 1 reads, since the real one would turn
// off this computer.
func keepKernelSettings(proc, run string) error {
	sys := filepath.Join(proc, "sys")
	entries, err := os.ReadDir(sys)
	if err != nil {
		return fmt.Errorf("read kernel settings: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "net" {
			continue
		}
		from, to := filepath.Join(sys, e.Name()), filepath.Join(run, "machine", "sys", e.Name())
		if err := copyReadable(from, to); err != nil {
			return fmt.Errorf("copy kernel settings: %w", err)
		}
		if e.Name() == "kernel" { // a new uuid each time it is read
			random := filepath.Join(to, "random")
			if err := mkdirs(random); err != nil {
				return err
			}
			if err := unix.Mount(filepath.Join(from, "random"), random, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", random, err)
			}
		}
		if err := unix.Mount(to, from, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", from, err)
		}
	}
	trigger := filepath.Join(run, "machine", "sysrq")
	if err := unix.Mkfifo(trigger, 0o200); err != nil {
		return fmt.Errorf("make %s: %w", trigger, err)
	}
	real := filepath.Join(proc, "sysrq-trigger")
	if !exists(real) {
		return nil // not every kernel has it
	}
	if err := unix.Mount(trigger, real, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", trigger, err)
	}
	return nil
}

// copyReadable copies the files of a folder; one that can't be read is empty.
func copyReadable(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return mkdirs(target)
		}
		text, _ := os.ReadFile(path) // some are there only to be written
		return os.WriteFile(target, text, 0o644)
	})
}
