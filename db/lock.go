package db

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/loads/loads/broker"
)

// A fileLock is an exclusive lock on <database>.lock, which holds the pid of
// its owner. The kernel lets go of it when the owner dies, however it dies. The
// file stays: a lock file that comes and goes can be locked by two at once.
type fileLock struct {
	file *os.File
}

// acquireLock locks the database in path, or says in a sentence who has it.
func acquireLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of database: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = broker.Errorf(broker.EUnavailable,
			"The database %s is in use by another broker%s; stop that one, or give this one another file.",
			path, owner(f))
		return nil, errors.Join(err, f.Close())
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", errors.Join(err, f.Close()))
	}
	return &fileLock{file: f}, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// owner returns " (pid 1234)", or nothing while the owner has not written it.
func owner(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	pid, convErr := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || convErr != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// release unlocks by closing; the kernel does the rest.
func (l *fileLock) release() error { return l.file.Close() }
