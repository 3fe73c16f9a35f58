//go:build linux

package initd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeRoot makes the machine's root folder, moves into it, and goes on there
// as process 1 proper. It returns only with an error.
//
// All is done on one thread, since a namespace for control groups and
// capabilities are a thread's own until the program is replaced.
func makeRoot(configFile string) error {
	runtime.LockOSThread()
	text, err := os.ReadFile(configFile)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	if err := awaitGo(); err != nil {
		return err
	}
	groups, err := cgroupMounts()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare control groups: %w", err)
	}
	root := filepath.Join(c.Dir, "root")
	steps := []func() error{
		func() error { return mountDisk(c, root) },
		func() error { return mountSystem(root, groups) },
		func() error { return furnish(root, c) },
		func() error { return writeFile(filepath.Join(root, configPath), text, 0o600) },
		func() error { return enter(root) },
		func() error { return unix.Sethostname([]byte(c.Hostname)) },
		dropCapabilities,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, []string{stageTwo}, environment))
}

// environment is what every process of the machine has.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG=C.UTF-8",
}

func awaitGo() error {
	b := make([]byte, 1)
	n, err := syscall.Read(ControlFD, b)
	if err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	if n == 0 || string(b) != Go {
		return errors.New("not started")
	}
	return nil
}

// mountDisk makes the root from this computer's own, read only, and the
// machine's disk upon it.
func mountDisk(c Config, root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts apart: %w", err)
	}
	disk := filepath.Join(c.Dir, "disk")
	if err := mkdirs(disk, root); err != nil {
		return err
	}
	// The kernel frees the loop device itself when the last mount has gone.
	mount := exec.Command("mount", "-o", "loop,noatime,noinit_itable", filepath.Join(c.Dir, ImageFile), disk)
	if out, err := mount.CombinedOutput(); err != nil {
		return fmt.Errorf("mount the disk: %w: %s", err, strings.TrimSpace(string(out)))
	}
	upper, work := filepath.Join(disk, "upper"), filepath.Join(disk, "work")
	if !exists(upper) {
		if err := hideData(upper); err != nil {
			return err
		}
	}
	if err := mkdirs(upper, work); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	// Engines want a file system of their own kind below them, no overlay.
	for _, name := range []string{"docker", "containerd"} {
		from, to := filepath.Join(disk, name), filepath.Join(root, "var/lib", name)
		if err := mkdirs(from, to); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", to, err)
		}
	}
	return nil
}

// System folders of this computer that machines see; what else is at the
// root, and the folders of settings and data below, they see empty.
var (
	systemFolders = []string{"bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr", "var"}
	hiddenFolders = []string{
		"etc/docker", "etc/containerd", "etc/systemd/system", "etc/sysctl.d", "etc/cron.d",
		"usr/lib/systemd/system", "usr/local/lib/systemd/system",
		"var/backups", "var/cache", "var/lib/cloud", "var/lib/containerd", "var/lib/docker", "var/lib/systemd",
		"var/log", "var/mail", "var/spool", "var/tmp", "var/www",
	}
)

func hideData(upper string) error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return fmt.Errorf("read the root: %w", err)
	}
	hidden := slices.Clone(hiddenFolders)
	for _, e := range entries {
		if !slices.Contains(systemFolders, e.Name()) {
			hidden = append(hidden, e.Name())
		}
	}
	for _, name := range hidden {
		info, err := os.Lstat("/" + name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			continue
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
		path := filepath.Join(upper, name)
		if err := mkdirs(path); err != nil {
			return err
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
		if err := unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	return nil
}

// enter makes the folder the root, and leaves nothing of the old one in sight.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// dropCapabilities takes from the machine's root what would reach beyond the
// machine: this computer's clock and kernel modules.
func dropCapabilities() error {
	for _, c := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

func mkdirs(paths ...string) error {
	for _, p := range paths {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := mkdirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the mask is, or the mode was
}
