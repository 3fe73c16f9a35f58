package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// container is one of the plan's containers on the machine.
type container struct {
	ID   string `json:"id"` // the engine's, in full
	Name string `json:"name"`
}

// containersFile is the file in which the broker lists the plan's containers on
// the machine. It is written before they start, and again when they are made
// anew. It is for one goroutine at a time.
type containersFile struct {
	path string
	read time.Time   // when the file was last looked into
	stat os.FileInfo // of that time; nil when there was no file
	list []container
}

// containers returns the list. It reads the file when that has changed, so it
// may be asked each second. While the file can't be read, since it is being
// replaced, the list stays as it is, and the error says why.
func (f *containersFile) containers() ([]container, error) {
	if f.path == "" {
		return nil, nil
	}
	stat, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.list, nil
	}
	if err != nil {
		return f.list, fmt.Errorf("read the list of containers: %w", err)
	}
	// One that was replaced within the clock's grain looks unchanged, so what
	// was read soon after the writing is read again.
	settled := f.read.Sub(stat.ModTime()) > time.Second
	if f.stat != nil && settled && sameFile(f.stat, stat) {
		return f.list, nil
	}
	now := time.Now()
	text, err := os.ReadFile(f.path)
	if err != nil {
		return f.list, fmt.Errorf("read the list of containers: %w", err)
	}
	var list []container
	if err := json.Unmarshal(text, &list); err != nil {
		return f.list, fmt.Errorf("read the list of containers, %s: %w", f.path, err)
	}
	f.list, f.stat, f.read = list, stat, now
	return f.list, nil
}

// sameFile reports whether a file looks as it did.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
