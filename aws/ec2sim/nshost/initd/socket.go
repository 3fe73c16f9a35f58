//go:build linux

package initd

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
)

// A socket is a listening stream socket that outlives the service it is handed
// to. It doesn't start the service.
type socket struct {
	name string

	mu   sync.Mutex
	file *os.File // nil when it isn't started
}

func (s *socket) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return inactive
	}
	return active
}

func (s *socket) start() error {
	unit, err := loadUnit(s.name, unitDirs...)
	if err != nil {
		return err
	}
	path := unit.last("Socket", "ListenStream", "")
	if !filepath.IsAbs(path) {
		return fmt.Errorf("the unit has ListenStream=%s, and machines of the simulator have sockets at paths only", path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = os.Remove(path) // of an earlier boot
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		return err
	}
	if err := permit(path, unit); err != nil {
		_ = file.Close()
		return err
	}
	s.file = file
	return nil
}

func permit(path string, unit unitFile) error {
	mode, err := strconv.ParseUint(unit.last("Socket", "SocketMode", "0666"), 8, 32)
	if err != nil {
		return fmt.Errorf("read SocketMode: %w", err)
	}
	if err := os.Chmod(path, os.FileMode(mode)); err != nil {
		return err
	}
	group, err := user.LookupGroup(unit.last("Socket", "SocketGroup", "root"))
	if err != nil {
		return nil // this computer has no such group; root may use it
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, 0, gid)
}

func (s *socket) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// sockets returns the open ones among the named.
func (m *manager) sockets(names []string) []*os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	var files []*os.File
	seen := map[string]bool{}
	for _, name := range names {
		s, ok := m.units[name].(*socket)
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		s.mu.Lock()
		if s.file != nil {
			files = append(files, s.file)
		}
		s.mu.Unlock()
	}
	return files
}
