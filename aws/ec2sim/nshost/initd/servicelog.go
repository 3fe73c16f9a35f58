//go:build linux

package initd

import (
	"os"
	"path/filepath"
	"strings"
)

// unitLogs is where services' output goes, a file each, new with each boot.
const unitLogs = "/var/log/units"

func (s *service) logPath() string { return filepath.Join(unitLogs, s.name+".log") }

func (s *service) openLog() (*os.File, error) {
	if err := mkdirs(unitLogs); err != nil {
		return nil, err
	}
	return os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

// tail returns the last lines of the service's output, each on a new line.
func (s *service) tail() string {
	const lines, most = 10, 16 << 10
	file, err := os.Open(s.logPath())
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		if _, err := file.Seek(-most, 2); err != nil {
			return ""
		}
	}
	buf := make([]byte, most)
	n, _ := file.Read(buf) // none is an empty tail
	all := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	return "\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
