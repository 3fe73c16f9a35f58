package strategies

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/loads/loads/internal/source"
)

// What mappings look like, for faults.
const (
	wantPort   = "give container:host, ports from 1 to 65535, with /udp for UDP"
	wantVolume = "give container:host, both absolute paths, with :rw to write"
)

// splitList splits a comma list; spaces around its entries don't count. An
// empty text has no entries.
func splitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	entries := strings.Split(s, ",")
	for i, e := range entries {
		entries[i] = strings.TrimSpace(e)
	}
	return entries
}

// parsePort reads one entry of port_mapping; what says what is wrong with it.
func parsePort(entry string) (port Port, what string) {
	ports, protocol, found := strings.Cut(entry, "/")
	if !found {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return Port{}, "names the protocol " + source.Show(protocol)
	}
	container, host, found := strings.Cut(ports, ":")
	if !found || strings.Contains(host, ":") {
		return Port{}, "is not a pair of ports"
	}
	c, okC := portNumber(container)
	h, okH := portNumber(host)
	if !okC || !okH {
		return Port{}, "has a part that is not a port"
	}
	return Port{Container: c, Host: h, Protocol: protocol}, ""
}

func portNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n > 0
}

// parseVolume reads one entry of volume_mapping, without looking at the host's
// path, which may hold variables; what says what is wrong with it.
func parseVolume(entry string) (volume Volume, what string) {
	parts := strings.Split(entry, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Volume{}, "is not a pair of paths"
	}
	v := Volume{Container: parts[0], Host: parts[1], ReadOnly: true}
	if len(parts) == 3 {
		if parts[2] != "ro" && parts[2] != "rw" {
			return Volume{}, "has the mode " + source.Show(parts[2]) + ", not ro or rw"
		}
		v.ReadOnly = parts[2] == "ro"
	}
	switch {
	case strings.Contains(v.Container, "$"):
		return Volume{}, "has a variable in the container's path"
	case !path.IsAbs(v.Container) || path.Clean(v.Container) == "/":
		return Volume{}, "has a path in the container that is not absolute, or is /"
	case v.Host == "":
		return Volume{}, "has no path on the machine"
	}
	return v, ""
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
			c.add(field, source.Show(entry), what, wantPort)
		case port.Host == StatsdPort: // it receives over UDP and TCP
			c.add(field, source.Show(entry), "publishes the port of the machine's statsd receiver", "give another host port")
		case seen[key]:
			c.add(field, source.Show(entry), fmt.Sprintf("publishes host port %d/%s twice", port.Host, port.Protocol),
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
			c.add(field, source.Show(entry), what, wantVolume)
			continue
		}
		if !c.dollarsOf(field, source.Show(entry), volume.Host) {
			continue
		}
		if !path.IsAbs(volume.Host) && !strings.HasPrefix(volume.Host, "$") {
			c.add(field, source.Show(entry), "has a path on the machine that is not absolute", wantVolume)
		}
		inside := path.Clean(volume.Container)
		switch {
		case hidesSocket(inside):
			c.add(field, source.Show(entry), "hides "+StatsdSocket+", the machine's statsd receiver", "give another path in the container")
		case seen[inside]:
			c.add(field, source.Show(entry), "mounts "+inside+" twice", "give each a path in the container of its own")
		}
		seen[inside] = true
	}
}

// hidesSocket reports whether a volume there and the folder of StatsdSocket
// can't both be mounted. /var/run is /run in most images.
func hidesSocket(inside string) bool {
	inside = strings.TrimPrefix(inside, "/var")
	folder := path.Dir(StatsdSocket)
	return inside == path.Dir(folder) || inside == folder || strings.HasPrefix(inside, folder+"/")
}
