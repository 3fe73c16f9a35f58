//go:build linux

package nshost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/loads/loads/aws/ec2sim/nshost/initd"
)

// smallestDisk is the size of a disk whose size was not given, and the least.
const (
	defaultDisk  = 30 << 30 // as the ECS-optimized image has it
	smallestDisk = 256 << 20
)

// makeDisk makes the image of a disk, which takes only what is written to it.
func makeDisk(ctx context.Context, dir string, size int64) error {
	if size <= 0 {
		size = defaultDisk
	}
	path := filepath.Join(dir, initd.ImageFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	err = errors.Join(file.Truncate(max(size, smallestDisk)), file.Close())
	if err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	// Without a journal: after a crash of this computer no machine is left.
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a disk: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitRelease waits until the kernel has let go of all disks below the
// folder, which it does soon after the last process of their machines ended.
func awaitRelease(dir string) error {
	const limit = 30 * time.Second
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		used, err := loopsBelow(dir)
		if err != nil || len(used) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("disks below %s are still in use after %v: %v", dir, limit, used)
		}
	}
}

// loopsBelow returns the loop devices of images below the folder.
func loopsBelow(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var used []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(text), dir+"/") { // else it has just been released
			used = append(used, filepath.Base(filepath.Dir(filepath.Dir(f))))
		}
	}
	return used, nil
}
