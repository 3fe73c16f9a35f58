package engine

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"

	"github.com/loads/loads/loadgen/benchmark"
)

// randomStep compiles the steps that draw.
func (c *compiler) randomStep(spec benchmark.Step, done func(action) step) step {
	switch s := spec.(type) {
	case *benchmark.RandomInt:
		return done(c.randomInt(s))
	case *benchmark.RandomItem:
		return done(c.randomItem(s))
	case *benchmark.RandomCSVRow:
		return done(c.randomRow(s))
	case *benchmark.RandomFile:
		return done(c.randomFile(s))
	case *benchmark.RandomUUID:
		to := c.writes(s.ToVar)
		return done(func(in *instance) {
			var id uuid.UUID
			random := in.s.w.random
			for i := range id {
				id[i] = byte(random.Uint32())
			}
			id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
			text, _ := id.MarshalText() // has no error
			in.target(to).setText(text)
		})
	}
	return c.sharedStep(spec, done)
}

func (c *compiler) randomInt(s *benchmark.RandomInt) action {
	to, least, most := c.writes(s.ToVar), c.intSource(&s.Min, 0), c.intSource(&s.Max, math.MaxInt32)
	return func(in *instance) {
		a, ok := least.get(in)
		b, ok2 := most.get(in)
		switch {
		case !ok || !ok2:
		case a > b:
			in.fail(fmt.Errorf("can't draw a number from %d to %d", a, b))
		default:
			in.target(to).setInt(a + in.s.w.random.Int64N(b-a+1))
		}
	}
}

// weights draw an index, each as likely as its weight says.
type weights []float64 // sums up to each

func newWeights(items []benchmark.WeightedItem) weights {
	w := make(weights, len(items))
	sum := 0.0
	for i, item := range items {
		sum += item.Weight
		w[i] = sum
	}
	return w
}

func (w weights) draw(random *rand.Rand) int {
	at := random.Float64() * w[len(w)-1]
	i, found := slices.BinarySearch(w, at)
	if found { // a sum belongs to the next
		i++
	}
	return min(i, len(w)-1)
}

func (c *compiler) randomItem(s *benchmark.RandomItem) action {
	to := c.writes(s.ToVar)
	if s.FromVar.Name != "" {
		from := c.reads(s.FromVar)
		return func(in *instance) {
			v := in.lookup(from)
			if v == nil || v.kind != isList {
				in.fail(fmt.Errorf("variable %s is not a list", from))
				return
			}
			n := slices.IndexFunc(v.list, func(item value) bool { return item.kind == unset })
			if n < 0 {
				n = len(v.list)
			}
			if n == 0 {
				in.fail(fmt.Errorf("variable %s has no items to draw from", from))
				return
			}
			in.target(to).copyFrom(&v.list[in.s.w.random.IntN(n)])
		}
	}
	var items [][]byte
	var chances weights
	if s.File != "" {
		data, ok := c.file(s.File)
		if items = lines(data); ok && len(items) == 0 {
			c.fault("draws from "+string(s.File)+", which has no lines", "put an item on each line")
		}
	} else {
		chances = newWeights(s.List)
		for _, item := range s.List {
			items = append(items, []byte(item.Item))
		}
	}
	return func(in *instance) {
		i := 0
		if chances != nil {
			i = chances.draw(in.s.w.random)
		} else {
			i = in.s.w.random.IntN(len(items))
		}
		in.target(to).setText(items[i])
	}
}

func (c *compiler) randomRow(s *benchmark.RandomCSVRow) action {
	data, ok := c.file(s.File)
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	if s.Separator != "" {
		separator := []rune(s.Separator)
		r.Comma = separator[0]
		if len(separator) > 1 {
			c.fault("has a separator of more than one character", "give one")
		}
	}
	if s.SkipComments {
		r.Comment = '#'
	}
	to := make([]ref, len(s.Columns))
	for i, column := range s.Columns {
		to[i] = c.writes(column.ToVar)
	}
	var rows [][][]byte
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.fault("draws from "+string(s.File)+", which can't be read: "+err.Error(), "put a row on each line")
			break
		}
		row := make([][]byte, len(s.Columns))
		for i, column := range s.Columns {
			if column.Index >= len(record) {
				line, _ := r.FieldPos(0)
				c.fault(fmt.Sprintf("draws from %s, whose line %d has no column %d", s.File, line, column.Index), "give all columns in all rows")
				return func(*instance) {}
			}
			row[i] = []byte(record[column.Index])
		}
		rows = append(rows, row)
	}
	if ok && len(rows) == 0 {
		c.fault("draws from "+string(s.File)+", which has no rows", "put a row on each line")
	}
	return func(in *instance) {
		row := rows[in.s.w.random.IntN(len(rows))]
		for i := range to {
			in.target(to[i]).setText(row[i])
		}
	}
}

func (c *compiler) randomFile(s *benchmark.RandomFile) action {
	to, name := c.writes(s.ToVar), c.writes(s.FilenameVar)
	chances := newWeights(s.Files)
	var contents, names [][]byte
	for _, item := range s.Files {
		data, _ := c.file(benchmark.File(item.Item))
		contents, names = append(contents, data), append(names, []byte(item.Item))
	}
	if len(contents) == 0 {
		c.fault("draws from no files", "give one")
	}
	return func(in *instance) {
		i := chances.draw(in.s.w.random)
		in.target(to).setText(contents[i])
		if name.isSet() {
			in.target(name).setText(names[i])
		}
	}
}
