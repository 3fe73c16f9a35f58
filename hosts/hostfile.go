package hosts

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"

	"github.com/loads/loads/broker"
)

// Labels of a host that a step's fields are compared with. A host without the
// label suits any step.
const (
	hostRegion = "region"
	hostType   = "type"
)

// A Host is a Docker host of a list.
type Host struct {
	Name     string
	Endpoint broker.Endpoint
	// Address is the host's own address as its containers reach it, Public the
	// one from outside.
	Address, Public string
	Labels          map[string]string
}

// suits reports whether the request may have the host.
func (h Host) suits(req broker.MachineRequest) bool {
	region, hasRegion := h.Labels[hostRegion]
	typ, hasType := h.Labels[hostType]
	return (!hasRegion || region == req.Region) && (!hasType || typ == req.Type)
}

// LoadHosts reads a list of hosts from a YAML or JSON file. Paths in it are
// relative to the file. Its error is a strategies.Faults when the file can be
// read.
func LoadHosts(path string) ([]Host, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &broker.Error{
			Code: broker.EInvalid, Message: fmt.Sprintf("the list of hosts %s can't be read", path), Err: err,
		}
	}
	return ParseHosts(path, data)
}

// ParseHosts reads a list of hosts; path is that of its file. All faults are
// returned at once, as a strategies.Faults.
func ParseHosts(path string, data []byte) ([]Host, error) {
	p := &hostParser{faults: faults{file: path}, dir: filepath.Dir(path)}
	list := p.parse(data)
	if len(p.list) > 0 {
		return nil, p.list
	}
	return list, nil
}

// hostParser reads a list of hosts and collects its faults.
type hostParser struct {
	faults
	dir   string
	names map[string]string // value by what it must differ in, to the field that has it
}

func (p *hostParser) parse(data []byte) []Host {
	root, ok := p.document(data)
	if !ok {
		return nil
	}
	fields, ok := p.fields(root, "hosts")
	if !ok {
		return nil
	}
	items := p.items(fields["hosts"], root.sub("hosts"))
	p.names = map[string]string{}
	out := make([]Host, 0, len(items))
	for _, item := range items {
		out = append(out, p.host(item))
	}
	return out
}

// hostName is what a name may be: it becomes a part of ids and of paths.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (p *hostParser) host(n node) Host {
	f, ok := p.fields(n, "name", "endpoint", "tls", "address", "public_address", "labels")
	if !ok {
		return Host{}
	}
	h := Host{Labels: p.stringMap(f["labels"])}
	if name, ok := p.text(f["name"], n.sub("name")); ok {
		h.Name = name.Value
		if !hostName.MatchString(h.Name) {
			p.add(name, "is no name for a host", "letters, digits, dots, dashes and underscores, 63 at most")
		}
		p.once("name", name.Value, name)
	}
	h.Endpoint = p.endpoint(f, n)
	h.Address = p.address(f["address"], n.sub("address"), h.Endpoint)
	h.Public = h.Address
	if public := f["public_address"]; public.Node != nil {
		h.Public = p.ip(public)
	}
	return h
}

// once sees to it that no two hosts share the value.
func (p *hostParser) once(what, value string, n node) {
	key := what + " " + value
	if first, ok := p.names[key]; ok {
		p.add(n, "is also that of "+first, "each host once")
		return
	}
	p.names[key] = n.path
}

func (p *hostParser) endpoint(f map[string]node, host node) broker.Endpoint {
	n, ok := p.text(f["endpoint"], host.sub("endpoint"))
	if !ok {
		return broker.Endpoint{}
	}
	p.once("endpoint", n.Value, n)
	ep := broker.Endpoint{Host: n.Value}
	u, err := url.Parse(n.Value)
	if err != nil || !(u.Scheme == "unix" || u.Scheme == "tcp" || u.Scheme == "ssh") {
		p.add(n, "is no endpoint", "tcp://host:port, unix:///path or ssh://user@host")
		return ep
	}
	tls := f["tls"]
	switch {
	case tls.Node != nil && u.Scheme != "tcp":
		p.add(tls, "is given, but only tcp:// endpoints use TLS", "leave it out")
	case tls.Node != nil:
		ep.CA, ep.Cert, ep.Key = p.certificates(tls)
	case u.Scheme == "tcp" && !isLoopback(u.Hostname()):
		p.missing(host.sub("tls"), "tcp:// takes mutual TLS: {ca: FILE, cert: FILE, key: FILE}")
	}
	return ep
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}

func (p *hostParser) certificates(n node) (ca, cert, key string) {
	f, ok := p.fields(n, "ca", "cert", "key")
	if !ok {
		return "", "", ""
	}
	return p.path(f["ca"], n.sub("ca")), p.path(f["cert"], n.sub("cert")), p.path(f["key"], n.sub("key"))
}

// path returns the path of a file that must exist.
func (p *hostParser) path(n, missing node) string {
	n, ok := p.text(n, missing)
	if !ok {
		return ""
	}
	path := n.Value
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.dir, path)
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		p.add(n, "is no file that can be read: "+path, "the path of a PEM file, relative to this file")
	}
	return path
}

// address returns the host's address. A tcp:// endpoint that is an address
// tells it, so there it may be left out.
func (p *hostParser) address(n, missing node, ep broker.Endpoint) string {
	if n.Node == nil {
		if u, err := url.Parse(ep.Host); err == nil && u.Scheme == "tcp" {
			if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !addr.IsLoopback() {
				p.once("address", addr.String(), missing)
				return addr.String()
			}
		}
		p.missing(missing, "the host's own IP address, as its containers reach it")
		return ""
	}
	addr := p.ip(n)
	if addr != "" {
		p.once("address", addr, n)
	}
	return addr
}

func (p *hostParser) ip(n node) string {
	n, ok := p.text(n, n)
	if !ok {
		return ""
	}
	addr, err := netip.ParseAddr(n.Value)
	if err != nil || addr.IsUnspecified() {
		p.add(n, "is no address of a host", "an IP address")
		return ""
	}
	return addr.String()
}
