package influx

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api/write"
)

// A LineFile keeps points as InfluxDB's line protocol, with times in ms, in a
// gzip file, which grows by one member a batch. A point may be in it more than
// once: the last one counts, as in InfluxDB. It is for one goroutine.
type LineFile struct{ f *os.File }

// OpenLines opens the file, or makes it. What a process that was killed has
// left half written is cut off.
func OpenLines(path string) (*LineFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open file of points: %w", err)
	}
	whole, err := wholeMembers(f)
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read file of points: %w", err), f.Close())
	}
	return &LineFile{f: f}, nil
}

// wholeMembers is the length of the gzip members that are whole.
func wholeMembers(f *os.File) (whole int64, err error) {
	counted := &counter{r: f}
	in := bufio.NewReader(counted)
	z := new(gzip.Reader)
	for {
		if err := z.Reset(in); err != nil {
			return whole, unlessTorn(err)
		}
		z.Multistream(false)
		if _, err := io.Copy(io.Discard, z); err != nil {
			return whole, unlessTorn(err)
		}
		whole = counted.n - int64(in.Buffered())
	}
}

// unlessTorn is nil for what says that a file ends, or is no gzip from there on.
func unlessTorn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return nil
	}
	return err
}

// A counter counts the bytes that are read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Add adds points.
func (l *LineFile) Add(points []*write.Point) error {
	if len(points) == 0 {
		return nil
	}
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	for _, p := range points {
		if _, err := io.WriteString(z, write.PointToLineProtocol(p, time.Millisecond)); err != nil {
			return fmt.Errorf("pack points: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("pack points: %w", err)
	}
	if _, err := l.f.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("keep points: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *LineFile) Close() error { return l.f.Close() }
