package db

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

var (
	_ sql.Scanner   = (*micros)(nil)
	_ driver.Valuer = micros{}
	_ sql.Scanner   = (*inJSON[int])(nil)
	_ driver.Valuer = inJSON[int]{}
)

// micros is a column that holds a time as Unix microseconds, or NULL for nil.
type micros struct {
	T *time.Time
}

// Scan reads the column.
func (m *micros) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		m.T = nil
	case int64:
		t := time.UnixMicro(v).UTC()
		m.T = &t
	default:
		return fmt.Errorf("read time: column holds a %T", src)
	}
	return nil
}

// Value writes the column.
func (m micros) Value() (driver.Value, error) {
	if m.T == nil {
		return nil, nil
	}
	return m.T.UnixMicro(), nil
}

// at is a micros column that is never NULL.
func at(t time.Time) micros { return micros{T: &t} }

// time returns the time, zero for NULL.
func (m micros) time() time.Time {
	if m.T == nil {
		return time.Time{}
	}
	return *m.T
}

// exact returns t as it will come back from the database.
func exact(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// now returns the time as it will come back from the database.
func now() time.Time { return exact(time.Now()) }

// inJSON is a column that holds V as JSON text.
type inJSON[T any] struct {
	V T
}

// Scan reads the column.
func (j *inJSON[T]) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("read JSON: column holds a %T", src)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	j.V = v
	return nil
}

// Value writes the column.
func (j inJSON[T]) Value() (driver.Value, error) {
	b, err := json.Marshal(j.V)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return string(b), nil
}
