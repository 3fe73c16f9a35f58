package strategies

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/loads/loads/internal/source"
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
	c.bounded(at, "instance_count", s.InstanceCount)
	c.container(at, s)
	c.args(child(at, "additional_command_args"), s.AdditionalCommandArgs)
	c.ports(child(at, "port_mapping"), s.PortMapping)
	c.volumes(child(at, "volume_mapping"), s.VolumeMapping)
	c.capture(child(at, "_capture_output"), s.CaptureOutput)
	c.limits(at, s)
	c.ready(at, s)
	c.logMetrics(child(at, "log_metrics"), s.LogMetrics)
	c.benchmark(child(at, "benchmark"), s.Benchmark)
	c.quorum(at, s)
	c.role(at, s)
	c.rented(at, s)
}

// monitor declines a value for what is fixed about the monitor step.
func (c *checker) monitor(at string, s Step) {
	fixed := defaultStep()
	fixed.RunMaxTime = 0
	v, want := reflect.ValueOf(s), reflect.ValueOf(fixed)
	for _, f := range fieldsOf(v.Type()) {
		if f.internal || slices.Contains(monitorFields(), f.name) {
			continue
		}
		if !reflect.DeepEqual(v.Field(f.index).Interface(), want.Field(f.index).Interface()) {
			c.add(child(at, f.name), "", "is fixed for the monitor step",
				"leave it out; only "+source.JoinWords(monitorFields()[1:])+" may be given")
		}
	}
}

func (c *checker) times(at string, s Step) {
	c.bounded(at, "run_delay", s.RunDelay)
	c.bounded(at, "node_delay", s.NodeDelay)
	c.bounded(at, "stop_timeout", s.StopTimeout)
	if s.RunMaxTime == 0 {
		c.add(child(at, "run_max_time"), "0", "is no limit, which only the monitor step may have", "give seconds, 1 or more")
		return
	}
	c.bounded(at, "run_max_time", s.RunMaxTime)
}

func (c *checker) machines(at string, s Step) {
	c.word(child(at, "instance_region"), s.InstanceRegion, "give a region such as "+defaultInstanceRegion)
	c.word(child(at, "instance_type"), s.InstanceType, "give a type such as "+defaultInstanceType)
}

// word checks a provider's name for something: lower-case letters, digits,
// dots and hyphens.
func (c *checker) word(field, text, want string) {
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) }
	switch {
	case text == "":
		c.add(field, `""`, "is empty", want)
	case strings.ContainsFunc(text, odd):
		c.add(field, source.Show(text), "has characters that no such name has", want)
	}
}

func (c *checker) limits(at string, s Step) {
	for _, name := range sortedNames(s.Ulimits) {
		if c.isFull() {
			return
		}
		c.ulimit(child(child(at, "ulimits"), name), name, s.Ulimits[name])
	}
	if s.CPUs < 0 || s.CPUs > maxCPUs {
		c.add(child(at, "cpus"), strconv.FormatFloat(s.CPUs, 'g', -1, 64), "is not a number of processors",
			fmt.Sprintf("give a number from 0, no limit, to %d", maxCPUs))
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

func (c *checker) ulimit(field, name string, u Ulimit) {
	value := fmt.Sprintf("%d:%d", u.Soft, u.Hard)
	switch {
	case !slices.Contains(ulimitNames(), name):
		want := source.DidYouMean(name, ulimitNames())
		if want == "" {
			want = "the limits are " + source.JoinWords(ulimitNames())
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
		c.add(child(field, "log"), source.Show(r.Log), "is not a regular expression: "+regexpFault(err), "write it in RE2's syntax")
	}
	c.bounded(field, "timeout", r.Timeout)
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

func (c *checker) hostName(field, name string) {
	const want = "give a host name such as service.test: letters, digits and hyphens, with dots between"
	_, err := netip.ParseAddr(name)
	switch {
	case name == "":
	case err == nil:
		c.add(field, source.Show(name), "is an address", want)
	case !isHostName(name):
		c.add(field, source.Show(name), "is not a host name", want)
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
