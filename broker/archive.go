package broker

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/strategies"
)

// An Archiver keeps files where they outlive the broker and its computer. It
// may be used by many goroutines at once.
type Archiver interface {
	// Store puts the file at the address, such as s3://bucket/key, and returns the
	// store's own checksum of it. upload is what note was given last, also by a
	// process that is gone: from there on it goes on. note stores what an upload
	// is called, before anything depends on it. When Store has succeeded, no other
	// upload for the address is left. An error tells users what to do.
	Store(ctx context.Context, url string, f *os.File, upload string, note func(upload string) error) (checksum string, err error)
	// Forget ends the uploads for the address that are not finished.
	Forget(ctx context.Context, url string) error
}

// ArchiveConfig says what is kept of runs, and where.
type ArchiveConfig struct {
	// URL is where, such as s3://bucket/prefix; empty archives only runs whose
	// monitor step names a bucket.
	URL string
	// Documents are the reports in an archive.
	Documents []Document
	// Retry is the pause after a first failure, doubled after each that follows
	// up to 64 times as much; 0 is five seconds.
	Retry time.Duration
}

// A Document is a report that is written into archives.
type Document struct {
	Name  string // of the file
	Write func(io.Writer, Dossier) error
}

// bucketVariable is the variable of a monitor step that names a bucket, as in
// loads v2.
const bucketVariable = "INFLUXDB_S3_BUCKET"

// archiveTail is how many lines of each container's output reports in archives
// have; all that is kept of them is beside.
const archiveTail = 50

// pointsFile is where the points are that a run's monitor was given.
func (b *Broker) pointsFile(run string) string {
	return filepath.Join(b.runDir(run), "influxdb.lp.gz")
}

// archiveURL is where the run is to be archived; empty when it is not.
func (x *execution) archiveURL() (string, error) {
	key := path.Join(keyPart(x.ref.ProjectName), keyPart(x.ref.PlanName), x.ref.UUID+".tar.gz")
	if x.monitor != nil {
		env, err := x.monitorEnv(&machine{Machine: Machine{Step: x.monitor.index}})
		if err != nil {
			return "", err
		}
		if bucket := env[bucketVariable]; bucket != "" {
			return "s3://" + bucket + "/" + key, nil
		}
	}
	if x.b.cfg.Archive.URL == "" {
		return "", nil
	}
	return strings.TrimRight(x.b.cfg.Archive.URL, "/") + "/" + key, nil
}

// keyPart makes a name fit for one part of a key in a store.
func keyPart(name string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._- ", r):
			return r
		}
		return '-'
	}, name)
	if kept = strings.Trim(kept, ". "); kept == "" {
		return "-"
	}
	return kept
}

// planArchive stores, before the run is completed, that it is to be archived.
func (x *execution) planArchive(ctx context.Context) error {
	url, err := x.archiveURL()
	switch {
	case err != nil:
		return x.note(ctx, fmt.Sprintf("The run is not archived: %v.", err))
	case url == "":
		return nil
	case x.b.cfg.Archiver == nil:
		return x.note(ctx, fmt.Sprintf("The run is not archived at %s: start the broker with --archive, or with --ec2.", url))
	}
	if _, err := x.b.cfg.Store.Archive(ctx, x.ref.UUID); err == nil || CodeOf(err) != ENotFound {
		return err
	}
	return x.b.cfg.Store.SaveArchive(ctx, x.ref, Archive{RunUUID: x.ref.UUID, URL: url})
}

// Archive returns where the run is archived, or is to be; ENotFound when it is
// not.
func (b *Broker) Archive(ctx context.Context, runUUID string) (Archive, error) {
	return b.cfg.Store.Archive(ctx, runUUID)
}

// Archiving reports whether a run is being archived, without trouble.
func (b *Broker) Archiving(ctx context.Context) (bool, error) {
	if b.cfg.Archiver == nil {
		return false, nil
	}
	list, err := b.cfg.Store.Archives(ctx)
	return slices.ContainsFunc(list, func(a Archive) bool { return a.Trouble == "" }), err
}

// Monitor returns the run's own InfluxDB and Grafana; ENotFound when it has none.
func (b *Broker) Monitor(ctx context.Context, runUUID string) (Monitor, error) {
	return b.cfg.Store.Monitor(ctx, runUUID)
}

