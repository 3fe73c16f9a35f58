package hoststats

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/loads/loads/metrics"
)

// maxStrays bounds how many a survey names.
const maxStrays = 5

// containerID is how engines name the control groups of containers.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// Survey looks at the disk below root, and, in the proc file system of the
// machine at proc, for processes of other containers than the own one, which is
// known by the file self. Processes that have come out of their container are
// still in its control group.
func Survey(ctx context.Context, root, proc, self string) (metrics.Survey, error) {
	usage, err := disk.UsageWithContext(ctx, root)
	if err != nil {
		return metrics.Survey{}, fmt.Errorf("look at the disk: %w", err)
	}
	found := metrics.Survey{Free: usage.Free, Total: usage.Total}
	groups, err := os.ReadFile(self)
	if err != nil {
		return metrics.Survey{}, fmt.Errorf("read the own control groups: %w", err)
	}
	own := containerID.FindAllString(string(groups), -1)
	entries, err := os.ReadDir(proc)
	if err != nil {
		return metrics.Survey{}, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil || len(found.Strays) == maxStrays {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil {
			continue // it has ended
		}
		isOther := func(id string) bool { return !slices.Contains(own, id) }
		if slices.ContainsFunc(containerID.FindAllString(string(groups), -1), isOther) {
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			found.Strays = append(found.Strays, e.Name()+" "+strings.TrimSpace(string(name)))
		}
	}
	return found, nil
}
