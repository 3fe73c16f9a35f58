//go:build linux

package initd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// unmask makes a unit usable again that was linked to nothing.
func unmask(name string) error {
	path := filepath.Join(adminUnitDir, name)
	if target, err := os.Readlink(path); err != nil || target != "/dev/null" {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("unmask %s: %w", name, err)
	}
	return nil
}

// cat shows a unit as all its files together say it.
func cat(name string) reply {
	unit, err := loadUnit(name, unitDirs...)
	if err != nil {
		return failure(err)
	}
	var out strings.Builder
	for _, section := range sortedKeys(unit) {
		fmt.Fprintf(&out, "[%s]\n", section)
		for _, key := range sortedKeys(unit[section]) {
			for _, value := range unit[section][key] {
				fmt.Fprintf(&out, "%s=%s\n", key, value)
			}
		}
	}
	return reply{Out: out.String()}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
