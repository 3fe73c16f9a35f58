//go:build linux

package initd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kballard/go-shellquote"
)

// An execLine is a command of a unit.
type execLine struct {
	argv []string
	// lenient passes over a failure: the line began with a dash.
	lenient bool
}

var reference = regexp.MustCompile(`\$\$|\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// parseExec reads a command line as systemd does: $NAME as a word of its own
// becomes the value's words, ${NAME} the value within a word.
func parseExec(line string, env map[string]string) (execLine, error) {
	rest := strings.TrimLeft(line, "-@:+!")
	lenient := strings.Contains(line[:len(line)-len(rest)], "-")
	words, err := shellquote.Split(rest)
	if err != nil {
		return execLine{}, fmt.Errorf("read %q: %w", line, err)
	}
	var argv []string
	for _, w := range words {
		name, ok := strings.CutPrefix(w, "$")
		if ok && isName(name) {
			argv = append(argv, strings.Fields(env[name])...)
			continue
		}
		argv = append(argv, reference.ReplaceAllStringFunc(w, func(r string) string {
			if r == "$$" {
				return "$"
			}
			return env[r[2:len(r)-1]]
		}))
	}
	if len(argv) == 0 {
		return execLine{}, fmt.Errorf("read %q: it names no program", line)
	}
	return execLine{argv: argv, lenient: lenient}, nil
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// specifiers returns a replacer of what unit files write with a percent sign.
func specifiers(unit string) *strings.Replacer {
	prefix := strings.TrimSuffix(unit, filepath.Ext(unit))
	name, instance, _ := strings.Cut(prefix, "@")
	host, _ := os.Hostname()
	return strings.NewReplacer("%%", "%", "%n", unit, "%N", prefix, "%p", name, "%i", instance, "%I", instance,
		"%H", host, "%t", "/run", "%S", "/var/lib", "%L", "/var/log")
}

// parseEnvironment adds the assignments of an Environment= line.
func parseEnvironment(line string, env map[string]string) error {
	words, err := shellquote.Split(line)
	if err != nil {
		return fmt.Errorf("read %q: %w", line, err)
	}
	for _, w := range words {
		if name, value, ok := strings.Cut(w, "="); ok {
			env[name] = value
		}
	}
	return nil
}

// parseEnvironmentFile adds the assignments of a file, a line each.
func parseEnvironmentFile(text string, env map[string]string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if strings.ContainsAny(value, `"'`) {
			words, err := shellquote.Split(value)
			if err != nil {
				return fmt.Errorf("read %q: %w", line, err)
			}
			value = strings.Join(words, " ")
		}
		env[strings.TrimSpace(name)] = value
	}
	return nil
}

// lookPath finds a program in the machine's own path.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, e := range environment {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			for _, dir := range filepath.SplitList(path) {
				if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
					return found, nil
				}
			}
		}
	}
	return "", errors.New(name + ": no such program")
}
