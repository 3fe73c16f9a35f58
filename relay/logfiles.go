package relay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// A logFiles reads the files that an engine writes a container's output to, from
// the first on. The engine renames a full file: from NAME to NAME.1, that one to
// NAME.2, and so on, and removes the last. So a file is kept open until it is
// read to its end, and can be read also when the engine has removed it; then its
// successor follows. What can't be read is counted. It is for one goroutine at a
// time.
type logFiles struct {
	path  string // NAME
	files int    // how many the engine keeps
	text  *jsonFile
	// lost is told of bytes that were passed over, or of a gap, which is output
	// of unknown length that may have gone unread.
	lost func(bytes, gaps uint64)

	open   []logFile   // in the order of their writing; the first is being read
	newest os.FileInfo // of the last one found; nil when there was none
	read   int64       // bytes of the first
}

// logFile is an open file. After a gap it may not follow the one before it.
type logFile struct {
	*os.File
	info     os.FileInfo // of its opening
	afterGap bool
}

// advance reads the next piece into the buffer and passes it on. It reports
// false when there is nothing more to be read now.
func (l *logFiles) advance(buffer []byte) (bool, error) {
	if err := l.look(); err != nil {
		return false, err
	}
	if len(l.open) == 0 {
		return false, nil
	}
	n, err := l.open[0].Read(buffer)
	if n > 0 {
		l.read += int64(n)
		l.text.write(buffer[:n])
		return true, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the output of a container: %w", err)
	}
	if len(l.open) > 1 { // the next one was begun, so this one is complete
		l.close(1)
		return true, nil
	}
	return l.truncated()
}

// truncated begins again with a file that has become shorter, which an engine
// that keeps one file makes of a full one.
func (l *logFiles) truncated() (bool, error) {
	info, err := l.open[0].Stat()
	if err != nil {
		return false, fmt.Errorf("read the output of a container: %w", err)
	}
	if info.Size() >= l.read {
		return false, nil
	}
	if _, err := l.open[0].Seek(0, io.SeekStart); err != nil {
		return false, fmt.Errorf("read the output of a container: %w", err)
	}
	l.read = 0
	l.lost(0, 1)
	l.text.lost()
	return true, nil
}

// look opens the files that are new.
func (l *logFiles) look() error {
	stat, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not begun, or just being renamed
	}
	if err != nil {
		return fmt.Errorf("look for the output of a container: %w", err)
	}
	if l.newest != nil && os.SameFile(stat, l.newest) {
		return nil
	}
	found, follows, err := l.find()
	if err != nil {
		return err
	}
	for i := len(found) - 1; i >= 0; i-- {
		l.open = append(l.open, found[i])
	}
	if len(found) > 0 {
		l.newest = found[0].info
		if !follows {
			l.open[len(l.open)-len(found)].afterGap = true
			l.lost(0, 1)
		}
	}
	l.letGo()
	return nil
}

// find opens the files that are newer than the newest known, the newest first,
// and reports whether none can be missing in between. Files move on by one name
// while the engine renames them, so looking for them in that direction misses
// none.
func (l *logFiles) find() (found []logFile, follows bool, err error) {
	for i := range l.files {
		file, err := openLog(l.name(i))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			closeAll(found)
			return nil, false, err
		case l.newest != nil && os.SameFile(file.info, l.newest):
			closeAll([]logFile{file})
			return found, true, nil
		case len(found) > 0 && os.SameFile(file.info, found[len(found)-1].info):
			closeAll([]logFile{file}) // renamed meanwhile
		default:
			found = append(found, file)
		}
	}
	// Of as many as the engine keeps, the oldest need not be the first.
	return found, l.newest == nil && len(found) < l.files, nil
}

func (l *logFiles) name(i int) string {
	if i == 0 {
		return l.path
	}
	return l.path + "." + strconv.Itoa(i)
}

func openLog(path string) (logFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return logFile{}, fmt.Errorf("open the output of a container: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		closeAll([]logFile{{File: f}})
		return logFile{}, fmt.Errorf("open the output of a container: %w", err)
	}
	return logFile{File: f, info: info}, nil
}

// closeAll closes files that were only read, which can't fail in a way that
// matters.
func closeAll(files []logFile) {
	for _, f := range files {
		_ = f.Close()
	}
}

// letGo closes the oldest files when there are so many that the machine's disk
// would be full of files that the engine has removed. What is in them is lost.
func (l *logFiles) letGo() {
	if over := len(l.open) - 2*l.files; over > 0 {
		l.lost(l.left(l.open[:over]), 0)
		l.close(over)
		l.text.lost()
	}
}

// left is how many bytes of the files, of which the first is being read, have
// not been read.
func (l *logFiles) left(files []logFile) (bytes uint64) {
	for _, f := range files {
		if info, err := f.Stat(); err == nil {
			bytes += uint64(info.Size())
		}
	}
	return bytes - min(bytes, uint64(l.read))
}

// close closes the first n files and goes on with the next, if there is one.
func (l *logFiles) close(n int) {
	closeAll(l.open[:n])
	l.open = append(l.open[:0], l.open[n:]...)
	l.read = 0
	if len(l.open) > 0 && l.open[0].afterGap {
		l.text.lost()
	} else {
		l.text.next()
	}
}

// end says that nothing more is read. What is left is lost.
func (l *logFiles) end() {
	if left := l.left(l.open); left > 0 {
		l.lost(left, 0)
	}
	l.text.end()
	closeAll(l.open)
	l.open = nil
}
