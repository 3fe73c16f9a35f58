package strategies

import (
	"errors"
	"fmt"
	"net"
	"path"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/kballard/go-shellquote"
)

// step checks all that can be said of a step alone.
func (c *checker) step(at string, s Step) {
	c.name(child(at, "name"), s.Name)
	c.printable(child(at, "docker_series"), s.DockerSeries)
	c.hostName(child(at, "dns_name"), s.DNSName)
	c.environment(child(at, "environment_data"), s.EnvironmentData)
	c.machines(at, s)
	if s.Monitor {
		c.monitor(at, s)
		return
	}
	c.times(at, s)
	c.count(child(at, "instance_count"), s.InstanceCount, 1, maxInstances, "machines")
	c.container(at, s)
	c.args(child(at, "additional_command_args"), s.AdditionalCommandArgs)
	c.ports(child(at, "port_mapping"), s.PortMapping)
	c.volumes(child(at, "volume_mapping"), s.VolumeMapping)
	c.capture(child(at, "_capture_output"), s.CaptureOutput)
	c.limits(at, s)
	c.ready(at, s)
}

// monitorFields may be given on the monitor step; all others are fixed.
var monitorFields = [...]string{"name", "instance_region", "instance_type", "environment_data", "dns_name", "monitor"}

// monitor declines a value for what is fixed about the monitor step.
func (c *checker) monitor(at string, s Step) {
	fixed := defaultStep()
	fixed.RunMaxTime = 0
	v, want := reflect.ValueOf(s), reflect.ValueOf(fixed)
	for _, f := range fieldsOf(v.Type()) {
		if f.internal || slices.Contains(monitorFields[:], f.name) {
			continue
		}
		if !reflect.DeepEqual(v.Field(f.index).Interface(), want.Field(f.index).Interface()) {
			c.add(child(at, f.name), "", "is fixed for the monitor step",
				"leave it out; only "+joinWords(monitorFields[:5])+" may be given")
		}
	}
}

func (c *checker) times(at string, s Step) {
	c.seconds(child(at, "run_delay"), s.RunDelay, 0)
	c.seconds(child(at, "node_delay"), s.NodeDelay, 0)
	c.seconds(child(at, "stop_timeout"), s.StopTimeout, 0)
	if s.RunMaxTime == 0 {
		c.add(child(at, "run_max_time"), "0", "is no limit, which only the monitor step may have", "give seconds, 1 or more")
		return
	}
	c.seconds(child(at, "run_max_time"), s.RunMaxTime, 1)
}

func (c *checker) machines(at string, s Step) {
	c.word(child(at, "instance_region"), s.InstanceRegion, "give a region such as "+DefaultInstanceRegion)
	c.word(child(at, "instance_type"), s.InstanceType, "give a type such as "+DefaultInstanceType)
}

// word checks a provider's name for something: lower-case letters, digits,
// dots and hyphens.
func (c *checker) word(field, text, want string) {
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) }
	switch {
	case text == "":
		c.add(field, `""`, "is empty", want)
	case strings.ContainsFunc(text, odd):
		c.add(field, show(text), "has characters that no such name has", want)
	}
}

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
	if what := wrongURL(blank(text, "x")); what != "" {
		c.add(field, show(text), what, "give an http:// or https:// address, or file:// and an absolute path")
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
	_, err := reference.ParseNormalizedNamed(blank(name, "x"))
	switch {
	case errors.Is(err, reference.ErrNameContainsUppercase):
		c.add(field, show(s.ContainerName), "has capital letters in the image's name", want+", the name in small letters")
	case err != nil:
		c.add(field, show(s.ContainerName), "is not the name of an image", want)
	}
}

// blank puts x in the place of every variable of a text with sound dollars.
func blank(s, x string) string {
	out, err := interpolate(s, func(string) (string, error) { return x, nil })
	if err != nil {
		return s
	}
	return out
}

// dollars checks the use of $ and reports whether it is right.
func (c *checker) dollars(field, text string) bool {
	return c.dollarsOf(field, show(text), text)
}

func (c *checker) dollarsOf(field, shown, text string) bool {
	_, err := variablesIn(text)
	if err == nil {
		return true
	}
	what, want, _ := strings.Cut(err.Error(), ": ")
	c.add(field, shown, "has "+what, want)
	return false
}

func (c *checker) environment(field string, env Environment) {
	if len(env) > maxVariables {
		c.add(field, "", fmt.Sprintf("has %d variables", len(env)), fmt.Sprintf("%d are the most", maxVariables))
		return
	}
	seen := map[string]bool{}
	for _, v := range env {
		at := child(field, v.Name)
		switch {
		case seen[v.Name]:
			c.add(at, "", "is given twice", "leave one")
		case !isVariableName(v.Name):
			c.add(at, "", "is not a name for a variable", "use letters, digits and _, no digit first")
		case isBuiltin(v.Name) && v.Value != "$"+v.Name && v.Value != "${"+v.Name+"}":
			c.add(at, show(v.Value), "is given for a built-in variable", "use another name")
		case strings.ContainsRune(v.Value, 0):
			c.add(at, "", "holds a NUL character", "leave it out")
		default:
			c.dollarsOf(at, showOf(v.Name, v.Value), v.Value)
		}
		seen[v.Name] = true
	}
}

// isVariableName accepts what Interpolate does, and dots and hyphens: some
// images are configured by such names.
func isVariableName(name string) bool {
	if nameLen(name) == 0 {
		return false
	}
	plain := strings.NewReplacer(".", "_", "-", "_").Replace(name)
	return nameLen(plain) == len(plain)
}

