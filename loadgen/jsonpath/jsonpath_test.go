package jsonpath_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/jsonpath"
)

func mustParse(t testing.TB, query string) jsonpath.Path {
	t.Helper()
	p, err := jsonpath.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestQueriesFindTheirValues(t *testing.T) {
	const shop = `{"name": "shop", "na\u006de2": 2, "open": true, "boss": null, "nested": {"name": "inner", "list": [[1, 2], [3]]},
		"orders": [{"id": 1, "tags": ["a", "b"]}, {"id": 22, "tags": []}, {"other": {}}, {"id": 4, "tags": ["c"]}]}`
	tests := []struct {
		name, query string
		want        []string
	}{
		{"a member", ".name", []string{`"shop"`}},
		{"a member whose key has an escape", ".name2", []string{"2"}},
		{"words", ".open", []string{"true"}},
		{"null is a value", ".boss", []string{"null"}},
		{"a member of a member", ".nested.name", []string{`"inner"`}},
		{"what isn't there", ".nested.gone", nil},
		{"a name is not its beginning", ".nam", nil},
		{"a member of what is no object", ".name.x", nil},
		{"items of what is no array", ".name[]", nil},
		{"members of all items", ".orders[].id", []string{"1", "22", "4"}},
		{"one item", ".orders[1].id", []string{"22"}},
		{"a range, both ends included", ".orders[1:3].id", []string{"22", "4"}},
		{"an open range", ".orders[2:].id", []string{"4"}},
		{"a range from the first", ".orders[:1].id", []string{"1", "22"}},
		{"items of items", ".orders[].tags[]", []string{`"a"`, `"b"`, `"c"`}},
		{"an array in an array", ".nested.list[][0]", []string{"1", "3"}},
		{"an object as it stands", ".orders[2].other", []string{"{}"}},
		{"a dot before the bracket", ".orders.[0].id", []string{"1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			err := mustParse(t, test.query).Each([]byte(shop), func(v []byte) bool {
				got = append(got, string(v))
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTopLevel(t *testing.T) {
	for _, test := range []struct{ query, data, want string }{
		{".", ` {"a": 1} `, `{"a": 1}`},
		{".[]", `[5, 6]`, "5"},
		{"[1]", `[5, 6]`, "6"},
		{".", "-1.5e3", "-1.5e3"},
	} {
		got, ok, err := mustParse(t, test.query).First([]byte(test.data))
		if err != nil || !ok || string(got) != test.want {
			t.Errorf("%s of %s: got %q, %v, error %v, want %q", test.query, test.data, got, ok, err, test.want)
		}
	}
}

func TestTextIsUnescaped(t *testing.T) {
	for value, want := range map[string]string{
		`"plain"`: "plain", `12`: "12", `""`: "", `"a\n\"b\"\\\/"`: "a\n\"b\"\\/",
		`"\u00e9\ud83d\ude00"`: "é😀", `"\ud83d!"`: "\ufffd!", `{"a": "b"}`: `{"a": "b"}`, `"\t\r\b\f"`: "\t\r\b\f",
	} {
		if got := string(jsonpath.AppendText(nil, []byte(value))); got != want {
			t.Errorf("%s: got %q, want %q", value, got, want)
		}
	}
}

func TestWrongQueriesAreExplained(t *testing.T) {
	for query, want := range map[string]string{
		"": "begins with a dot", "name": "begins with a dot", ".a[": "not closed", ".a[x]": "not the number",
		".a[3:1]": "ends before it begins", ".a..b": "name is missing", ".a.": "name is missing", ".a[]b": "missing before",
	} {
		if _, err := jsonpath.Parse(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", query, err, want)
		}
	}
}

func TestBrokenDocumentsAreErrors(t *testing.T) {
	p := mustParse(t, ".a[].b")
	for _, data := range []string{
		"", "{", `{"a"}`, `{"a":[1,]}`, `{"a":[{"b":1}`, `{"a":[{"b":tru}]}`, `{"x":"`, "<html>", `{"a":[],}`,
		strings.Repeat("[", 100_000),
	} {
		if err := p.Each([]byte(data), func([]byte) bool { return true }); !errors.Is(err, jsonpath.ErrSyntax) {
			t.Errorf("%.40q: got error %v, want %v", data, err, jsonpath.ErrSyntax)
		}
	}
}

func TestEachStopsWhenTold(t *testing.T) {
	n := 0
	err := mustParse(t, ".[]").Each([]byte("[1, 2, 3, broken"), func([]byte) bool { n++; return n < 2 })
	if err != nil || n != 2 {
		t.Errorf("got %d values, error %v, want 2", n, err)
	}
}

func TestEachAllocatesNothing(t *testing.T) {
	p, data := mustParse(t, ".orders[].id"), document()
	count := 0
	found := func([]byte) bool { count++; return true }
	if n := testing.AllocsPerRun(100, func() { _ = p.Each(data, found) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if count == 0 {
		t.Error("nothing was found")
	}
}

func document() []byte {
	return []byte(`{"orders": [` + strings.TrimSuffix(strings.Repeat(`{"name": "a red hat", "price": 12.50, "id": 7},`, 20), ",") + `]}`)
}

func BenchmarkEach(b *testing.B) {
	p, data := mustParse(b, ".orders[].id"), document()
	found := func([]byte) bool { return true }
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Each(data, found)
	}
}

// No query and no document make it panic; of a valid document it complains
// about nothing, and finds whole values.
func FuzzEach(f *testing.F) {
	f.Add(".a[].b", `{"a": [{"b": 1}, {"b": "x"}]}`)
	f.Add(".", "{}")
	f.Add(".[1:2]", "[1, [2], null]")
	f.Add(".a", `{"a": "\u00e9"`)
	f.Fuzz(func(t *testing.T, query, data string) {
		p, err := jsonpath.Parse(query)
		if err != nil {
			return
		}
		var got []string
		err = p.Each([]byte(data), func(v []byte) bool {
			got = append(got, string(v))
			_ = jsonpath.AppendText(nil, v)
			return true
		})
		if !json.Valid([]byte(data)) {
			return
		}
		if err != nil {
			t.Fatalf("%q of %q: %v", query, data, err)
		}
		if !slices.ContainsFunc(got, func(v string) bool { return !json.Valid([]byte(v)) }) {
			return
		}
		t.Errorf("%q of %q: found %q, which are not all values", query, data, got)
	})
}

func TestEdit(t *testing.T) {
	for _, c := range []struct{ query, data, deleted, replaced string }{
		{".a", `{"a": 1, "b": 2}`, `{"b": 2}`, `{"a": X, "b": 2}`},
		{".b", `{"a": 1, "b": 2 }`, `{"a": 1 }`, `{"a": 1, "b": X }`},
		{".b", `{"a": 1 , "b" : {"b": 3}, "c": 4}`, `{"a": 1 , "c": 4}`, `{"a": 1 , "b" : X, "c": 4}`},
		{".a", `{"a": 1}`, `{}`, `{"a": X}`},
		{".a", ` { "a" : [ ] } `, ` { } `, ` { "a" : X } `},
		{".[]", `[1, 2, [3]]`, `[]`, `[X, X, X]`},
		{".[1:2]", `[0,1,2]`, `[0]`, `[0,X,X]`},
		{".[0]", `[0,1]`, `[1]`, `[X,1]`},
		{".[].id", `[{"id": "x,", "n": 1}, {"n": 2, "id": 3}, {}]`, `[{"n": 1}, {"n": 2}, {}]`, `[{"id": X, "n": 1}, {"n": 2, "id": X}, {}]`},
		{".none", `{"a": 1}`, `{"a": 1}`, `{"a": 1}`},
		{".", `{"a": 1}`, ``, `X`},
	} {
		q := mustParse(t, c.query)
		for want, keep := range map[string]bool{c.deleted: false, c.replaced: true} {
			got, err := q.Edit([]byte("["), []byte(c.data), func(dst, _ []byte) ([]byte, bool) { return append(dst, 'X'), keep })
			if string(got) != "["+want || err != nil {
				t.Errorf("%s of %s, kept %t: got %s, error %v, want [%s", c.query, c.data, keep, got, err, want)
			}
		}
	}
	if _, err := mustParse(t, ".a").Edit(nil, []byte(`{"b": }`), func(dst, _ []byte) ([]byte, bool) { return dst, true }); err == nil {
		t.Error("a broken document was changed")
	}
}

// What is not changed stays as it is, and what is taken out leaves a document.
func FuzzEdit(f *testing.F) {
	f.Add(".a[].b", `{"a": [{"b": 1, "c": 2}, {"b": "x"}], "d": 3}`)
	f.Add(".[1:2]", "[1, [2], null]")
	f.Add(".a", `{"a":1,"a":2}`)
	f.Fuzz(func(t *testing.T, query, data string) {
		p, err := jsonpath.Parse(query)
		if err != nil || !json.Valid([]byte(data)) {
			return
		}
		same, err := p.Edit(nil, []byte(data), func(dst, old []byte) ([]byte, bool) { return append(dst, old...), true })
		if string(same) != data && err == nil {
			t.Errorf("%q of %q: got %q, want no change", query, data, same)
		}
		less, err := p.Edit(nil, []byte(data), func(dst, _ []byte) ([]byte, bool) { return dst, false })
		if err == nil && !json.Valid(less) && strings.TrimSpace(string(less)) != "" {
			t.Errorf("%q of %q: %q is left, which is no document", query, data, less)
		}
	})
}
