package main

import (
	"net"

	"github.com/loads/loads/loadgen"
)

// statsd returns a client for the machine's relay, nil when the environment
// names none.
func (p program) statsd() (*loadgen.Statsd, error) {
	host, port := p.getenv("STATSD_HOST"), p.getenv("STATSD_PORT")
	if host == "" {
		return nil, nil
	}
	if port == "" {
		port = "8125"
	}
	return loadgen.DialStatsd(net.JoinHostPort(host, port))
}

// env returns a variable of the environment, or a default.
func (p program) env(name, otherwise string) string {
	if v := p.getenv(name); v != "" {
		return v
	}
	return otherwise
}
