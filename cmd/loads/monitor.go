package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/archive"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/grafana"
	"github.com/loads/loads/influx"
	"github.com/loads/loads/report"
)

// monitorOptions say what monitor steps become, and where runs are archived.
type monitorOptions struct {
	influxImage, grafanaImage string
	archive                   string
}

func (o *monitorOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.influxImage, "monitor-influxdb-image", "influxdb:2", "image of the InfluxDB, 2 or 1.8, of a monitor step; empty skips monitor steps")
	f.StringVar(&o.grafanaImage, "monitor-grafana-image", "grafana/grafana", "image of the Grafana of a monitor step; empty is none")
	f.StringVar(&o.archive, "archive", "", "where in S3 runs are archived once they are over, such as s3://bucket/prefix")
}

// complete checks the flags.
func (o *monitorOptions) complete() error {
	if o.archive == "" {
		return nil
	}
	if _, _, err := archive.Parse(o.archive); err != nil {
		return broker.Errorf(broker.EInvalid, "--archive is wrong: %v", err)
	}
	return nil
}

// args are the flags again, for a broker that is started by this process.
func (o *monitorOptions) args() []string {
	return []string{"--monitor-influxdb-image", o.influxImage, "--monitor-grafana-image", o.grafanaImage, "--archive", o.archive}
}

// monitors completes what the broker is made of by what monitor steps and
// archives need. With EC2, plans may name buckets without --archive.
func (o *daemonOptions) monitors(ctx context.Context, cfg *broker.Config, f *feeder) error {
	cfg.Monitor = broker.MonitorConfig{InfluxImage: o.monitor.influxImage, GrafanaImage: o.monitor.grafanaImage, Feeder: f}
	if o.monitor.archive == "" && !o.ec2.on {
		return nil
	}
	archiver, err := archive.Open(ctx, archive.Config{Region: o.ec2.region})
	if err != nil {
		return err
	}
	cfg.Archiver = archiver
	cfg.Archive = broker.ArchiveConfig{URL: o.monitor.archive, Documents: []broker.Document{
		{Name: "report.html", Write: report.HTML},
		{Name: "report.json", Write: report.JSON},
		{Name: "report.md", Write: report.Markdown},
		{Name: "metrics.csv", Write: report.CSV},
	}}
	return nil
}

// A feeder brings runs to the InfluxDB and Grafana of their monitors, by the
// same packages as to those of all runs.
type feeder struct {
	store *db.DB
	input func(ctx context.Context, runUUID string) (grafana.Input, error)
	log   *slog.Logger
}

var _ broker.Feeder = (*feeder)(nil)

// trusted knows a monitor by its certificate, whatever its address.
func trusted(m broker.Monitor) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(m.Cert)) {
		return nil, broker.Errorf(broker.EInternal, "the monitor's certificate can't be read")
	}
	return &tls.Config{RootCAs: roots, ServerName: broker.MonitorName, MinVersion: tls.VersionTLS12}, nil
}

func (f *feeder) login(ctx context.Context, m broker.Monitor) (influx.Login, *tls.Config, error) {
	certificates, err := trusted(m)
	if err != nil {
		return influx.Login{}, nil, err
	}
	login, err := influx.SetUp(ctx, m.InfluxURL, m.User, m.Secret, certificates)
	return login, certificates, err
}

// SetUp implements broker.Feeder.
func (f *feeder) SetUp(ctx context.Context, m broker.Monitor) error {
	_, _, err := f.login(ctx, m)
	return err
}

// feedEvery is the time between two looks whether a monitor has everything.
const feedEvery = 200 * time.Millisecond

// Feed implements broker.Feeder.
func (f *feeder) Feed(ctx context.Context, runUUID string, m broker.Monitor, file string, ending <-chan struct{}) (err error) {
	login, certificates, err := f.login(ctx, m)
	for broker.CodeOf(err) == broker.EUnavailable && pauseFor(ctx, time.Second) {
		login, certificates, err = f.login(ctx, m) // a broker that was started again finds it as it is
	}
	if err != nil {
		return err
	}
	store := monitorStore{f.store.MonitorExport(runUUID, ending)}
	cfg := influx.Config{
		URL: m.InfluxURL, Token: login.Token, Org: login.Org, Bucket: login.Bucket, TLS: certificates, Store: store, Log: f.log,
	}
	if file != "" {
		lines, openErr := influx.OpenLines(file)
		if openErr != nil {
			return openErr
		}
		cfg.Also = lines.Add
		defer func() { err = errors.Join(err, lines.Close()) }()
	}
	sender, err := influx.New(cfg)
	if err != nil {
		return err
	}
	inner, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { sender.Run(inner) })
	if m.GrafanaURL != "" {
		publish, err := f.publisher(m, login, store)
		if err != nil {
			return err
		}
		running.Go(func() { publish(inner) })
	}
	for {
		if e, err := store.Export(ctx); err != nil || e.Done {
			return err
		}
		if !pauseFor(ctx, feedEvery) {
			return ctx.Err()
		}
	}
}

