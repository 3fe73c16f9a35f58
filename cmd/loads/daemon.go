package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/hosts"
	"github.com/loads/loads/strategies"
	"github.com/loads/loads/web"
)

// defaultDocker is where the local engine listens, unless DOCKER_HOST says so.
const defaultDocker = "unix:///var/run/docker.sock"

// leastLost is as long as an engine that is restarted is silent.
const leastLost = 5 * time.Second

// daemonOptions are what a broker process is made of, be it loads broker or the
// one inside loads run.
type daemonOptions struct {
	listen  string
	db      string
	dir     string
	initial []string
	hosts   string
	docker  string
	tokens  string
	nodeDir string
	ec2     ec2Options
	maxCost float64
	lost    time.Duration
	stores  storeOptions
	monitor monitorOptions
	version string
	log     *slog.Logger
}

// sharedFlags are the flags on where records, machines and metrics are, which
// run has as well.
func (o *daemonOptions) sharedFlags(f *pflag.FlagSet) {
	f.StringVar(&o.db, "db", "", "database of the broker (default $XDG_STATE_HOME/loads/loads.db, or ~/.local/state/loads/loads.db)")
	f.StringVar(&o.dir, "dir", "", "folder for logs and captured output of runs (default: the database's name with .d)")
	f.StringVar(&o.hosts, "hosts", "", "file that lists Docker hosts to run on (default: the local engine)")
	f.StringVar(&o.docker, "docker", "", "local Docker engine (default $DOCKER_HOST, or "+defaultDocker+")")
	f.StringVar(&o.nodeDir, "node-dir", "", "folder of the loads-node programs (default: that of this program)")
	o.ec2.flags(f)
	f.Float64Var(&o.maxCost, "max-cost", 0, "what the rented machines of a run may cost at most, in USD (default: no limit)")
	f.DurationVar(&o.lost, "lost-after", time.Minute, "how long a machine may be silent before it is given up")
	o.stores.flags(f)
	o.monitor.flags(f)
}

// complete fills in the defaults and makes paths absolute.
func (o *daemonOptions) complete(p *program) error {
	err := o.stores.complete(p)
	if err != nil {
		return err
	}
	if o.db == "" {
		if o.db, err = p.defaultDB(); err != nil {
			return err
		}
	}
	if o.db, err = filepath.Abs(o.db); err != nil {
		return fmt.Errorf("find database: %w", err)
	}
	if o.dir, err = filepath.Abs(cmp.Or(o.dir, o.db+".d")); err != nil {
		return fmt.Errorf("find folder: %w", err)
	}
	if o.hosts != "" {
		if o.hosts, err = filepath.Abs(o.hosts); err != nil {
			return fmt.Errorf("find hosts: %w", err)
		}
	}
	if o.hosts != "" && o.ec2.on {
		return broker.Errorf(broker.EInvalid, "--hosts and --ec2 both say where machines come from; give one of them.")
	}
	if !(o.maxCost >= 0) || math.IsInf(o.maxCost, 0) {
		return broker.Errorf(broker.EInvalid, "--max-cost is %v; give USD, or 0 for no limit.", o.maxCost)
	}
	if o.lost < leastLost {
		return broker.Errorf(broker.EInvalid, "--lost-after is %v; give %v or more.", o.lost, leastLost)
	}
	if err := o.ec2.complete(); err != nil {
		return err
	}
	if err := o.monitor.complete(); err != nil {
		return err
	}
	o.nodeDir, err = nodeDir(o.nodeDir)
	o.version = p.Version
	if o.docker == "" {
		o.docker = defaultDocker
		if host := p.Getenv("DOCKER_HOST"); strings.HasPrefix(host, "unix://") {
			o.docker = host
		}
	}
	return err
}

// defaultDB is the database of brokers that were given none.
func (p *program) defaultDB() (string, error) {
	if dir := p.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "loads", "loads.db"), nil
	}
	home := p.Getenv("HOME")
	if home == "" {
		return "", broker.Errorf(broker.EInvalid, "There is no home folder to keep the database in; give one with --db FILE.")
	}
	return filepath.Join(home, ".local", "state", "loads", "loads.db"), nil
}

// A daemon is a broker that serves its REST API.
type daemon struct {
	url    string
	broker *broker.Broker
	known  elsewhere
	ended  chan error // of the server, if it ends by itself
	clean  cleanups
}

