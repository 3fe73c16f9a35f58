//go:build linux

package initd

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The units that a machine's image comes with: Docker's, as on the
// ECS-optimized Amazon Linux 2023.
//
//go:embed units
var imageUnits embed.FS

const (
	imageUnitDir = "/usr/lib/systemd/system"
	adminUnitDir = "/etc/systemd/system"
	dockerd      = "/usr/bin/dockerd"
)

// furnish puts the machine's own files into its root: process 1, the commands
// that talk to it, the image's units, and the names of the machine.
func furnish(root string, c Config) error {
	at := func(path string) string { return filepath.Join(root, path) }
	if err := writeFile(at(program), nil, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(c.Program, at(program), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", program, err)
	}
	for _, name := range commandNames {
		for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
			if err := link(program, at(filepath.Join(dir, name))); err != nil {
				return err
			}
		}
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", c.Address, c.Hostname)
	for path, text := range map[string]string{
		"/etc/hosts": hosts, "/etc/hostname": c.Hostname + "\n", "/etc/resolv.conf": "",
	} {
		if err := os.RemoveAll(at(path)); err != nil { // may be a link to elsewhere
			return err
		}
		if err := writeFile(at(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if exists(at(imageUnitDir + "/docker.service")) {
		return nil // the disk has been used before
	}
	return installDocker(root, c.NoDocker)
}

func installDocker(root string, broken bool) error {
	at := func(path string) string { return filepath.Join(root, path) }
	units, err := fs.ReadDir(imageUnits, "units")
	if err != nil {
		return err
	}
	for _, u := range units {
		text, err := imageUnits.ReadFile("units/" + u.Name())
		if err != nil {
			return err
		}
		if err := writeFile(at(filepath.Join(imageUnitDir, u.Name())), text, 0o644); err != nil {
			return err
		}
	}
	enabled := adminUnitDir + "/multi-user.target.wants/docker.service"
	if err := link(imageUnitDir+"/docker.service", at(enabled)); err != nil {
		return err
	}
	if broken {
		const text = "#!/bin/sh\necho 'dockerd: this machine has a broken engine' >&2\nexit 1\n"
		// Wherever this computer has its own: user data may look for it.
		for _, path := range []string{dockerd, "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/usr/local/sbin/dockerd"} {
			if path != dockerd && !exists(at(path)) {
				continue
			}
			if err := os.RemoveAll(at(path)); err != nil {
				return err
			}
			if err := writeFile(at(path), []byte(text), 0o755); err != nil {
				return err
			}
		}
		return nil
	}
	for _, path := range []string{dockerd, "/usr/bin/containerd"} {
		found, err := exec.LookPath(filepath.Base(path))
		if err != nil {
			return err
		}
		if found != path && !exists(at(path)) {
			if err := link(found, at(path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// link makes a symbolic link, in place of what is there.
func link(target, path string) error {
	if err := mkdirs(filepath.Dir(path)); err != nil {
		return err
	}
	if got, err := os.Readlink(path); err == nil && got == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}
