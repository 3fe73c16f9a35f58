package dockerctl

import (
	"cmp"
	"context"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// What is kept of a container's output unless told otherwise: bytes of a file,
// and files.
const (
	logSize  = 100 << 20
	logFiles = 5
)

// Create makes a container without starting it, puts its files into it, and
// looks at the result once. A container of that name with the same labels is
// that container: its files are put again unless it was started.
func (e *Engine) Create(ctx context.Context, spec broker.ContainerSpec) (string, error) {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	opts, err := e.createOptions(spec)
	if err != nil {
		return "", err
	}
	id, err := e.createOrFind(ctx, spec, opts)
	if err != nil {
		return "", err
	}
	c, err := e.Inspect(ctx, id)
	if err != nil || c.Started() {
		return id, err
	}
	return id, e.putFiles(ctx, id, spec.Files)
}

// createOrFind creates the container, or finds it by its name. The engine
// gives a name away a moment before the container can be seen, and takes it
// back a moment after the container is gone: then both are tried again.
func (e *Engine) createOrFind(ctx context.Context, spec broker.ContainerSpec, opts client.ContainerCreateOptions) (string, error) {
	try := func() (string, error) {
		id, err := e.create(ctx, spec, opts)
		if broker.CodeOf(err) != broker.EConflict {
			return id, settled(err)
		}
		id, err = e.find(ctx, spec)
		if broker.CodeOf(err) != broker.ENotFound {
			return id, settled(err)
		}
		return "", err
	}
	id, err := backoff.Retry(ctx, try, backoff.WithBackOff(quickBackOff()), backoff.WithMaxElapsedTime(quickLimit))
	return id, e.fail(ctx, permanent(err), "create container %s", spec.Name)
}

// settled marks an error as one that trying again does not help.
func settled(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

func (e *Engine) create(ctx context.Context, spec broker.ContainerSpec, opts client.ContainerCreateOptions) (string, error) {
	call, done := seen(ctx)
	defer done()
	res, err := e.cli.ContainerCreate(call, opts)
	if err != nil {
		return "", e.fail(ctx, err, "create container %s", spec.Name)
	}
	for _, w := range res.Warnings {
		e.log.Warn("engine warns of a container", "container", spec.Name, "warning", w)
	}
	return res.ID, nil
}

// find returns the container that has the spec's name, if it is the spec's.
func (e *Engine) find(ctx context.Context, spec broker.ContainerSpec) (string, error) {
	c, err := e.Inspect(ctx, spec.Name)
	if err != nil {
		return "", err
	}
	if !carries(c.Labels, spec.Labels) {
		return "", broker.Errorf(broker.EConflict,
			"can't create container %s: the engine at %s has another one of that name; remove it with: docker rm -f %s",
			spec.Name, e.ep.Host, spec.Name)
	}
	return c.ID, nil
}

// carries reports whether have holds all of want.
func carries(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (e *Engine) createOptions(spec broker.ContainerSpec) (client.ContainerCreateOptions, error) {
	none := client.ContainerCreateOptions{}
	exposed, published, err := ports(spec.Ports)
	if err != nil {
		return none, err
	}
	dns, err := addresses(spec.DNS)
	if err != nil {
		return none, err
	}
	binds, err := volumes(spec.Volumes)
	if err != nil {
		return none, err
	}
	stop := seconds(spec.StopTimeout)
	noInit := false // the plan's program is process 1, as in its own image
	return client.ContainerCreateOptions{
		Name: spec.Name,
		Config: &container.Config{
			Image: spec.Image, Cmd: spec.Command, Env: spec.Env, Labels: spec.Labels,
			ExposedPorts: exposed, StopTimeout: &stop,
		},
		HostConfig: &container.HostConfig{
			Binds: binds, Mounts: shared(spec.Shared, spec.Labels), DNS: dns, PortBindings: published, Init: &noInit, Sysctls: spec.Sysctls,
			NetworkMode:   container.NetworkMode(spec.Network),
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			LogConfig:     logConfig(spec.Log),
			Resources: container.Resources{
				NanoCPUs: spec.NanoCPUs, Memory: spec.Memory, Ulimits: ulimits(spec.Ulimits),
			},
		},
	}, nil
}

// logConfig names the driver, since the engine's default may be one that
// can't be read back; the frames are read from these files. Their size is
// bounded, so that a chatty container can't fill the machine's disk.
func logConfig(l broker.LogLimit) container.LogConfig {
	size, files := cmp.Or(l.Size, logSize), cmp.Or(l.Files, logFiles)
	return container.LogConfig{Type: "json-file", Config: map[string]string{
		"max-size": strconv.FormatInt(size, 10), "max-file": strconv.Itoa(files),
	}}
}

func ports(bindings []broker.PortBinding) (network.PortSet, network.PortMap, error) {
	exposed, published := network.PortSet{}, network.PortMap{}
	for _, b := range bindings {
		if b.Container < 1 || b.Container > 65535 || b.Host < 0 || b.Host > 65535 {
			return nil, nil, broker.Errorf(broker.EInvalid, "port %d:%d is outside of 1 to 65535", b.Container, b.Host)
		}
		port, ok := network.PortFrom(uint16(b.Container), network.IPProtocol(b.Protocol))
		host, hostOK := network.PortFrom(uint16(max(b.Host, 1)), network.IPProtocol(b.Protocol))
		if !ok || !hostOK || (b.Protocol != "tcp" && b.Protocol != "udp") {
			return nil, nil, broker.Errorf(broker.EInvalid, "protocol %q of port %d is neither tcp nor udp", b.Protocol, b.Container)
		}
		binding := network.PortBinding{}
		if b.Host > 0 {
			binding.HostPort = host.Port()
		}
		if b.Address != "" {
			addr, err := netip.ParseAddr(b.Address)
			if err != nil {
				return nil, nil, broker.Errorf(broker.EInvalid, "%q, the address to publish port %d on, is no IP address", b.Address, b.Container)
			}
			binding.HostIP = addr
		}
		exposed[port] = struct{}{}
		published[port] = append(published[port], binding)
	}
	return exposed, published, nil
}

func addresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, broker.Errorf(broker.EInvalid, "name server %q is no IP address", s)
		}
		out = append(out, addr)
	}
	return out, nil
}

// volumes returns bind mounts. A host path that is not absolute would be taken
// for the name of a volume, which nobody would ever remove.
func volumes(bindings []broker.VolumeBinding) ([]string, error) {
	var out []string
	for _, b := range bindings {
		for _, p := range []string{b.Host, b.Container} {
			if !path.IsAbs(p) || strings.Contains(p, ":") {
				return nil, broker.Errorf(broker.EInvalid, "volume %s:%s must name two absolute paths without colons", b.Container, b.Host)
			}
		}
		mode := "rw"
		if b.ReadOnly {
			mode = "ro"
		}
		out = append(out, b.Host+":"+b.Container+":"+mode)
	}
	return out, nil
}

func ulimits(limits map[string][2]int64) []*container.Ulimit {
	var out []*container.Ulimit
	for name, l := range limits {
		out = append(out, &container.Ulimit{Name: name, Soft: l[0], Hard: l[1]})
	}
	slices.SortFunc(out, func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	return out
}