// startDaemon builds the parts and starts them, from the store to the server.
// What was built is closed again when a later part can't be.
func startDaemon(ctx context.Context, o daemonOptions) (_ *daemon, err error) {
	d := &daemon{ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	tokens, ln, err := d.listen(o)
	if err != nil {
		return nil, err
	}
	store, err := db.Open(ctx, o.db)
	if err != nil {
		return nil, err
	}
	d.clean.add("database", func(context.Context) error { return store.Close() })
	if err := d.startBroker(ctx, o, store); err != nil {
		return nil, err
	}
	if err := d.importInitial(ctx, o.initial); err != nil {
		return nil, err
	}
	if err := d.startStores(o, d.known); err != nil {
		return nil, err
	}
	pages, err := web.New(web.Config{Broker: d.broker, SignIn: tokens != nil, Log: o.log})
	if err != nil {
		return nil, err
	}
	return d, d.serve(o, api.Config{
		Broker: d.broker, Elsewhere: d.known, Tokens: tokens, Log: o.log, Pages: pages,
		Reports: reportForms(), Comparisons: comparisonForms(),
	}, ln)
}

// listen opens the port first: what is likely to fail fails early.
func (d *daemon) listen(o daemonOptions) (*api.Tokens, net.Listener, error) {
	var tokens *api.Tokens
	if o.tokens != "" {
		var err error
		if tokens, err = api.LoadTokens(o.tokens); err != nil {
			return nil, nil, err
		}
	}
	if err := api.CheckListen(o.listen, tokens); err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, nil, &broker.Error{
			Code: broker.EUnavailable, Err: err,
			Message: fmt.Sprintf("%s can't be listened on; give another address with --listen, or 127.0.0.1:0 for a free port", o.listen),
		}
	}
	d.clean.add("listener", func(context.Context) error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return tokens, ln, nil
}

func (d *daemon) startBroker(ctx context.Context, o daemonOptions, store *db.DB) error {
	dial := dockerctl.NewDialer(o.engineOptions())
	pools, err := d.pools(ctx, o, store, dial)
	if err != nil {
		return err
	}
	cfg := broker.Config{
		Store: store, Pools: pools, Dial: dial,
		Dir: o.dir, Log: o.log, Version: o.version, MaxCost: o.maxCost, LostAfter: o.lost,
		CheckBenchmarks: func(p strategies.Plan, env strategies.Environment) error { return checkBenchmarks("", p, env) },
	}
	feed := &feeder{store: store, log: o.log}
	if err := o.monitors(ctx, &cfg, feed); err != nil {
		return err
	}
	d.broker = broker.New(cfg)
	d.known = elsewhere{store: store, broker: d.broker}
	feed.input = d.known.input
	d.clean.add("broker", func(context.Context) error { return d.broker.Close() })
	if err := d.broker.Start(ctx); err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	return nil
}

func (o daemonOptions) engineOptions() dockerctl.Options {
	return dockerctl.Options{NodeDir: o.nodeDir, Log: o.log}
}

// pools opens EC2 or the list of hosts, if one is asked for, and the local
// engine. The first is the one that runs use. Beside others the local engine
// is there for what earlier runs have left in it, so it may be missing.
func (d *daemon) pools(ctx context.Context, o daemonOptions, store *db.DB, dial broker.Dialer) ([]broker.Pool, error) {
	var pools []broker.Pool
	switch {
	case o.ec2.on:
		rented, err := o.ec2.pool(ctx, o, dial)
		if err != nil {
			return nil, err
		}
		pools = append(pools, rented)
		if err := d.tend(ctx, rented, store); err != nil {
			return nil, err
		}
	case o.hosts != "":
		list, err := hosts.LoadHosts(o.hosts)
		if err != nil {
			return nil, fmt.Errorf("read hosts: %w", err)
		}
		pools = append(pools, hosts.NewList(list, dial, store, o.log))
	}
	if len(pools) > 0 {
		if _, err := os.Stat(strings.TrimPrefix(o.docker, "unix://")); err != nil {
			return pools, nil
		}
	}
	ep := broker.Endpoint{Host: o.docker}
	engine, err := dockerctl.Open(ep, o.engineOptions())
	if err != nil {
		return nil, err
	}
	d.clean.add("local engine", func(context.Context) error { return engine.Close() })
	return append(pools, hosts.NewLocal(engine, ep, o.log)), nil
}

// tend has somebody see to the machines that no run has, from when the broker has
// started until it has stopped.
func (d *daemon) tend(ctx context.Context, rented *aws.Pool, store *db.DB) error {
	id, err := store.BrokerID(ctx)
	if err != nil {
		return err
	}
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	go func() {
		defer close(over)
		rented.Tend(tending, id)
	}()
	d.clean.add("idle machines", func(context.Context) error {
		stop()
		<-over
		return nil
	})
	return nil
}

// importInitial loads project files; what is in the database already stays as
// it is.
func (d *daemon) importInitial(ctx context.Context, files []string) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return broker.Errorf(broker.EInvalid, "The project file can't be read: %v.", err)
		}
		project, err := strategies.ParseFile(file, data)
		if err != nil {
			return err
		}
		if _, err := d.broker.Import(ctx, project, false); err != nil {
			return fmt.Errorf("import %s: %w", file, err)
		}
	}
	return nil
}

// serve starts the server and leaves the URL beside the database, where later
// commands look for it.
func (d *daemon) serve(o daemonOptions, c api.Config, ln net.Listener) error {
	server, err := api.NewServer(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		d.ended <- server.Serve(ctx, ln)
	}()
	d.clean.add("server", func(context.Context) error {
		stop()
		<-over
		return nil
	})
	d.url = "http://" + reachable(ln.Addr().(*net.TCPAddr))
	if err := writeURL(o.db, d.url); err != nil {
		return err
	}
	d.clean.add("file of the URL", func(context.Context) error { return os.Remove(urlFile(o.db)) })
	return nil
}

// close stops the daemon, last part first. Runs stay as they are on disk. It
// may be called again.
func (d *daemon) close() error { return d.clean.run() }

// reachable is an address as a client on this machine can use it.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", a.Port)
	}
	return a.String()
}

// urlFile is where the broker that holds a database leaves its URL.
func urlFile(db string) string { return db + ".url" }

func writeURL(db, url string) error {
	file := urlFile(db)
	if err := os.WriteFile(file+".new", []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("write URL: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write URL: %w", err)
	}
	return nil
}

func readURL(db string) (string, error) {
	data, err := os.ReadFile(urlFile(db))
	return strings.TrimSpace(string(data)), err
}
