package dockerctl

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// keepAlive finds a dead peer within a minute. It is all that watches a stream.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}
}

// sshFlags keep ssh from asking anybody anything, and make it notice a dead
// peer as keepAlive does. Host keys are checked as the user's own ssh does.
func sshFlags() []string {
	return []string{"-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"}
}

// dialLimit is how long it may take to connect.
const dialLimit = 10 * time.Second

func connect(ep broker.Endpoint) (*client.Client, error) {
	u, err := url.Parse(ep.Host)
	if err != nil {
		return nil, badEndpoint(ep, "is no URL")
	}
	hasTLS := ep.CA != "" || ep.Cert != "" || ep.Key != ""
	if hasTLS && u.Scheme != "tcp" {
		return nil, badEndpoint(ep, "has certificates, which only tcp:// endpoints use")
	}
	if ep.ServerName != "" && !hasTLS {
		return nil, badEndpoint(ep, "has a server name, which only endpoints with certificates use")
	}
	switch u.Scheme {
	case "unix":
		return connectUnix(ep, u)
	case "tcp":
		return connectTCP(ep, u, hasTLS)
	case "ssh":
		return connectSSH(ep)
	}
	return nil, badEndpoint(ep, "must begin with unix://, tcp:// or ssh://")
}

func badEndpoint(ep broker.Endpoint, what string) error {
	return broker.Errorf(broker.EInvalid, "the engine endpoint %q %s", ep.Host, what)
}

func connectUnix(ep broker.Endpoint, u *url.URL) (*client.Client, error) {
	if u.Host != "" || u.Path == "" {
		return nil, badEndpoint(ep, "must be unix:// and the absolute path of a socket")
	}
	d := &net.Dialer{Timeout: dialLimit}
	return newClient(ep, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", u.Path)
	}, ep.Host)
}

func connectTCP(ep broker.Endpoint, u *url.URL, hasTLS bool) (*client.Client, error) {
	if u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return nil, badEndpoint(ep, "must be tcp://host:port")
	}
	d := &net.Dialer{Timeout: dialLimit, KeepAliveConfig: keepAlive()}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, u.Host)
	}
	host := ep.Host
	if ep.ServerName != "" {
		// To HTTP and TLS the name is the host; only the dialer knows better.
		host = "tcp://" + net.JoinHostPort(ep.ServerName, u.Port())
	}
	if !hasTLS {
		if !loopback(u.Hostname()) {
			return nil, badEndpoint(ep, "needs ca, cert and key: an engine on the network must ask for a client certificate")
		}
		return newClient(ep, dial, host)
	}
	for _, f := range []struct{ what, path string }{{"ca", ep.CA}, {"cert", ep.Cert}, {"key", ep.Key}} {
		if f.path == "" {
			return nil, badEndpoint(ep, "needs "+f.what+": mutual TLS takes ca, cert and key")
		}
		if _, err := os.Stat(f.path); err != nil {
			return nil, badEndpoint(ep, "names a "+f.what+" file that can't be read: "+f.path)
		}
	}
	return newClient(ep, dial, host, client.WithTLSClientConfig(ep.CA, ep.Cert, ep.Key))
}

// loopback reports whether the host is this very machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func connectSSH(ep broker.Endpoint) (*client.Client, error) {
	h, err := connhelper.GetConnectionHelperWithSSHOpts(ep.Host, sshFlags())
	if err != nil {
		return nil, badEndpoint(ep, "is not a valid ssh:// endpoint: "+err.Error())
	}
	return newClient(ep, h.Dialer, h.Host)
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// newClient makes the client on a transport without a proxy: machines are
// reached directly, as their own containers are. The option for the host would
// have the client look for a proxy in the environment, so it comes before the
// transport.
func newClient(ep broker.Endpoint, dial dialer, host string, opts ...client.Opt) (*client.Client, error) {
	transport := &http.Transport{
		DisableCompression: true, // engines compress nothing
		MaxIdleConns:       8, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		// A connection that waits should take little: there are three to each machine.
		ReadBufferSize: 2 << 10, WriteBufferSize: 2 << 10,
	}
	// An engine speaks HTTP/1.1. Left to negotiate, the transport gets a TLS
	// configuration of its own, which the client takes for a wish for https.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	hc := &http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}
	opts = append([]client.Opt{client.WithHost(host), client.WithHTTPClient(hc)}, opts...)
	opts = append(opts, client.WithUserAgent("loads"), client.WithDialContext(holdable(dial)))
	cli, err := client.New(opts...)
	if err != nil {
		return nil, &broker.Error{
			Code: broker.EInvalid, Message: "the engine endpoint \"" + ep.Host + "\" can't be used", Err: err,
		}
	}
	return cli, nil
}
