package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/light"
	"github.com/loads/loads/aws/ec2sim/nshost"
	"github.com/loads/loads/broker"
)

// ec2simCommand is a cloud on this computer.
type ec2simCommand struct {
	*program
	listen    string
	faults    string
	seed      uint64
	machines  string
	metrics   int
	envFile   string
	logFormat string
}

// machineHosts are the kinds of machines a simulator can have behind its API.
var machineHosts = map[string]func(*ec2simCommand, context.Context, *slog.Logger) (ec2sim.Host, error){
	"none": func(*ec2simCommand, context.Context, *slog.Logger) (ec2sim.Host, error) {
		return ec2sim.NewNoMachines(), nil
	},
	"light": (*ec2simCommand).lightMachines,
	"real":  (*ec2simCommand).realMachines,
}

func (c *ec2simCommand) lightMachines(context.Context, *slog.Logger) (ec2sim.Host, error) {
	host, err := light.New(light.Options{Metrics: c.metrics})
	if err != nil {
		return nil, broker.Errorf(broker.EUnavailable, "There can be no light machines: %v.", err)
	}
	return host, nil
}

func (*ec2simCommand) realMachines(ctx context.Context, log *slog.Logger) (ec2sim.Host, error) {
	host, err := nshost.New(ctx, nshost.Options{Log: log})
	if err != nil {
		return nil, broker.Errorf(broker.EUnavailable, "There can be no real machines: %v.", err)
	}
	return host, nil
}

func (c *ec2simCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ec2sim",
		Short: "Run a simulated EC2, to try things and to drill faults",
		Long: `Ec2sim is EC2 on this computer: one port that answers the SDK and the command line of
AWS as EC2 does, and the few calls of SSM, STS, Pricing, Service Quotas and S3 that go
with it, in all regions. It runs until SIGTERM or SIGINT, and forgets everything then.

It prints what to set for the clients: the endpoint and a pair of keys made for this
start. --faults names a file, YAML or JSON, that says how slow the cloud is, what it
limits and what goes wrong; the same file and seed repeat a drill. docs/ec2sim.md has
the format, and the calls under /_sim/ that add faults and tell what was made and what
is left.

Behind the API there are machines of one kind: none, which answers for machines that are
not there; light, where each is a Docker API that answers and runs nothing, thousands in
this one process, which needs Linux; or real, where each is a Docker host in namespaces
of this computer's that runs the user data it was given; that needs root and Linux.
docs/ec2sim-light.md and docs/ec2sim-machines.md say what they are.`,
		Example: `  loads ec2sim --env /tmp/cloud.env &
  . /tmp/cloud.env; aws ec2 describe-regions
  loads ec2sim --faults drill.yaml --seed 7
  loads ec2sim --machines light --light-metrics 100`,
		Args: between(0, 0, ""),
		RunE: c.run,
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	f.StringVar(&c.faults, "faults", "", "file that says how the cloud behaves and what goes wrong")
	f.Uint64Var(&c.seed, "seed", 0, "seed of all that is drawn (default: the file's, or 1)")
	f.StringVar(&c.machines, "machines", "none", "kind of machines: "+strings.Join(machineKinds(), ", "))
	f.IntVar(&c.metrics, "light-metrics", light.DefaultMetrics, "`number` of metrics that each light machine tells of in a second")
	f.StringVar(&c.envFile, "env", "", "file to write the settings for clients to, for a shell to read")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	return cmd
}

