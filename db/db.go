// Package db keeps the broker's records in one SQLite file: projects, plans,
// runs with their history, machines and frames. DB implements broker.Store.
//
// All writes go through one connection, each in one immediate transaction, so
// that writers queue up in order and none fails because another one writes;
// small changes that come at once share one.
// Reads go through connections of their own that cannot write; in WAL mode
// they neither wait for the writer nor hold it up. One process at a time owns
// a file, by a lock beside it.
package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"github.com/loads/loads/broker"
)

// maxReaders bounds the read connections, and with them files and memory; a
// reader more than that waits for its turn or for the end of its context.
const maxReaders = 16

// DB is the broker's database. All its methods may be called by many
// goroutines at once, between Open and Close. Errors that a user can do
// something about are *broker.Error: ENotFound for unknown ids, EConflict for
// records whose state forbids the change.
type DB struct {
	path   string // with symbolic links resolved
	lock   *fileLock
	writer *sqlx.DB // one connection
	reader *sqlx.DB // up to maxReaders connections, query_only
	bodies *bodyCoder
	// condensing is held while frames are condensed, as what is read for it must
	// still be so when it is written.
	condensing sync.Mutex
	group      group
	close      func() error
}

var _ broker.Store = (*DB)(nil)

// Open opens the database in the file path, made (0600, its folder 0700) when
// there is none, and brings it to this program's schema. It gives EUnavailable
// when another broker has the file, and EInvalid when the file is another
// program's or of a newer version of this one.
func Open(ctx context.Context, path string) (*DB, error) {
	path, err := createFile(path)
	if err != nil {
		return nil, err
	}
	lock, err := acquireLock(path)
	if err != nil {
		return nil, err
	}
	d := &DB{path: path, lock: lock}
	d.close = sync.OnceValue(d.shut)
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// createFile makes the file and its folder if they are missing, and returns
// the file's real path, so that a file has one lock by whatever name it goes.
// It never opens a file that exists: closing it would take away the locks
// that SQLite holds on it in this process.
func createFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make folder of database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("find database: %w", err)
	}
	return path, nil
}

// start opens the connections under the lock.
func (d *DB) start(ctx context.Context) error {
	if err := checkOwner(ctx, d.path); err != nil {
		return err
	}
	var err error
	if d.bodies, err = newBodyCoder(); err != nil {
		return err
	}
	if d.writer, err = connect(d.path, writerOptions()); err != nil {
		return err
	}
	d.writer.SetMaxOpenConns(1)
	if err := migrate(ctx, d.writer.DB, d.path); err != nil {
		return err
	}
	if err := d.makeBrokerID(ctx); err != nil {
		return err
	}
	if d.reader, err = connect(d.path, readerOptions()); err != nil {
		return err
	}
	d.reader.SetMaxOpenConns(maxReaders)
	d.reader.SetMaxIdleConns(maxReaders)
	return nil
}

// The options are in the DSN because the pool opens connections as it likes,
// and a PRAGMA run later reaches only one of them.
func commonOptions() url.Values {
	return url.Values{
		"mode":             {"rw"},
		"_foreign_keys":    {"on"},
		"_busy_timeout":    {"5000"}, // ms; for other programs that look into the file
		"_journal_mode":    {"wal"},
		"_stmt_cache_size": {"64"},
	}
}

// writerOptions syncs every commit (synchronous=full). Under normal a killed
// process loses nothing either, but a power cut may take back the last
// commits, and an intent must be on disk before the act that it announces: a
// machine that was asked for and is in no record is found only by its tag. A
// commit then costs one sync, and the broker commits a few times a second,
// since frames come in batches.
//
// What is deleted is overwritten (secure_delete=on), so that a masked secret
// is nowhere in the file. It doubles the time to delete a long run, to 1.5 s
// for an hour of 20 machines; fast would leave a long secret in a free page.
func writerOptions() url.Values {
	o := commonOptions()
	o.Set("_txlock", "immediate")
	o.Set("_synchronous", "full")
	o.Set("_secure_delete", "on")
	return o
}

func readerOptions() url.Values {
	o := commonOptions()
	o.Set("_txlock", "deferred")
	o.Set("_query_only", "on")
	return o
}

func connect(path string, options url.Values) (*sqlx.DB, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	x, err := sqlx.Open("sqlite3", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return x, nil
}

// Close waits for the calls under way, moves the write-ahead log into the
// file, closes it, and lets go of the lock. It may be called again.
func (d *DB) Close() error { return d.close() }

func (d *DB) shut() error {
	var errs []error
	if d.reader != nil {
		errs = append(errs, d.reader.Close())
	}
	if d.writer != nil {
		errs = append(errs, checkpoint(d.writer), d.writer.Close())
	}
	d.bodies.close()
	if err := errors.Join(append(errs, d.lock.release())...); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// checkpoint makes the file complete without its log, so that a copy of the
// file alone is a copy of everything.
func checkpoint(x *sqlx.DB) error {
	if _, err := x.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// BrokerID returns this database's own id, a uuid made with the database.
func (d *DB) BrokerID(ctx context.Context) (string, error) {
	var id string
	err := d.read(ctx, "read broker id", func(ctx context.Context, t *tx) error {
		return t.GetContext(ctx, &id, "SELECT value FROM meta WHERE name = 'broker_id'")
	})
	return id, err
}

func (d *DB) makeBrokerID(ctx context.Context) error {
	return d.write(ctx, "make broker id", func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx,
			"INSERT INTO meta (name, value) VALUES ('broker_id', ?) ON CONFLICT DO NOTHING",
			uuid.NewString())
		return err
	})
}

// A tx is one transaction. All rows written in it bear the same time.
type tx struct {
	*sqlx.Tx
	now time.Time
}

// write runs fn in a transaction on the write connection, and commits it if fn
// returns nil. Results must be handed to the caller's records only after that.
func (d *DB) write(ctx context.Context, what string, fn func(context.Context, *tx) error) error {
	return transact(ctx, d.writer, what, fn)
}

// read runs fn in a transaction on a read connection: all its queries see the
// same state of the database.
func (d *DB) read(ctx context.Context, what string, fn func(context.Context, *tx) error) error {
	return transact(ctx, d.reader, what, fn)
}

func transact(ctx context.Context, x *sqlx.DB, what string, fn func(context.Context, *tx) error) error {
	t, err := x.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: begin: %w", what, err)
	}
	defer t.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if err := fn(ctx, &tx{Tx: t, now: now()}); err != nil {
		return mapError(what, err)
	}
	if err := t.Commit(); err != nil {
		return mapError(what+": commit", err)
	}
	return nil
}
