package relay

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// logPause is how long is waited when there is no output to read.
	logPause = 50 * time.Millisecond
	// logDrain is how long output is still read after the end. It is written by
	// then, and a machine reads far more in that time than an engine keeps.
	logDrain = 20 * time.Second
	// logTurn is how many pieces of one container's output are read before
	// another's turn comes, and logPiece how many bytes a piece has.
	logTurn  = 16
	logPiece = 128 << 10
	// DefaultLogFiles is how many files engines keep of a container's output
	// unless told otherwise.
	DefaultLogFiles = 5
)

// logs reads the output of the plan's containers and makes values of it.
type logs struct {
	folder   string // of the engine, with a folder for each container in it
	files    int
	list     containersFile
	matcher  *matcher
	received *aggregate
	log      *slog.Logger

	followed []*followed
	values   []logValue // scratch
	buffer   []byte
	failed   string // the last fault logged
}

// followed is a container whose output is read.
type followed struct {
	container
	logFiles
	listed bool  // the container is in the list now
	failed error // of the last try
}

func newLogs(cfg Config, received *aggregate) (*logs, error) {
	if len(cfg.LogMetrics) == 0 {
		return nil, nil
	}
	if cfg.Containers == "" || cfg.Logs == "" {
		return nil, errors.New("log metrics need the list of containers, and the engine's folder of their output")
	}
	m, err := newMatcher(cfg.LogMetrics)
	if err != nil {
		return nil, err
	}
	return &logs{
		folder: cfg.Logs, files: cfg.LogFiles, list: containersFile{path: cfg.Containers}, matcher: m,
		received: received, log: cfg.Log, buffer: make([]byte, logPiece),
	}, nil
}

// follow reads until ctx is done, and then what was written until then.
func (l *logs) follow(ctx context.Context) {
	pause := time.NewTicker(logPause)
	defer pause.Stop()
	for ctx.Err() == nil {
		if l.round() {
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	for until := time.Now().Add(logDrain); l.round() && time.Now().Before(until); {
	}
	l.end()
}

// round reads a little of each container's output, and reports whether there
// may be more.
func (l *logs) round() (more bool) {
	l.update()
	for _, f := range l.followed {
		for range logTurn {
			again, err := f.advance(l.buffer)
			f.failed = err
			l.warn(err)
			if !again {
				break
			}
			more = true
		}
	}
	return more
}

// update follows the containers of the list. One that is gone from it is
// followed to the end of its output.
func (l *logs) update() {
	list, err := l.list.containers()
	l.warn(err)
	for _, f := range l.followed {
		f.listed = false
	}
	for _, c := range list {
		l.find(c).listed = true
	}
}

func (l *logs) find(c container) *followed {
	for _, f := range l.followed {
		if f.ID == c.ID {
			return f
		}
	}
	f := &followed{container: c}
	f.logFiles = logFiles{
		path: filepath.Join(l.folder, c.ID, c.ID+"-json.log"), files: l.files,
		text: &jsonFile{line: l.line, bad: l.received.badOutput}, lost: l.received.lostOutput,
	}
	l.followed = append(l.followed, f)
	return f
}

// line makes values of a line.
func (l *logs) line(text []byte, stderr bool) {
	l.values = l.values[:0]
	l.matcher.match(text, stderr, func(v logValue) { l.values = append(l.values, v) })
	l.received.output(text, l.values)
}

// warn tells of a fault for the first time.
func (l *logs) warn(err error) {
	if err != nil && err.Error() != l.failed {
		l.failed = err.Error()
		l.log.Warn("output of containers is not read", "error", err)
	}
}

// end counts what was not read: output that could not be, and that of
// containers that the engine must have, but not where it was looked for.
func (l *logs) end() {
	for _, f := range l.followed {
		f.end()
		_, err := os.Stat(filepath.Dir(f.path))
		if f.failed != nil || f.listed && errors.Is(err, fs.ErrNotExist) {
			l.received.lostOutput(0, 1)
			l.log.Warn("output of a container was not read to its end", "container", f.Name, "error", errors.Join(f.failed, err))
		}
	}
	if l.list.stat == nil && l.failed != "" {
		l.received.lostOutput(0, 1) // there was a list, and nobody knows of whom
	}
}
