package broker_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

// A shelf is a store in memory that fails as often as it is told, and keeps
// what was begun and neither finished nor ended.
type shelf struct {
	mu     sync.Mutex
	fails  int
	held   chan struct{} // when not nil, uploads wait until it is closed
	begun  map[string]bool
	files  map[string][]string // names in the archives, by address
	passed []string            // uploads that were handed over to go on with
}

func newShelf() *shelf { return &shelf{begun: map[string]bool{}, files: map[string][]string{}} }

func (s *shelf) Store(ctx context.Context, url string, f *os.File, upload string, note func(string) error) (string, error) {
	s.mu.Lock()
	s.begun[url] = true
	s.passed = append(s.passed, upload)
	held := s.held
	fail := s.fails > 0
	s.fails--
	s.mu.Unlock()
	if err := note("upload-1"); err != nil {
		return "", err
	}
	if fail {
		return "", broker.Errorf(broker.EUnavailable, "The shelf is full.")
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	names, err := namesIn(f)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.begun, url)
	s.files[url] = names
	return "sum-1", nil
}

func (s *shelf) Forget(_ context.Context, url string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.begun, url)
	return nil
}

// state is what there is by now.
func (s *shelf) state() (begun int, stored []string, passed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for url := range s.files {
		stored = append(stored, url)
	}
	return len(s.begun), stored, slices.Clone(s.passed)
}

func namesIn(f *os.File) (names []string, err error) {
	z, err := gzip.NewReader(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names = append(names, h.Name)
	}
}

// A library is a broker whose runs end at once, and are archived.
type library struct {
	*testing.T
	cfg    broker.Config
	store  *db.DB
	shelf  *shelf
	broker *broker.Broker
}

