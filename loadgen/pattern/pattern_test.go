package pattern_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/pattern"
)

// session has variables by their names, with [.] for elements.
type session map[string]any

func (s session) Value(_ int, v pattern.Variable) pattern.Value {
	switch value := s[v.String()].(type) {
	case string:
		return pattern.Value{Text: []byte(value), IsSet: true}
	case int:
		return pattern.Value{Int: int64(value), IsInt: true, IsSet: true}
	}
	return pattern.Value{}
}

func TestPatternIsWrittenWithItsVariables(t *testing.T) {
	vars := session{
		"user": "Ann", "n": 42, "minus": -7, "digits": "255", "q": "a b&c/ü*~", "item[.]": "third",
		"b64": "aGVsbG8=", "link": "/a?x=1&amp;y=2&amp;z=3", "my.var-1": "ok", "replacement": "kept",
	}
	tests := []struct{ name, pattern, want string }{
		{"text alone", "/index.html", "/index.html"},
		{"nothing", "", ""},
		{"a variable", "/u/${user}/x", "/u/Ann/x"},
		{"blanks around a name", "${ user }", "Ann"},
		{"a name with dots and dashes", "${my.var-1}", "ok"},
		{"two next to each other", "${user}${n}", "Ann42"},
		{"an element of an array", "${item[.]}", "third"},
		{"the escape", "$${user} costs $5", "${user} costs $5"},
		{"an escape before a variable", "$${a}${user}", "${a}Ann"},
		{"URL encoding", "?q=${urlencode:q}", "?q=a+b%26c%2F%C3%BC*%7E"},
		{"URL encoding of a number", "${urlencode:minus}", "-7"},
		{"base64", "${base64encode:user}", "QW5u"},
		{"base64 back", "${base64decode:b64}", "hello"},
		{"a number with zeros", "${%05d:n}", "00042"},
		{"a negative number with zeros", "${%05d:minus}", "-0007"},
		{"a number at the right", "[${%4d:n}]", "[  42]"},
		{"a number at the left", "[${%-4d:n}]", "[42  ]"},
		{"a number with its sign", "${%+d:n}", "+42"},
		{"hexadecimal", "${%x:digits} ${%04X:digits}", "ff 00FF"},
		{"octal", "${%o:n}", "52"},
		{"the first match replaced", `${replace/&amp;/\&/:link}`, "/a?x=1&y=2&amp;z=3"},
		{"all matches replaced", `${replace/&amp;/\&/g:link}`, "/a?x=1&y=2&z=3"},
		{"another separator, groups, a brace and a colon", `${replace#(\w{1})=(\d)#$2:$1#g:link}`, "/a?1:x&amp;2:y&amp;3:z"},
		{"a variable that begins with replace", "${replacement}", "kept"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := pattern.Parse(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Append([]byte("> "), vars)
			if err != nil || string(got) != "> "+test.want {
				t.Errorf("got %q, error %v, want %q", got, err, "> "+test.want)
			}
			if p.String() != test.pattern {
				t.Errorf("String: got %q, want %q", p, test.pattern)
			}
		})
	}
}

func TestWrongPatternsAreExplained(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"/x/${user", "not closed"},
		{"${}", "not the name of a variable"},
		{"${a b}", "not the name of a variable"},
		{"${items[3]}", "not the name of a variable"},
		{"${upper:user}", `"upper" is not a format`},
		{"${%5.2f:n}", "not for whole numbers"},
		{"${%99999d:n}", "no width up to 1000"},
		{"${replace/a:n}", "a replacement is"},
		{"${replace/a/b/x:n}", "FLAGS g or nothing"},
		{"${replace/(/b/:n}", "regular expression"},
		{"${replace/a/$1/:n}", "group 1 of 0"},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			if _, err := pattern.Parse(test.pattern); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestValuesThatDontFitAreNamed(t *testing.T) {
	p, err := pattern.Parse("a ${gone} b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(nil, session{}); !errors.Is(err, pattern.ErrUnset) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got error %v, want that gone is not set", err)
	}
	if p, err = pattern.Parse("${%d:word}"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(nil, session{"word": "many"}); err == nil || !strings.Contains(err.Error(), "word") {
		t.Errorf("got error %v, want that word is not a number", err)
	}
}