func (c *checker) args(field, text string) {
	if !c.dollars(field, text) {
		return
	}
	if _, err := shellquote.Split(blank(text, "x")); err != nil {
		c.add(field, show(text), "has "+splitFault(err), "close it, or put a \\ before it")
	}
}

func splitFault(err error) string {
	switch {
	case errors.Is(err, shellquote.UnterminatedSingleQuoteError):
		return "a ' that is not closed"
	case errors.Is(err, shellquote.UnterminatedDoubleQuoteError):
		return `a " that is not closed`
	}
	return `a \ at its end`
}

func (c *checker) hostName(field, name string) {
	const want = "give a host name such as service.test: letters, digits and hyphens, with dots between"
	switch {
	case name == "":
	case net.ParseIP(name) != nil:
		c.add(field, show(name), "is an address", want)
	case !isHostName(name):
		c.add(field, show(name), "is not a host name", want)
	}
}

func isHostName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return false
	}
	label := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	return !slices.ContainsFunc(strings.Split(name, "."), func(l string) bool { return !label.MatchString(l) })
}

func (c *checker) ports(field, mapping string) {
	type published struct {
		port     int
		protocol string
	}
	seen := map[published]bool{}
	for _, entry := range splitList(mapping) {
		port, what := parsePort(entry)
		key := published{port.Host, port.Protocol}
		switch {
		case what != "":
			c.add(field, show(entry), what, wantPort)
		case key == published{StatsdPort, "udp"}:
			c.add(field, show(entry), "publishes the port of the machine's statsd receiver", "give another host port")
		case seen[key]:
			c.add(field, show(entry), fmt.Sprintf("publishes host port %d/%s twice", port.Host, port.Protocol),
				"give each a host port of its own")
		}
		seen[key] = what == ""
	}
}

func (c *checker) volumes(field, mapping string) {
	seen := map[string]bool{}
	for _, entry := range splitList(mapping) {
		volume, what := parseVolume(entry)
		if what != "" {
			c.add(field, show(entry), what, wantVolume)
			continue
		}
		if !c.dollarsOf(field, show(entry), volume.Host) {
			continue
		}
		if !path.IsAbs(volume.Host) && !strings.HasPrefix(volume.Host, "$") {
			c.add(field, show(entry), "has a path on the machine that is not absolute", wantVolume)
		}
		if inside := path.Clean(volume.Container); seen[inside] {
			c.add(field, show(entry), "mounts "+inside+" twice", "give each a path in the container of its own")
		} else {
			seen[inside] = true
		}
	}
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
		c.add(field, show(file), "leaves the run's folder", want)
	case path.Clean("/"+file) == "/" || strings.HasSuffix(file, "/"):
		c.add(field, show(file), "names no file", want)
	default:
		c.printable(field, file)
	}
}

func (c *checker) limits(at string, s Step) {
	for _, name := range sortedNames(s.Ulimits) {
		c.ulimit(child(child(at, "ulimits"), name), name, s.Ulimits[name])
	}
	if s.CPUs < 0 || s.CPUs > 1024 {
		c.add(child(at, "cpus"), strconv.FormatFloat(s.CPUs, 'g', -1, 64), "is not a number of processors",
			"give a number from 0, no limit, to 1024")
	}
	field, size := child(at, "memory"), strconv.FormatInt(int64(s.Memory), 10)
	switch {
	case s.Memory < 0:
		c.add(field, size, "is negative", "give 6m or more, or 0 for no limit")
	case s.Memory > 0 && s.Memory < minMemory:
		c.add(field, size, "is less than a container needs", "give 6m or more, or 0 for no limit")
	case s.Memory > maxBytes:
		c.add(field, size, "is too large", "give bytes, or a size such as 512m or 2g")
	}
}

func sortedNames(m map[string]Ulimit) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ulimitNames are those that Docker knows.
var ulimitNames = [...]string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
	"rtprio", "rttime", "sigpending", "stack",
}

func (c *checker) ulimit(field, name string, u Ulimit) {
	value := fmt.Sprintf("%d:%d", u.Soft, u.Hard)
	switch {
	case !slices.Contains(ulimitNames[:], name):
		want := didYouMean(name, ulimitNames[:])
		if want == "" {
			want = "the limits are " + joinWords(ulimitNames[:])
		}
		c.add(field, "", "is not the name of a limit", want)
	case u.Soft < -1 || u.Hard < -1:
		c.add(field, value, "is negative", "give numbers from 0, or -1 for unlimited")
	case u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard):
		c.add(field, value, "has a soft limit above the hard one", "give soft:hard, the soft one not above")
	}
}

func (c *checker) ready(at string, s Step) {
	if s.Ready == nil {
		return
	}
	field, r := child(at, "ready"), *s.Ready
	given := 0
	for _, is := range []bool{r.Port != 0, r.Log != "", r.Health} {
		if is {
			given++
		}
	}
	if given != 1 {
		c.add(field, "", fmt.Sprintf("has %d of port, log and health", given), "give exactly one of them")
	}
	if r.Port != 0 && !c.isUnknown(child(at, "port_mapping")) && !publishes(s.PortMapping, r.Port) {
		c.add(child(field, "port"), strconv.Itoa(r.Port), "is not a TCP host port of port_mapping", "publish it there, or give one that is")
	}
	if _, err := regexp.Compile(r.Log); err != nil {
		c.add(child(field, "log"), show(r.Log), "is not a regular expression: "+regexpFault(err), "write it in RE2's syntax")
	}
	c.seconds(child(field, "timeout"), r.Timeout, 1)
}

func publishes(mapping string, host int) bool {
	return slices.ContainsFunc(splitList(mapping), func(entry string) bool {
		port, what := parsePort(entry)
		return what == "" && port.Host == host && port.Protocol == "tcp"
	})
}

func regexpFault(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}
