package strategies

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/kballard/go-shellquote"

	"github.com/loads/loads/internal/source"
)

func (c *checker) container(at string, s Step) {
	c.image(child(at, "container_name"), s)
	field := child(at, "container_url")
	if s.ContainerURL == "" || !c.dollars(field, s.ContainerURL) {
		return
	}
	text := s.ContainerURL
	if strings.HasPrefix(text, "$") && !strings.HasPrefix(text, "$$") {
		return // the scheme comes with a variable, and is checked with its value
	}
	if what := wrongURL(blank(text)); what != "" {
		c.add(field, source.Show(text), what, "give an http:// or https:// address, or file:// and an absolute path")
	}
}

func (c *checker) image(field string, s Step) {
	const want = "give the image as name:tag"
	switch {
	case s.ContainerName == "" && s.ContainerURL != "":
		c.add(field, "", "is missing", "give the name:tag of the image in the tarball")
		return
	case s.ContainerName == "":
		c.add(field, "", "is missing", want)
		return
	case !c.dollars(field, s.ContainerName):
		return
	}
	// A variable may stand for a digest, where "x" could not.
	name := regexp.MustCompile(`@\$\{?[A-Za-z_][A-Za-z0-9_]*\}?$`).ReplaceAllString(s.ContainerName, "")
	name = blank(name)
	if _, err := reference.ParseNormalizedNamed(name); err == nil {
		return
	}
	if _, err := reference.ParseNormalizedNamed(strings.ToLower(name)); err == nil {
		c.add(field, source.Show(s.ContainerName), "has capital letters in the image's name", "write the name in small letters")
		return
	}
	c.add(field, source.Show(s.ContainerName), "is not the name of an image", want)
}

func (c *checker) args(field, text string) {
	if !c.dollars(field, text) {
		return
	}
	if _, err := shellquote.Split(blank(text)); err != nil {
		what, want := splitFault(err)
		c.add(field, source.Show(text), "has "+what, want)
	}
}

// splitFault says what is wrong with text that can't be split into words.
func splitFault(err error) (what, want string) {
	switch {
	case errors.Is(err, shellquote.UnterminatedSingleQuoteError):
		return "a ' that is not closed", `close it, or write \'`
	case errors.Is(err, shellquote.UnterminatedDoubleQuoteError):
		return `a " that is not closed`, `close it, or write \"`
	}
	return `a \ at its end`, `write \\ for a backslash`
}

// capture checks the file for the output, which must stay in the run's folder.
func (c *checker) capture(field, file string) {
	const want = "give a path in the run's folder, such as logs/generator.log"
	if file == "" {
		return
	}
	parts := strings.Split(file, "/")
	switch {
	case slices.Contains(parts, ".."):
		c.add(field, source.Show(file), "leaves the run's folder", want)
	case path.Clean("/"+file) == "/" || strings.HasSuffix(file, "/"):
		c.add(field, source.Show(file), "names no file", want)
	default:
		c.printable(field, file)
	}
}
