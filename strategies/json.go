package strategies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/loads/loads/internal/source"
)

// UnmarshalJSON reads a plan as MarshalJSON of its types writes it. Fields
// that are absent get the defaults that they have in files, and unknown ones
// are ignored. Errors are Faults.
func (p *Plan) UnmarshalJSON(data []byte) error { return unmarshal(data, p) }

// UnmarshalJSON reads an object, or a list of NAME=VALUE.
func (e *Environment) UnmarshalJSON(data []byte) error { return unmarshal(data, e) }

// UnmarshalJSON reads a number, or a text with a unit such as "512m".
func (b *Bytes) UnmarshalJSON(data []byte) error { return unmarshal(data, b) }

// UnmarshalJSON reads {"soft": 1, "hard": 2}, a number, or "soft:hard".
func (u *Ulimit) UnmarshalJSON(data []byte) error { return unmarshal(data, u) }

// UnmarshalJSON reads an object, in which the event may be absent, or the name
// of a step.
func (s *StartAfter) UnmarshalJSON(data []byte) error { return unmarshal(data, s) }

// UnmarshalJSON reads an object, or the text of an expression.
func (c *Criterion) UnmarshalJSON(data []byte) error { return unmarshal(data, c) }

// UnmarshalJSON reads a number, or a text with a unit such as "30s".
func (s *Seconds) UnmarshalJSON(data []byte) error { return unmarshal(data, s) }

// UnmarshalJSON reads an object, in which the timeout may be absent.
func (r *Ready) UnmarshalJSON(data []byte) error { return unmarshal(data, r) }

func unmarshal[T any](data []byte, p *T) error {
	n, err := source.JSON(data)
	if err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	if n.ShortTag() == "!!null" {
		return nil // as is the custom of encoding/json
	}
	var v T
	d := newDecoder(false)
	setDefaults(reflect.ValueOf(&v).Elem())
	d.value(n, "", reflect.ValueOf(&v).Elem())
	if err := d.faults.Err(); err != nil {
		return err
	}
	*p = v
	return nil
}

// MarshalJSON writes the variables as an object, in their order.
func (e Environment) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, v := range e {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(v.Name)
		if err != nil {
			return nil, fmt.Errorf("write name of a variable: %w", err)
		}
		value, err := json.Marshal(v.Value)
		if err != nil {
			return nil, fmt.Errorf("write value of %s: %w", v.Name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
