package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("a new file and its folder are the owner's alone", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a", "b", "loads.db")
		mustOpenFile(t, path)
		for name, want := range map[string]os.FileMode{
			filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
		} {
			info, err := os.Stat(name)
			ok(t, err)
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s: got mode %o, want %o", name, got, want)
			}
		}
	})

	t.Run("a path with characters that mean something in a URI is taken as it is", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "what? 100%20 #1&x=y.db")
		d := mustOpenFile(t, path)
		mustProject(t, d, "p")
		ok(t, d.Close())
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("got %v, %v, want the database in %s", info, err, path)
		}
	})

	t.Run("the broker's id stays the same over a restart, and differs between files", func(t *testing.T) {
		d, path := mustOpen(t)
		first, err := d.BrokerID(ctx)
		ok(t, err)
		ok(t, d.Close())
		again, err := mustOpenFile(t, path).BrokerID(ctx)
		ok(t, err)
		other, _ := mustOpen(t)
		differs, err := other.BrokerID(ctx)
		ok(t, err)
		if first == "" || first != again || first == differs {
			t.Errorf("got ids %q, %q and of another file %q", first, again, differs)
		}
	})

	t.Run("Close leaves one whole file, and may be called again", func(t *testing.T) {
		d, path := mustOpen(t)
		p := mustProject(t, d, "kept")
		ok(t, d.Close())
		ok(t, d.Close())
		if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v for the log, want it gone", err)
		}
		body, err := os.ReadFile(path)
		ok(t, err)
		moved := filepath.Join(t.TempDir(), "copy.db")
		ok(t, os.WriteFile(moved, body, 0o600))
		got, err := mustOpenFile(t, moved).Project(ctx, p.Project.UUID)
		ok(t, err)
		same(t, "project", got, p)
	})

	t.Run("every connection keeps foreign keys, and readers cannot write", func(t *testing.T) {
		d, _ := mustOpen(t)
		for name, want := range map[string]string{
			"foreign_keys": "1 1", "journal_mode": "wal wal", "synchronous": "2 1", "query_only": "0 1", "busy_timeout": "5000 5000",
		} {
			if got := d.Pragma(t, name); got != want {
				t.Errorf("%s: got %q for writer and reader, want %q", name, got, want)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	refuse := func(t *testing.T, path string, code broker.Code, words ...string) {
		t.Helper()
		d, err := db.Open(ctx, path)
		if err == nil {
			_ = d.Close()
		}
		wantCode(t, err, code)
		for _, w := range words {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("got %q, want %q in it", err, w)
			}
		}
	}

	t.Run("a file that another broker has, by any name, until that closes", func(t *testing.T) {
		d, path := mustOpen(t)
		link := filepath.Join(t.TempDir(), "link.db")
		ok(t, os.Symlink(path, link))
		for _, name := range []string{path, link} {
			refuse(t, name, broker.EUnavailable, "in use by another broker", fmt.Sprintf("pid %d", os.Getpid()), path)
		}
		mustProject(t, d, "still works")
		ok(t, d.Close())
		mustOpenFile(t, link)
	})

	t.Run("a file that is no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "text")
		body := strings.Repeat("not a database\n", 100)
		ok(t, os.WriteFile(path, []byte(body), 0o600))
		refuse(t, path, broker.EInvalid, path, "no SQLite database")
		if got, err := os.ReadFile(path); err != nil || string(got) != body {
			t.Errorf("the file was changed (%v)", err)
		}
	})

	t.Run("the database of another program, which it leaves as it was", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "theirs.db")
		x, err := sql.Open("sqlite3", "file:"+path)
		ok(t, err)
		_, err = x.Exec("CREATE TABLE bookmarks (url TEXT)")
		ok(t, err)
		ok(t, x.Close())
		before, err := os.ReadFile(path)
		ok(t, err)
		refuse(t, path, broker.EInvalid, path, "another program")
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file was changed (%v)", err)
		}
	})

	t.Run("a database of a newer program", func(t *testing.T) {
		d, path := mustOpen(t)
		ok(t, d.Close())
		_, err := mustOpenRaw(t, path).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, 1)")
		ok(t, err)
		refuse(t, path, broker.EInvalid, path, "schema version 9000", "newer program")
	})

	t.Run("a folder", func(t *testing.T) {
		if _, err := db.Open(ctx, t.TempDir()); err == nil {
			t.Error("got no error")
		}
	})

	t.Run("when its context is over", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		path := filepath.Join(t.TempDir(), "loads.db")
		if _, err := db.Open(ctx, path); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		mustOpenFile(t, path) // the lock was let go
	})
}

func TestContextEndsCalls(t *testing.T) {
	t.Parallel()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, readErr := d.Run(ctx, run.UUID)
	for name, err := range map[string]error{
		"read":  readErr,
		"write": d.AddEvents(ctx, &run, broker.Event{Kind: broker.EventNote, Text: "never"}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", name, err)
		}
	}
	list, err := d.Events(context.Background(), run.UUID, 0)
	ok(t, err)
	same(t, "events", list, []broker.Event{})
}
