package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
)

// endpoint is a server, as this machine sees it.
type endpoint struct {
	spec      *benchmark.Endpoint
	tls       *tls.Config // nil is none
	addresses []netip.AddrPort
	most      int    // connections of this machine
	core      int    // of them, those that are made beforehand
	host      string // for the header Host
	holds     bool   // sessions keep connections
	closes    bool   // and close them in the end
}

// share is a loop's part of an endpoint.
type share struct {
	endpoint *endpoint
	max, min int // connections
	spare    int
}

// newTransport makes the transport of an endpoint for a loop.
func newTransport(l *loop.Loop, s share) Transport {
	spec := s.endpoint.spec
	cfg := h1.Config{
		Addresses: s.endpoint.addresses, Min: s.min, Max: s.max, Spare: s.spare,
		IdleTimeout: time.Duration(spec.Shared.KeepAlive), NoReuse: spec.Strategy == benchmark.AlwaysNew,
		HandshakeTimeout: time.Duration(spec.Handshake),
	}
	one := func(http2 bool) Transport {
		if cfg.TLS = alpn(s.endpoint.tls, "http/1.1"); !http2 {
			return newHTTP1(l, cfg)
		}
		cfg.TLS = alpn(s.endpoint.tls, "h2")
		return newHTTP2(l, cfg, spec.Streams)
	}
	if s.endpoint.tls == nil {
		return one(spec.Direct || !spec.HTTP1)
	}
	if spec.HTTP1 && spec.HTTP2 {
		cfg.TLS = alpn(s.endpoint.tls, "h2", "http/1.1")
		return newEither(l, cfg, one)
	}
	return one(spec.HTTP2)
}

// shareOf returns a loop's part.
func (ep *endpoint) shareOf(e *engine, w *worker) share {
	part := func(n int) int {
		even := slices.Repeat([]float64{1}, e.loops)
		return phases.Split(n, even)[w.index]
	}
	return share{endpoint: ep, max: part(ep.most), min: part(ep.core), spare: part(ep.spec.Shared.Buffer)}
}

// checkEndpoints returns what this engine can't do of endpoints.
func checkEndpoints(cfg Config) (faults benchmark.Faults) {
	for i := range cfg.Benchmark.HTTP {
		spec := &cfg.Benchmark.HTTP[i]
		fault := func(field, what, want string) {
			faults = append(faults, benchmark.Fault{File: cfg.Name, Line: spec.Line, Column: spec.Column, Field: "http." + field, What: what, Want: want})
		}
		tlsConfig(&cfg, spec, fault)
	}
	return faults
}

// prepareEndpoints looks up addresses, and divides connections.
func (e *engine) prepareEndpoints(ctx context.Context) error {
	var errs []error
	for i := range e.cfg.Benchmark.HTTP {
		spec := &e.cfg.Benchmark.HTTP[i]
		ep := endpoint{spec: spec, host: hostHeader(spec), tls: tlsConfig(&e.cfg, spec, func(string, string, string) {})}
		ep.most, _ = phases.Connections(spec.Shared.Max, e.cfg.Machine, e.cfg.Machines)
		ep.core = min(ep.most, (spec.Shared.Core+e.cfg.Machines-1)/e.cfg.Machines)
		switch spec.Strategy {
		case benchmark.SessionPools:
			ep.holds = true
		case benchmark.OpenOnRequest:
			ep.holds, ep.closes, ep.core = true, true, 0
		case benchmark.AlwaysNew:
			ep.core = 0
		case benchmark.SharedPool:
		}
		if e.cfg.Patient {
			ep.core = 0
		}
		var err error
		if ep.addresses, err = lookup(ctx, spec); err != nil && e.cfg.Patient {
			ep.addresses = []netip.AddrPort{nowhere}
		} else if err != nil {
			errs = append(errs, err)
		}
		e.endpoints = append(e.endpoints, ep)
	}
	return errors.Join(errs...)
}

// nowhere refuses all connections.
var nowhere = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// How often names are looked up again: new connections go to where they lead
// then.
const (
	lookUpEvery   = 10 * time.Second
	lookUpUnknown = 100 * time.Millisecond // while one leads nowhere
	lookUpAttempt = 5 * time.Second
)

// lookAgain looks names up from time to time until ctx is done, and tells the
// loops where they lead.
func (e *engine) lookAgain(ctx context.Context) {
	known := make([][]netip.AddrPort, len(e.endpoints))
	for i := range e.endpoints {
		known[i] = e.endpoints[i].addresses
	}
	for {
		pause := lookUpEvery
		if slices.ContainsFunc(known, func(list []netip.AddrPort) bool { return slices.Contains(list, nowhere) }) {
			pause = lookUpUnknown
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		for i := range e.endpoints {
			attempt, cancel := context.WithTimeout(ctx, lookUpAttempt)
			found, err := lookup(attempt, e.endpoints[i].spec)
			cancel()
			if err != nil || len(found) == 0 || slices.Equal(found, known[i]) {
				continue // what was known stays
			}
			known[i] = found
			for _, w := range e.workers {
				w.loop.Post(func() { w.transports[i].SetAddresses(found) })
			}
		}
	}
}

// hostHeader is the value of the header Host: without a port that goes without saying.
func hostHeader(spec *benchmark.Endpoint) string {
	if spec.Protocol == "http" && spec.Port == 80 || spec.Protocol == "https" && spec.Port == 443 {
		if ip, err := netip.ParseAddr(spec.Host); err == nil && ip.Is6() {
			return "[" + spec.Host + "]"
		}
		return spec.Host
	}
	return spec.Authority()
}

// lookup returns the addresses to connect to.
func lookup(ctx context.Context, spec *benchmark.Endpoint) (all []netip.AddrPort, err error) {
	names := spec.Addresses
	if len(names) == 0 {
		names = []string{spec.Host}
	}
	for _, name := range names {
		host, port := strings.Trim(name, "[]"), spec.Port
		if h, p, err := net.SplitHostPort(name); err == nil {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("address %s has no port from 1 to 65535", name)
			}
			host, port = h, int(n)
		}
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", host, err)
		}
		for _, ip := range usable(found) {
			all = append(all, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	return all, nil
}

// withPort returns an address with a port, the endpoint's if it has none.
func withPort(address string, port int) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(port))
}

// usable returns the addresses of version 4, if there are any, as a machine need
// not have a way to the others.
func usable(found []netip.Addr) (list []netip.Addr) {
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() {
			list = append(list, ip)
		}
	}
	if len(list) == 0 {
		list = found
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}