func machineKinds() []string {
	var kinds []string
	for kind := range machineHosts {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

func (c *ec2simCommand) run(cmd *cobra.Command, _ []string) (err error) {
	log, err := newLogger(c.Stderr, c.logFormat)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	drill := ec2sim.DefaultDrill()
	if c.faults != "" {
		if drill, err = ec2sim.LoadDrill(c.faults); err != nil {
			return broker.Errorf(broker.EInvalid, "%v", err)
		}
	}
	if cmd.Flags().Changed("seed") {
		drill.Seed = c.seed
	}
	makeHost, ok := machineHosts[c.machines]
	if !ok {
		return usagef(cmd, "--machines is %q; give one of %s", c.machines, strings.Join(machineKinds(), ", "))
	}
	signals, stop := c.interrupts()
	defer stop()
	var clean cleanups
	defer func() { err = errors.Join(err, clean.run()) }()

	ln, err := net.Listen("tcp", c.listen)
	if err != nil {
		return broker.Errorf(broker.EUnavailable, "%s can't be listened on; give another address with --listen.", c.listen)
	}
	clean.add("listener", func(context.Context) error { _ = ln.Close(); return nil }) // the server may have closed it
	host, err := makeHost(c, cmd.Context(), log)
	if err != nil {
		return err
	}
	settings := newCloudSettings(reachable(ln.Addr().(*net.TCPAddr)))
	sim, err := ec2sim.New(ec2sim.Config{
		Host: host, Drill: drill, Dir: os.TempDir(), Log: log, AdminToken: settings.token,
		Keys: map[string]ec2sim.Key{settings.accessKey: {Secret: settings.secret, Account: cloudAccount}},
	})
	if err != nil {
		return errors.Join(err, host.Close())
	}
	clean.add("machines", func(context.Context) error { return sim.Close() })
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	clean.add("server", func(context.Context) error {
		defer func() { <-ended }()
		return server.Close()
	})
	if err := c.announce(settings, &clean); err != nil {
		return err
	}
	select {
	case s := <-signals:
		log.Info("stopping; all machines end", "signal", s.String())
	case <-cmd.Context().Done():
	case err := <-ended:
		ended <- nil
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// cloudAccount is the account that the simulator's keys are of.
const cloudAccount = "123456789012"

// cloudSettings are what a client needs to reach the simulator.
type cloudSettings struct{ url, accessKey, secret, token string }

func newCloudSettings(addr string) cloudSettings {
	return cloudSettings{
		url: "http://" + addr, accessKey: "AKIA" + rand.Text()[:16], secret: rand.Text() + rand.Text()[:14], token: rand.Text(),
	}
}

// variables are the settings as the SDKs of AWS look for them.
func (s cloudSettings) variables() [][2]string {
	return [][2]string{
		{"AWS_ENDPOINT_URL", s.url},
		{"AWS_ACCESS_KEY_ID", s.accessKey},
		{"AWS_SECRET_ACCESS_KEY", s.secret},
		{"AWS_REGION", "us-east-1"},
		{"AWS_DEFAULT_REGION", "us-east-1"},
		{"AWS_EC2_METADATA_DISABLED", "true"},
		{"LOADS_EC2SIM_TOKEN", s.token},
	}
}

// announce tells the settings, and leaves them in a file if one was named.
func (c *ec2simCommand) announce(s cloudSettings, clean *cleanups) error {
	var lines strings.Builder
	values := map[string]string{"kind": "listening"}
	for _, v := range s.variables() {
		fmt.Fprintf(&lines, "export %s=%s\n", v[0], v[1])
		values[v[0]] = v[1]
	}
	if c.envFile != "" {
		if err := os.WriteFile(c.envFile+".new", []byte(lines.String()), 0o600); err != nil {
			return broker.Errorf(broker.EInvalid, "The settings can't be written: %v.", err)
		}
		if err := os.Rename(c.envFile+".new", c.envFile); err != nil {
			return broker.Errorf(broker.EInvalid, "The settings can't be written: %v.", err)
		}
		clean.add("file of settings", func(context.Context) error { return os.Remove(c.envFile) })
	}
	if c.json {
		return writeJSON(c.Stdout, values)
	}
	_, err := fmt.Fprintf(c.Stdout, "loads ec2sim listens on %s\n%s", s.url, lines.String())
	return err
}
