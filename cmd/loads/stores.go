package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/grafana"
	"github.com/loads/loads/influx"
)

// The environment variables that have the tokens.
const (
	influxVariable  = "LOADS_INFLUX_TOKEN"
	grafanaVariable = "LOADS_GRAFANA_TOKEN"
)

// storeOptions say where else the metrics of runs go, and where they are shown.
type storeOptions struct {
	influx, grafana secretOptions
	org, bucket     string
	grafanaPublic   string // where people reach Grafana
}

// secretOptions are how to reach a server that wants a token.
type secretOptions struct {
	url       string
	token     string // never shown
	tokenFile string
}

func (o *storeOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.influx.url, "influx-url", "", "InfluxDB that gets the metrics of runs too, such as http://127.0.0.1:8086")
	f.StringVar(&o.influx.token, "influx-token", "", "its token, or user:password for InfluxDB 1.8 (default $"+influxVariable+")")
	f.StringVar(&o.influx.tokenFile, "influx-token-file", "", "file that has its token")
	f.StringVar(&o.org, "influx-org", "loads", "its organization")
	f.StringVar(&o.bucket, "influx-bucket", "loads", "its bucket, or database/retention-policy for InfluxDB 1.8")
	f.StringVar(&o.grafana.url, "grafana-url", "", "Grafana that gets a dashboard of each run, such as http://127.0.0.1:3000")
	f.StringVar(&o.grafanaPublic, "grafana-public-url", "", "where people reach it (default: --grafana-url)")
	f.StringVar(&o.grafana.token, "grafana-token", "", "token of a service account of it, or user:password (default $"+grafanaVariable+")")
	f.StringVar(&o.grafana.tokenFile, "grafana-token-file", "", "file that has the token")
}

// complete finds the tokens.
func (o *storeOptions) complete(p *program) error {
	if err := o.influx.complete(p, "--influx", influxVariable); err != nil {
		return err
	}
	if err := o.grafana.complete(p, "--grafana", grafanaVariable); err != nil {
		return err
	}
	if o.grafana.url != "" && o.influx.url == "" {
		return broker.Errorf(broker.EInvalid, "--grafana-url needs --influx-url: Grafana reads the metrics from there.")
	}
	return nil
}

// given reports whether metrics are to go anywhere else.
func (o *storeOptions) given() bool { return o.influx.url != "" || o.grafana.url != "" }

// args are the flags that say the same to another broker, and environment its
// tokens, which no list of processes shows.
func (o *storeOptions) args() (args, environment []string) {
	if !o.given() {
		return nil, nil
	}
	args = []string{"--influx-url", o.influx.url, "--influx-org", o.org, "--influx-bucket", o.bucket}
	environment = []string{influxVariable + "=" + o.influx.token}
	if o.grafana.url != "" {
		args = append(args, "--grafana-url", o.grafana.url, "--grafana-public-url", o.grafanaPublic)
		environment = append(environment, grafanaVariable+"="+o.grafana.token)
	}
	return args, environment
}

func (o *secretOptions) complete(p *program, flag, variable string) error {
	if o.token != "" && o.tokenFile != "" {
		return broker.Errorf(broker.EInvalid, "%s-token and %s-token-file are both given; give one of them.", flag, flag)
	}
	if o.tokenFile != "" {
		data, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return broker.Errorf(broker.EInvalid, "The file of %s-token-file can't be read: %v.", flag, err)
		}
		o.token = strings.TrimSpace(string(data))
	}
	if o.token == "" {
		o.token = strings.TrimSpace(p.Getenv(variable))
	}
	switch given := o.token != ""; {
	case o.url != "" && !given:
		return broker.Errorf(broker.EInvalid, "%s-url needs a token; give it by %s-token-file or %s.", flag, flag, variable)
	case o.url == "" && o.tokenFile != "":
		return broker.Errorf(broker.EInvalid, "%s-token-file is given, but no %s-url.", flag, flag)
	}
	return nil
}

// elsewhere knows of runs in InfluxDB and Grafana.
type elsewhere struct {
	store  *db.DB
	broker *broker.Broker
}