func openLibrary(t *testing.T) *library {
	t.Helper()
	store, err := db.Open(t.Context(), filepath.Join(t.TempDir(), "loads.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	l := &library{T: t, store: store, shelf: newShelf()}
	write := func(w io.Writer, d broker.Dossier) error {
		_, err := fmt.Fprintln(w, d.Run.Verdict)
		return err
	}
	l.cfg = broker.Config{
		Store: store, Pools: []broker.Pool{noMachines{}}, Dir: t.TempDir(), Archiver: l.shelf,
		Archive: broker.ArchiveConfig{
			URL: "s3://runs/all", Retry: time.Millisecond, Documents: []broker.Document{{Name: "report.txt", Write: write}},
		},
	}
	l.open()
	t.Cleanup(func() { _ = l.broker.Close() })
	return l
}

func (l *library) open() {
	l.Helper()
	l.broker = broker.New(l.cfg)
	if err := l.broker.Start(l.Context()); err != nil {
		l.Fatal(err)
	}
}

// noMachines is a pool that has none: runs end at once, with ERROR.
type noMachines struct{ broker.Pool }

func (noMachines) Name() string { return "none" }
func (noMachines) Acquire(_ context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	return make([]broker.Machine, len(reqs)), broker.Errorf(broker.EUnavailable, "There are no machines.")
}
func (noMachines) Release(context.Context, broker.Machine) error         { return nil }
func (noMachines) Owned(context.Context, string) ([]broker.Owned, error) { return nil, nil }

// run runs a plan with those steps to its end.
func (l *library) run(steps string) broker.Run {
	l.Helper()
	project, err := strategies.ParseFile("plan.yaml", []byte("name: 'smoke/é'\nsteps:\n"+steps))
	if err != nil {
		l.Fatal(err)
	}
	project.Name = "shop"
	rec, err := l.broker.Import(l.Context(), project, true)
	if err != nil {
		l.Fatal(err)
	}
	run, err := l.broker.StartRun(l.Context(), broker.StartRequest{PlanUUID: rec.Plans[0].Plan.UUID})
	if err != nil {
		l.Fatal(err)
	}
	if run, err = l.broker.Wait(l.Context(), run.UUID); err != nil {
		l.Fatal(err)
	}
	return run
}

// archived waits until the run is archived.
func (l *library) archived(run broker.Run) broker.Archive {
	l.Helper()
	var a broker.Archive
	waittest.Until(l, "the run is archived", 5*time.Minute, func() bool {
		var err error
		if a, err = l.broker.Archive(l.Context(), run.UUID); err != nil {
			l.Fatal(err)
		}
		return a.Done
	})
	return a
}

func (l *library) story(run broker.Run) string {
	l.Helper()
	events, err := l.broker.Events(l.Context(), run.UUID, 0)
	if err != nil {
		l.Fatal(err)
	}
	var texts []string
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	return strings.Join(texts, "\n")
}

const aStep = "  - {name: s, container_name: loads/node}\n"

func TestAnArchiveIsTriedUntilItIsStored(t *testing.T) {
	t.Parallel()
	l := openLibrary(t)
	l.shelf.fails = 3
	run := l.run(aStep)
	a := l.archived(run)
	if want := "s3://runs/all/shop/smoke--/" + run.UUID + ".tar.gz"; a.URL != want || a.Checksum != "sum-1" || len(a.SHA256) != 64 || a.Size == 0 || a.Trouble != "" {
		t.Errorf("got %+v, want it at %s with size and checksums", a, want)
	}
	story := l.story(run)
	for _, want := range []string{"The run can't be archived now; it is tried again: The shelf is full.", "The run is archived at " + a.URL} {
		if strings.Count(story, want) != 1 {
			t.Errorf("history says %q %d times, want once:\n%s", want, strings.Count(story, want), story)
		}
	}
	if names := l.shelf.files[a.URL]; !slices.Contains(names, "report.txt") {
		t.Errorf("the archive has %v", names)
	}
	if _, _, passed := l.shelf.state(); !slices.Equal(passed, []string{"", "upload-1", "upload-1", "upload-1"}) {
		t.Errorf("gone on with %q, want with the upload that was noted", passed)
	}
	waittest.Until(t, "no file is left", 5*time.Minute, func() bool {
		files, err := filepath.Glob(filepath.Join(l.cfg.Dir, "runs", run.UUID, "*"))
		return err == nil && len(files) == 0
	})
}

func TestABucketOfTheMonitorStepComesFirst(t *testing.T) {
	t.Parallel()
	l := openLibrary(t)
	run := l.run(aStep + "  - {monitor: true, environment_data: {INFLUXDB_S3_BUCKET: theirs}}\n")
	if a := l.archived(run); !strings.HasPrefix(a.URL, "s3://theirs/shop/") {
		t.Errorf("archived at %s", a.URL)
	}
	if err := l.broker.Close(); err != nil {
		t.Fatal(err)
	}
	l.cfg.Archiver = nil
	l.open()
	run = l.run(aStep + "  - {monitor: true, environment_data: {INFLUXDB_S3_BUCKET: theirs}}\n")
	if story := l.story(run); !strings.Contains(story, "The run is not archived at s3://theirs/") || !strings.Contains(story, "--archive") {
		t.Errorf("without an archiver the history does not say what to do:\n%s", story)
	}
}

func TestAnArchiveGoesOnAfterARestartAndEndsWithItsRun(t *testing.T) {
	t.Parallel()
	l := openLibrary(t)
	l.shelf.held = make(chan struct{})
	run := l.run(aStep)
	begun := func() bool {
		a, err := l.store.Archive(t.Context(), run.UUID)
		return err == nil && a.Upload != ""
	}
	waittest.Until(t, "it is begun", 5*time.Minute, begun)
	if err := l.broker.Close(); err != nil {
		t.Fatal(err)
	}
	close(l.shelf.held)
	l.open()
	l.archived(run)
	if _, _, passed := l.shelf.state(); !slices.Equal(passed, []string{"", "upload-1"}) {
		t.Errorf("gone on with %q, want with the upload that was noted", passed)
	}

	l.shelf.mu.Lock()
	l.shelf.held, l.shelf.passed = make(chan struct{}), nil
	l.shelf.mu.Unlock()
	run = l.run(aStep)
	waittest.Until(t, "the second is begun", 5*time.Minute, begun)
	if err := l.broker.DeleteRun(t.Context(), run.UUID); err != nil {
		t.Fatal(err)
	}
	if err := l.broker.Close(); err != nil { // in the middle of it
		t.Fatal(err)
	}
	l.open()
	waittest.Until(t, "the upload of a run that was deleted is ended", 5*time.Minute, func() bool {
		n, _, _ := l.shelf.state()
		return n == 0
	})
	waittest.Until(t, "nothing is to be archived", 5*time.Minute, func() bool {
		list, err := l.store.Archives(t.Context())
		return err == nil && len(list) == 0
	})
}