// publisher returns what publishes the run's dashboard once Grafana answers.
func (f *feeder) publisher(m broker.Monitor, login influx.Login, store monitorStore) (func(context.Context), error) {
	certificates, err := trusted(m)
	if err != nil {
		return nil, err
	}
	client, err := grafana.NewClient(m.GrafanaURL, "", m.User+":"+m.Secret)
	if err != nil {
		return nil, err
	}
	client.Trust(certificates)
	database, _, _ := strings.Cut(login.Bucket, "/")
	publisher := grafana.NewPublisher(grafana.PublisherConfig{
		Client: client, Store: store, Input: f.input, Log: f.log,
		DataSource: grafana.DataSource{
			URL: m.SourceURL, Token: login.Token, Database: database, CA: m.Cert, ServerName: broker.MonitorName,
		},
	})
	return func(ctx context.Context) {
		for !client.Answers(ctx) {
			if !pauseFor(ctx, feedEvery) {
				return
			}
		}
		publisher.Run(ctx)
	}, nil
}

// monitorStore says in a run's history of which InfluxDB and Grafana is spoken.
type monitorStore struct{ *db.MonitorExport }

func (s monitorStore) SaveExport(ctx context.Context, e broker.Export, cursors map[int64]uint64, events ...broker.Event) error {
	return s.MonitorExport.SaveExport(ctx, e, cursors, ofMonitor(events)...)
}

func (s monitorStore) SaveDashboard(ctx context.Context, rec broker.DashboardRecord, events ...broker.Event) error {
	return s.MonitorExport.SaveDashboard(ctx, rec, ofMonitor(events)...)
}

func ofMonitor(events []broker.Event) []broker.Event {
	for i := range events {
		events[i].Text = "The run's monitor: " + events[i].Text
	}
	return events
}

// pauseFor waits, and reports whether ctx was not done before.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// monitorCommand says how to reach a run's own InfluxDB and Grafana.
type monitorCommand struct {
	*program
	certificate bool
}

func (c *monitorCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "monitor [RUN]",
		Short: "Say where a run's own InfluxDB and Grafana are, and how to sign in",
		Long: `Monitor says where the InfluxDB and the Grafana of a run's monitor step are, and the user and
password for both. They were made for this run, and are gone with it. RUN is a uuid, the
beginning of one, or last, which it is without one.

Both speak TLS by a certificate that signs itself; --certificate prints it, for programs that
are to check it. The name in it is loads-monitor.`,
		Example: `  loads monitor
  loads monitor 1f0c --certificate > monitor.pem
  loads monitor last --json | jq -r .influx_url`,
		Args: between(0, 1, "one run"), RunE: c.run, ValidArgsFunction: c.completeRuns,
	}
	cmd.Flags().BoolVar(&c.certificate, "certificate", false, "print the certificate, as PEM, and nothing else")
	return cmd
}

func (c *monitorCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	id, err := findRun(ctx, client, cmp.Or(strings.Join(args, ""), "last"))
	if err != nil {
		return err
	}
	m, err := client.Monitor(ctx, id)
	switch {
	case err != nil:
		return err
	case c.certificate:
		_, err = io.WriteString(c.Stdout, m.Certificate)
		return err
	case c.json:
		return writeJSON(c.Stdout, m)
	}
	return writeMonitor(c.Stdout, m)
}

func writeMonitor(w io.Writer, m api.Monitor) error {
	if m.Password == "" {
		_, err := fmt.Fprintln(w, "The run is over, and its monitor is gone with it; loads report says what came of the run.")
		return err
	}
	if m.InfluxURL == "" {
		_, err := fmt.Fprintln(w, "The run's monitor is not ready yet.")
		return err
	}
	fmt.Fprintf(w, "InfluxDB: %s\n", m.InfluxURL)
	if m.GrafanaURL != "" {
		fmt.Fprintf(w, "Grafana:  %s\n", cmp.Or(m.DashboardURL, m.GrafanaURL))
	}
	_, err := fmt.Fprintf(w, "User:     %s\nPassword: %s\nThe password is InfluxDB 2's token, too; of 1.8 that is %s:PASSWORD.\n", m.User, m.Password, m.User)
	return err
}
