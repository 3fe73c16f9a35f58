//go:build linux

package nshost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const defaultDir = "/var/tmp/loads-ec2sim"

func dirOr(dir string) string {
	if dir == "" {
		return defaultDir
	}
	return filepath.Clean(dir)
}

// A claim is what a simulator has to itself: a name, by which all it makes can
// be found, a folder of that name, and a range of addresses. A lock on a file
// of the folder, which the kernel drops with the process, tells whether it is
// in use.
type claim struct {
	name   string
	dir    string
	prefix netip.Prefix
	lock   *os.File
}

// newClaim removes leftovers and makes a claim. One process at a time does so.
func newClaim(ctx context.Context, base string) (*claim, error) {
	all, err := lockBase(base)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if err := removeLeftovers(ctx, base); err != nil {
		return nil, err
	}
	c := &claim{name: fmt.Sprintf("%06x", rand.N(1<<24))}
	if c.prefix, err = unclaimedSubnet(base); err != nil {
		return nil, err
	}
	c.dir = filepath.Join(base, c.name)
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("claim a folder for machines: %w", err)
	}
	if c.lock, err = lockFile(filepath.Join(c.dir, "lock"), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "subnet"), []byte(c.prefix.String()), 0o600); err != nil {
		return nil, fmt.Errorf("claim addresses for machines: %w", err)
	}
	return c, nil
}

func lockBase(base string) (*os.File, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of machines: %w", err)
	}
	return lockFile(filepath.Join(base, ".lock"), syscall.LOCK_EX)
}

func lockFile(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// device is the name of this computer's end of the uplink.
func (c *claim) device() string { return device(c.name) }

func device(name string) string { return "ec2s" + name }

// release removes all that has the claim's name.
func (c *claim) release() error {
	err := remove(context.Background(), filepath.Dir(c.dir), c.name)
	return errors.Join(err, c.lock.Close())
}

// unclaimedSubnet picks a range that is free, and that no simulator has
// claimed that is about to use it.
func unclaimedSubnet(base string) (netip.Prefix, error) {
	files, err := filepath.Glob(filepath.Join(base, "*", "subnet"))
	if err != nil {
		return netip.Prefix{}, err
	}
	for range 50 {
		p, err := freeSubnet()
		if err != nil {
			return p, err
		}
		taken := false
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue // released meanwhile
			}
			other, err := netip.ParsePrefix(string(text))
			taken = taken || err == nil && other.Overlaps(p)
		}
		if !taken {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("all ranges of addresses for machines are claimed")
}

// Cleanup removes what simulators with the folder have left that were killed:
// processes, control groups, links and files that carry their names. It
// touches nothing of those that run. An empty dir is the default one.
func Cleanup(ctx context.Context, dir string) error {
	base := dirOr(dir)
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all, err := lockBase(base)
	if err != nil {
		return err
	}
	defer all.Close()
	return removeLeftovers(ctx, base)
}

func removeLeftovers(ctx context.Context, base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !isClaimName(e.Name()) {
			continue
		}
		lock, err := lockFile(filepath.Join(base, e.Name(), "lock"), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue // in use
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, remove(ctx, base, e.Name()), lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	return nil
}

func isClaimName(name string) bool {
	return len(name) == 6 && strings.Trim(name, "0123456789abcdef") == ""
}

// remove removes all that has the name.
func remove(ctx context.Context, base, name string) error {
	dir := filepath.Join(base, name)
	if err := errors.Join(removeCgroups(cgroupName(name)), awaitRelease(dir)); err != nil {
		return err
	}
	var here *namespace
	_ = here.run(ctx, "", "ip", "link", "del", device(name)) // goes with its other end, which may have gone
	return os.RemoveAll(dir)
}