func TestVariablesAndLiterals(t *testing.T) {
	p, err := pattern.Parse("${a}-${urlencode:b[.]}-${a}")
	if err != nil {
		t.Fatal(err)
	}
	want := []pattern.Variable{{Name: "a"}, {Name: "b", Element: true}, {Name: "a"}}
	if diff := cmp.Diff(want, p.Variables()); diff != "" {
		t.Error(diff)
	}
	if text, ok := p.Literal(); ok {
		t.Errorf("a pattern with variables is said to be the text %q", text)
	}
	if p, err = pattern.Parse("$${a}"); err != nil {
		t.Fatal(err)
	}
	if text, ok := p.Literal(); !ok || text != "${a}" {
		t.Errorf("got %q, %v, want ${a}", text, ok)
	}
}

func TestFormFieldsAreEncodedOnce(t *testing.T) {
	p, err := pattern.Parse("x ${q}")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.URLEncoded(); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Append(nil, session{"q": "a&b"}); err != nil || string(got) != "x a%26b" {
		t.Errorf("got %q, error %v", got, err)
	}
	if _, err := p.URLEncoded(); err == nil {
		t.Error("a variable is URL-encoded twice")
	}
}

// slots is a session as fast ones are.
type slots []pattern.Value

func (s slots) Value(slot int, _ pattern.Variable) pattern.Value { return s[slot] }

func boundPattern(t testing.TB) (pattern.Pattern, pattern.Values) {
	t.Helper()
	p, err := pattern.Parse("/shop/${urlencode:item}/x/${%05d:n}?token=${base64encode:item}")
	if err != nil {
		t.Fatal(err)
	}
	p = p.Bind(func(v pattern.Variable) int { return map[string]int{"item": 0, "n": 1}[v.Name] })
	return p, slots{{Text: []byte("a red hat"), IsSet: true}, {Int: 42, IsInt: true, IsSet: true}}
}

func TestAppendAllocatesNothing(t *testing.T) {
	p, values := boundPattern(t)
	buf := make([]byte, 0, 200)
	var err error
	if n := testing.AllocsPerRun(100, func() { buf, err = p.Append(buf[:0], values) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if want := "/shop/a+red+hat/x/00042?token=YSByZWQgaGF0"; err != nil || string(buf) != want {
		t.Errorf("got %q, error %v, want %q", buf, err, want)
	}
}

func BenchmarkAppend(b *testing.B) {
	p, values := boundPattern(b)
	buf := make([]byte, 0, 200)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = p.Append(buf[:0], values)
	}
}

// No text makes the parser panic; what it accepts can be written, and its own
// text parses again to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a${b}c", "$${", "${urlencode:a[.]}", "${%-05x:a}", "${replace/a(b)/$1/g:c}", "${base64decode:x}", "${"} {
		f.Add(s, "some value &c.")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		p, err := pattern.Parse(s)
		if err != nil {
			return
		}
		vars := slots{{Text: []byte(value), IsSet: true}}
		first, err := p.Append(nil, vars)
		again, parseErr := pattern.Parse(p.String())
		if parseErr != nil {
			t.Fatalf("%q parses, but not again: %v", s, parseErr)
		}
		second, err2 := again.Append(nil, vars)
		if string(first) != string(second) || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Errorf("%q gives %q, %v, and then %q, %v", s, first, err, second, err2)
		}
		if text, ok := p.Literal(); ok && text != string(first) {
			t.Errorf("%q is literally %q, but written %q", s, text, first)
		}
		if encoded, err := pattern.Parse("${urlencode:v}"); err != nil {
			t.Fatal(err)
		} else if got, err := encoded.Append(nil, vars); err != nil {
			t.Fatal(err)
		} else if back, err := url.QueryUnescape(string(got)); err != nil || back != value {
			t.Errorf("%q is encoded as %q, which is %q, %v", value, got, back, err)
		}
	})
}
