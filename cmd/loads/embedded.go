package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
)

// handOverLimit bounds the start of a broker that is to run by itself.
const handOverLimit = 30 * time.Second

// embedded runs the plan by a broker inside this process.
func (c *runCommand) embedded(ctx context.Context, o order, signals <-chan os.Signal) (err error) {
	if err := c.options.complete(c.program); err != nil {
		return err
	}
	log, err := c.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	c.options.log = slog.New(slog.NewTextHandler(log, nil))
	c.options.listen = "127.0.0.1:0"
	d, err := interruptible(ctx, signals, c.startInside)
	if d != nil {
		defer func() { err = errors.Join(err, d.close()) }()
	}
	if err != nil {
		return err
	}
	client := &api.Client{BaseURL: d.url}
	c.say("No broker was there, so this run has one inside (database %s, log %s).", c.options.db, log.Name())
	id, err := c.start(ctx, client, o, signals)
	if err != nil {
		return err
	}
	end, err := c.follow(ctx, client, id, signals)
	return errors.Join(err, c.leave(ctx, d, id, end))
}

func (c *runCommand) startInside(ctx context.Context) (*daemon, error) {
	if err := c.options.checkEngine(ctx); err != nil {
		return nil, err
	}
	return startDaemon(ctx, c.options)
}

// leave hands over what still runs to a broker of its own.
func (c *runCommand) leave(ctx context.Context, d *daemon, id string, end ending) error {
	run, err := d.broker.Run(ctx, id)
	if err != nil {
		return err
	}
	if run.Cleanup == broker.CleanupFailed {
		c.say("To have the clean-up tried again: loads broker --db %s", c.options.db)
	}
	if run.State == broker.Completed {
		if err := errors.Join(c.awaitStores(ctx, d, id), c.awaitArchive(ctx, d, id)); err != nil {
			return err
		}
	}
	working, err := busy(ctx, d.broker)
	if err != nil || !working {
		return err
	}
	if err := d.close(); err != nil {
		return err
	}
	client, err := c.handOver(ctx, hostOf(d.url))
	switch {
	case err != nil:
		return fmt.Errorf("hand over the run: %w; loads broker --db %s goes on with it", err, c.options.db)
	case end == endLeft:
		c.say("Run %s goes on in a broker of its own; %s", id, followHint(id, client.BaseURL))
	default:
		c.say("Other runs go on in a broker of their own at %s.", client.BaseURL)
	}
	return nil
}

// awaitStores lets InfluxDB and Grafana have all of the run, or says that they
// do not.
func (c *runCommand) awaitStores(ctx context.Context, d *daemon, id string) error {
	trouble, err := d.awaitStores(ctx, c.options.stores, id)
	if err == nil && trouble != "" {
		c.say("The run's metrics are not all in their other places (%s); they are kept, and sent by: loads broker --db %s --influx-url %s",
			trouble, c.options.db, c.options.stores.influx.url)
	}
	return err
}

// awaitArchive lets the run be archived, and says where it is. What takes long
// goes on in a broker of its own.
func (c *runCommand) awaitArchive(ctx context.Context, d *daemon, id string) error {
	for until := time.Now().Add(storesLimit); ; {
		a, err := d.broker.Archive(ctx, id)
		switch {
		case broker.CodeOf(err) == broker.ENotFound:
			return nil
		case err != nil:
			return err
		case a.Done:
			c.say("The run is archived at %s (%d bytes, SHA-256 %s).", a.URL, a.Size, a.SHA256)
			return nil
		case a.Trouble != "":
			c.say("The run is not archived (%s); it is kept, and archived by: loads broker --db %s --archive %s", a.Trouble, c.options.db, c.options.monitor.archive)
			return nil
		case time.Now().After(until) || !pauseFor(ctx, storesEvery):
			return ctx.Err()
		}
	}
}

// detached starts the run in a broker of its own from the beginning.
func (c *runCommand) detached(ctx context.Context, o order, signals <-chan os.Signal) error {
	if err := c.options.complete(c.program); err != nil {
		return err
	}
	client, err := interruptible(ctx, signals, func(ctx context.Context) (*api.Client, error) {
		if err := c.options.checkEngine(ctx); err != nil {
			return nil, err
		}
		return c.handOver(ctx, "127.0.0.1:0")
	})
	if err != nil {
		return err
	}
	run, err := c.start(ctx, client, o, signals)
	if err != nil {
		return err
	}
	return c.started(client, run)
}

// openLog opens the log of brokers that have no terminal for it.
func (c *runCommand) openLog() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(c.options.db), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of log: %w", err)
	}
	f, err := os.OpenFile(c.options.db+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// checkEngine finds out early that there is nothing to run on: better than a
// run that says so.
func (o daemonOptions) checkEngine(ctx context.Context) error {
	if o.hosts != "" || o.ec2.on {
		return nil // each machine is asked when its turn comes
	}
	engine, err := dockerctl.Open(broker.Endpoint{Host: o.docker}, dockerctl.Options{})
	if err != nil {
		return err
	}
	defer engine.Close()
	if _, err := engine.Info(ctx); err != nil {
		return &broker.Error{
			Code: broker.EUnavailable, Err: err,
			Message: fmt.Sprintf("No Docker engine answers at %s; start it, name another with --docker, or name a broker with --broker", o.docker),
		}
	}
	return nil
}

// handOver starts a broker that outlives this process and ends when nothing
// runs any more, and returns a client of it once it answers.
func (c *runCommand) handOver(ctx context.Context, listen string) (*api.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, handOverLimit)
	defer cancel()
	log, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ended, err := c.spawn(listen, log)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if at, err := readURL(c.options.db); err == nil {
			client := &api.Client{BaseURL: at}
			if probe(ctx, client) == nil {
				return client, nil
			}
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("start broker: it ended (%w); its log is %s", err, log.Name())
		case <-ctx.Done():
			return nil, fmt.Errorf("start broker: no answer within %v; its log is %s", handOverLimit, log.Name())
		case <-tick.C:
		}
	}
}

// spawn starts the broker's process, away from this terminal. What it sends
// says that the process has ended; nobody needs to listen.
func (c *runCommand) spawn(listen string, log *os.File) (ended <-chan error, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	o := c.options
	args := []string{
		"broker", "--exit-when-idle", "--listen", listen,
		"--db", o.db, "--dir", o.dir, "--docker", o.docker, "--node-dir", o.nodeDir,
		"--lost-after", o.lost.String(),
	}
	if o.hosts != "" {
		args = append(args, "--hosts", o.hosts)
	}
	args = append(args, o.ec2.args()...)
	args = append(args, o.monitor.args()...)
	if o.maxCost > 0 {
		args = append(args, "--max-cost", strconv.FormatFloat(o.maxCost, 'g', -1, 64))
	}
	stores, tokens := o.stores.args()
	cmd := exec.Command(exe, append(args, stores...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), tokens...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	ch := make(chan error, 1)
	// This goroutine ends with the process at the latest: the broker is meant
	// to outlive it.
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("without an error")
		}
		ch <- err
	}()
	return ch, nil
}

func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "127.0.0.1:0"
	}
	return u.Host
}
