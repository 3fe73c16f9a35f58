package main

import (
	"io"
	"net"

	"github.com/loads/loads/loadgen"
	"github.com/loads/loads/loadgen/stats"
)

// statsd returns a client for the receiver of statsd that the environment
// names, nil when it names none.
func (p program) statsd() (*loadgen.Statsd, error) {
	address := p.statsdAddress()
	if address == "" {
		return nil, nil
	}
	return loadgen.DialStatsd(address)
}

// statistics returns where a generator sends its statistics, and what is to be
// closed in the end; both are nil when the environment names no receiver. A
// container of a plan has the relay's socket: then the receiver is the relay,
// which takes sketches as they are. Any other gets lines of statsd.
func (p program) statistics() (stats.Sink, io.Closer, error) {
	address := p.statsdAddress()
	if address == "" {
		return nil, nil, nil
	}
	if p.getenv("STATSD_SOCKET") != "" {
		link := loadgen.NewLink(address)
		return stats.NewPoints(link), link, nil
	}
	client, err := loadgen.DialStatsd(address)
	if err != nil {
		return nil, nil, err
	}
	return stats.NewStatsd(client), client, nil
}

// statsdAddress is empty when the environment names no receiver.
func (p program) statsdAddress() string {
	host := p.getenv("STATSD_HOST")
	if host == "" {
		return ""
	}
	return net.JoinHostPort(host, p.env("STATSD_PORT", "8125"))
}

// env returns a variable of the environment, or a default.
func (p program) env(name, otherwise string) string {
	if v := p.getenv(name); v != "" {
		return v
	}
	return otherwise
}
