package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/relay"
	"github.com/loads/loads/relay/cgroup"
	"github.com/loads/loads/relay/hoststats"
)

// runRelay receives metrics until it is told to end, and resolves names
// meanwhile if asked to.
func runRelay(ctx context.Context, p program, args []string) error {
	fs := p.flags("relay")
	log := slog.New(slog.NewTextHandler(p.stderr, nil))
	cfg := relay.Config{Out: p.stdout, Log: log.With("component", "relay")}
	dns := relay.DNSConfig{Log: log.With("component", "dns")}
	fs.StringVar(&cfg.Listen, "listen", "", "`address` to receive statsd on, UDP and TCP")
	fs.BoolVar(&cfg.TCP, "tcp", true, "receive statsd over TCP too")
	fs.StringVar(&cfg.UnixSocket, "unix", "", "`path` of a datagram socket to receive statsd on as well")
	fs.IntVar(&cfg.ReadBuffer, "read-buffer", relay.DefaultReadBuffer, "`bytes` asked for each socket's buffer; without privileges the system may give less")
	fs.IntVar(&cfg.MaxSeries, "max-series", relay.DefaultMaxSeries, "most metrics told apart; others are dropped and counted")
	fs.StringVar(&cfg.Series, "series", "", "`value` of the tag type on metrics that have none")
	host := fs.Bool("host", true, "tell of the machine's processors, memory, disks and network, and of the plan's containers, in each frame")
	fs.StringVar(&cfg.Containers, "containers", "", "`file` that lists the plan's containers on the machine, read when it changes")
	logMetrics := fs.String("log-metrics", "", "`file` that says which lines of the containers' output are metrics; empty for none")
	fs.StringVar(&cfg.Logs, "logs", "", "`folder` in which the engine keeps the containers' output")
	fs.IntVar(&cfg.LogFiles, "log-files", relay.DefaultLogFiles, "`number` of files that the engine keeps of a container's output")
	fs.StringVar(&dns.Listen, "dns", "", "`address` to resolve names on, UDP and TCP; empty for not at all")
	fs.StringVar(&dns.NamesFile, "names", "/etc/loads/names.json", "`file` of names and addresses")
	if _, err := p.parse(fs, args, 0); err != nil {
		return err
	}
	if cfg.Listen == "" {
		return errors.New("--listen is missing, for example --listen 127.0.0.1:8125")
	}
	if *logMetrics != "" {
		var err error
		if cfg.LogMetrics, err = relay.ReadLogMetrics(*logMetrics); err != nil {
			return err
		}
	}
	if *host {
		cfg.Container = cgroup.NewReader("/host/proc", "/host/cgroup", log.With("component", "containers")).Read
		machine := hoststats.NewReader(log.With("component", "host"))
		defer machine.Close()
		cfg.Host = machine.Read
	}
	group, ctx := errgroup.WithContext(ctx)
	if dns.Listen != "" {
		// The first frame says that the machine is ready, so names come first.
		bound := make(chan struct{})
		dns.Ready = func(net.Addr) { close(bound) }
		group.Go(func() error { return relay.ServeDNS(ctx, dns) })
		select {
		case <-bound:
		case <-ctx.Done():
			return group.Wait()
		}
	}
	group.Go(func() error { return relay.Run(ctx, cfg) })
	return group.Wait()
}
