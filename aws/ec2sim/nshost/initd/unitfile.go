//go:build linux

package initd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A unitFile is what the files of a unit say: section, key, values in order.
type unitFile map[string]map[string][]string

// parse adds what a file says to the unit. As systemd has it, an empty
// value takes back those before it, and a line that is none is passed over.
func (u unitFile) parse(text string) {
	section := ""
	var carried string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // between the parts of a long line, too
		}
		line = carried + line
		carried = ""
		if rest, ok := strings.CutSuffix(line, `\`); ok {
			carried = rest + " "
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		u.add(section, strings.TrimSpace(key), strings.TrimSpace(value))
	}
}

func (u unitFile) add(section, key, value string) {
	if u[section] == nil {
		u[section] = map[string][]string{}
	}
	if value == "" {
		u[section][key] = nil
		return
	}
	u[section][key] = append(u[section][key], value)
}

// last returns the value that stands, or the other if there is none.
func (u unitFile) last(section, key, other string) string {
	if values := u[section][key]; len(values) > 0 {
		return values[len(values)-1]
	}
	return other
}

// words returns the values of a key whose values are lists.
func (u unitFile) words(section string, keys ...string) []string {
	var out []string
	for _, key := range keys {
		for _, v := range u[section][key] {
			out = append(out, strings.Fields(v)...)
		}
	}
	return out
}

// span returns a duration, or the other if none is set. "infinity" is 0.
func (u unitFile) span(section, key string, other time.Duration) (time.Duration, error) {
	text := u.last(section, key, "")
	if text == "" {
		return other, nil
	}
	d, err := parseSpan(text)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: %w", key, text, err)
	}
	return d, nil
}

// loadUnit reads a unit's file and its drop-ins from the folders, of which the
// first that has a file of a name wins.
func loadUnit(name string, dirs ...string) (unitFile, error) {
	u := unitFile{}
	found := false
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if target, err := os.Readlink(path); err == nil && target == "/dev/null" {
			return nil, fmt.Errorf("unit %s is masked", name)
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u.parse(string(text))
		found = true
		break
	}
	if !found {
		return nil, fmt.Errorf("unit %s not found", name)
	}
	dropIns := map[string]string{}
	for _, dir := range slices.Backward(dirs) {
		paths, err := filepath.Glob(filepath.Join(dir, name+".d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			dropIns[filepath.Base(p)] = p
		}
	}
	names := make([]string, 0, len(dropIns))
	for n := range dropIns {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		text, err := os.ReadFile(dropIns[n])
		if err != nil {
			return nil, err
		}
		u.parse(string(text))
	}
	return u, nil
}

var spanUnits = map[string]time.Duration{
	"us": time.Microsecond, "usec": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseSpan reads a span of time as systemd writes it: 90, 1min 30s, 1.5h. Without a unit
// it is seconds; "infinity" is 0.
func parseSpan(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if text == "infinity" {
		return 0, nil
	}
	if text == "" {
		return 0, errors.New("no span of time")
	}
	var sum time.Duration
	for rest := text; rest != ""; {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits < 0 {
			digits = len(rest)
		}
		number, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no span of time", text)
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' })
		if letters < 0 {
			letters = len(rest)
		}
		unit, ok := spanUnits[rest[:letters]]
		if !ok {
			return 0, fmt.Errorf("%q is no span of time", text)
		}
		sum += time.Duration(number * float64(unit))
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	return sum, nil
}