// archiveLoop archives runs that are over, one after the other, and tries again
// those that failed, until ctx ends. What is under way then goes on at the
// next start.
func (b *Broker) archiveLoop(ctx context.Context) {
	first := b.cfg.Archive.Retry
	if first <= 0 {
		first = 5 * time.Second
	}
	next, pause := map[string]time.Time{}, map[string]time.Duration{}
	for ctx.Err() == nil {
		wait := time.Hour
		list, err := b.cfg.Store.Archives(ctx)
		if err != nil {
			b.cfg.Log.Error("read what is to be archived", "error", err)
			wait = first
		}
		for _, a := range list {
			if left := time.Until(next[a.RunUUID]); left > 0 {
				wait = min(wait, left)
				continue
			}
			if err := b.archive(ctx, a); err != nil && ctx.Err() == nil {
				p := min(max(2*pause[a.RunUUID], first), 64*first)
				pause[a.RunUUID], next[a.RunUUID] = p, time.Now().Add(p)
				wait = min(wait, p)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.archives:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// wakeArchiver has archiveLoop look for what is to be archived.
func (b *Broker) wakeArchiver() {
	select {
	case b.archives <- struct{}{}:
	default: // it will look already
	}
}

// archive archives one run, if it is over, and tells in its history how that
// went. That of a run that was deleted is ended.
func (b *Broker) archive(ctx context.Context, a Archive) error {
	run, err := b.cfg.Store.Run(ctx, a.RunUUID)
	if CodeOf(err) == ENotFound {
		return b.forgetArchive(ctx, a)
	}
	if err != nil || run.State != Completed {
		return err
	}
	if err = b.storeArchive(ctx, &run, &a); err == nil || ctx.Err() != nil {
		return err
	}
	b.cfg.Log.Error("archive a run; it is tried again", "run", run.UUID, "url", a.URL, "error", err)
	text := strings.TrimRight(oneLine(err.Error()), ".")
	if a.Trouble == text {
		return err
	}
	note := Event{Kind: EventNote, Text: fmt.Sprintf("The run can't be archived now; it is tried again: %s.", text)}
	a.Trouble = text
	if saveErr := b.cfg.Store.SaveArchive(ctx, &run, a, note); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	b.hub.notify(run.UUID)
	return err
}

func (b *Broker) forgetArchive(ctx context.Context, a Archive) error {
	if err := b.cfg.Archiver.Forget(ctx, a.URL); err != nil {
		b.cfg.Log.Warn("end the upload of a run that was deleted", "run", a.RunUUID, "url", a.URL, "error", err)
		return err
	}
	return errors.Join(b.deleteLogs(a.RunUUID), b.cfg.Store.DeleteArchive(ctx, a.RunUUID))
}

func (b *Broker) storeArchive(ctx context.Context, run *Run, a *Archive) error {
	f, err := b.archiveFile(ctx, run, a)
	if err != nil {
		return err
	}
	defer f.Close()
	note := func(upload string) error {
		a.Upload = upload
		return b.cfg.Store.SaveArchive(ctx, run, *a)
	}
	if a.Checksum, err = b.cfg.Archiver.Store(ctx, a.URL, f, a.Upload, note); err != nil {
		return err
	}
	a.Upload, a.Trouble, a.Done = "", "", true
	text := fmt.Sprintf("The run is archived at %s: %d bytes, SHA-256 %s.", a.URL, a.Size, a.SHA256)
	if err := b.cfg.Store.SaveArchive(ctx, run, *a, Event{Kind: EventNote, Text: text}); err != nil {
		return err
	}
	b.hub.notify(run.UUID)
	for _, name := range []string{f.Name(), b.pointsFile(run.UUID)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.cfg.Log.Warn("remove what is archived", "run", run.UUID, "error", err)
		}
	}
	return nil
}

// archiveFile opens the file that is to be stored. It is made once, so that an
// upload can go on with it.
func (b *Broker) archiveFile(ctx context.Context, run *Run, a *Archive) (*os.File, error) {
	name := filepath.Join(b.runDir(run.UUID), "archive.tar.gz")
	if a.SHA256 != "" {
		f, err := os.Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("make archive: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make archive: %w", err)
	}
	sum := sha256.New()
	err = b.writeArchive(ctx, io.MultiWriter(f, sum), run)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		a.Size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		a.SHA256 = hex.EncodeToString(sum.Sum(nil))
		err = b.cfg.Store.SaveArchive(ctx, run, *a)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make archive: %w", err), f.Close())
	}
	return f, nil
}

// writeArchive writes the reports of the run, and all files that are kept of
// it: logs, captured outputs and the points of its monitor.
func (b *Broker) writeArchive(ctx context.Context, w io.Writer, run *Run) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	dossier, err := b.Dossier(ctx, run.UUID, archiveTail)
	if err != nil {
		return err
	}
	for _, doc := range b.cfg.Archive.Documents {
		if err := addDocument(t, b.runDir(run.UUID), doc, dossier); err != nil {
			return err
		}
	}
	if err := addFolder(t, b.runDir(run.UUID)); err != nil {
		return err
	}
	return errors.Join(t.Close(), z.Close())
}

// addDocument writes a report by way of a file, as its length comes first.
func addDocument(t *tar.Writer, dir string, doc Document, d Dossier) error {
	f, err := os.CreateTemp(dir, ".report-*")
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }() // it is of no use to anybody
	if err := doc.Write(f, d); err != nil {
		return fmt.Errorf("write %s: %w", doc.Name, err)
	}
	return addFile(t, f, doc.Name)
}

// addFolder adds the files of the run's folder, but not the archive itself nor
// what is being written.
func addFolder(t *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		inside, err := filepath.Rel(dir, name)
		if err != nil || inside == "archive.tar.gz" {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(addFile(t, f, filepath.ToSlash(inside)), f.Close())
	})
}

func addFile(t *tar.Writer, f *os.File, name string) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, ModTime: info.ModTime()}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, size)
	return err
}

// monitorOf is the index of the plan's monitor step, or -1.
func monitorOf(p strategies.Plan) int {
	return slices.IndexFunc(p.Steps, func(s strategies.Step) bool { return s.Monitor })
}