// Export implements api.Elsewhere.
func (e elsewhere) Export(ctx context.Context, runUUID string) (*broker.Export, error) {
	return e.store.Export(ctx, runUUID)
}

// DashboardURL implements api.Elsewhere.
func (e elsewhere) DashboardURL(ctx context.Context, runUUID string) (string, error) {
	rec, err := e.store.Dashboard(ctx, runUUID)
	return rec.URL, err
}

// DashboardJSON implements api.Elsewhere.
func (e elsewhere) DashboardJSON(ctx context.Context, runUUID string) ([]byte, error) {
	in, err := e.input(ctx, runUUID)
	if err != nil {
		return nil, err
	}
	return grafana.Dashboard(in)
}

// input is what the dashboard of a run is made of.
func (e elsewhere) input(ctx context.Context, runUUID string) (grafana.Input, error) {
	report, err := e.broker.Report(ctx, runUUID)
	if err != nil {
		return grafana.Input{}, err
	}
	export, err := e.store.Export(ctx, runUUID)
	return grafana.Input{Report: report, Export: export}, err
}

// startStores starts what brings runs to InfluxDB and to Grafana. They end
// before the broker does, and go on at the next start.
func (d *daemon) startStores(o daemonOptions, known elsewhere) error {
	if o.stores.influx.url == "" {
		return nil
	}
	sender, err := influx.New(influx.Config{
		URL: o.stores.influx.url, Token: o.stores.influx.token, Org: o.stores.org, Bucket: o.stores.bucket,
		Store: known.store, Log: o.log,
	})
	if err != nil {
		return err
	}
	work := []func(context.Context){sender.Run}
	if o.stores.grafana.url != "" {
		client, err := grafana.NewClient(o.stores.grafana.url, o.stores.grafanaPublic, o.stores.grafana.token)
		if err != nil {
			return err
		}
		database, _, _ := strings.Cut(o.stores.bucket, "/")
		work = append(work, grafana.NewPublisher(grafana.PublisherConfig{
			Client:     client,
			DataSource: grafana.DataSource{URL: o.stores.influx.url, Token: o.stores.influx.token, Database: database},
			Store:      known.store, Input: known.input, Log: o.log,
		}).Run)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range work {
		running.Go(func() { run(ctx) })
	}
	d.clean.add("InfluxDB and Grafana", func(context.Context) error {
		stop()
		running.Wait()
		return nil
	})
	return nil
}

// storesLimit is how long the broker inside loads run waits for InfluxDB and
// Grafana once the run is over, and storesEvery the pause between two looks.
const (
	storesLimit = 20 * time.Second
	storesEvery = 100 * time.Millisecond
)

// awaitStores waits until InfluxDB and Grafana have all of a run that is over.
// It returns what keeps one of them from it, or is empty.
func (d *daemon) awaitStores(ctx context.Context, o storeOptions, runUUID string) (trouble string, err error) {
	if !o.given() {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, storesLimit)
	defer cancel()
	tick := time.NewTicker(storesEvery)
	defer tick.Stop()
	for {
		trouble, done, err := d.inStores(ctx, o, runUUID)
		if err != nil || done || trouble != "" {
			return trouble, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Sprintf("not all within %v", storesLimit), nil
		}
	}
}

// inStores reports whether InfluxDB and Grafana have all of the run, or what
// keeps one of them from it.
func (d *daemon) inStores(ctx context.Context, o storeOptions, runUUID string) (trouble string, done bool, err error) {
	export, err := d.known.store.Export(ctx, runUUID)
	if err != nil || export == nil {
		return "", false, err
	}
	if export.Trouble != "" {
		return "InfluxDB: " + export.Detail, false, nil
	}
	if o.grafana.url == "" || !export.Done {
		return "", export.Done, nil
	}
	shown, err := d.known.store.Dashboard(ctx, runUUID)
	if shown.Trouble != "" {
		trouble = "Grafana: " + shown.Trouble
	}
	return trouble, shown.Final, err
}
