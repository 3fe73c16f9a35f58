package broker

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/strategies"
)

// MonitorName is the name in the certificates of monitors.
const MonitorName = "loads-monitor"

// monitorUser signs in to InfluxDB and Grafana.
const monitorUser = "loads"

// The ports of InfluxDB and of Grafana, in their containers and on rented
// machines; on others the engine finds a free one.
const (
	influxPort  = 8086
	grafanaPort = 3000
)

// Variables of a monitor step that say what its containers are made of.
const (
	influxImageVariable  = "INFLUXDB_IMAGE"
	grafanaImageVariable = "GRAFANA_IMAGE"
	// With this at its end, the variable says where the image's tarball is.
	tarballSuffix = "_URL"
)

// Files of the monitor's containers.
const (
	monitorCert   = "/etc/loads/monitor.crt"
	monitorKey    = "/etc/loads/monitor.key"
	monitorSecret = "/etc/loads/monitor.secret"
)

// monitorPorts are what a rented monitor's machine admits its users to.
func monitorPorts(s strategies.Step) []int {
	if !s.Monitor {
		return nil
	}
	return []int{influxPort, grafanaPort}
}

// startMonitor starts InfluxDB and Grafana on a machine that answers, and
// returns when InfluxDB is ready.
func (x *execution) startMonitor(ctx context.Context, m *machine) (Monitor, error) {
	influx, grafana, err := x.monitorImages(m)
	if err != nil {
		return Monitor{}, err
	}
	at, err := x.monitorRecord(ctx, m)
	if err != nil {
		return Monitor{}, err
	}
	spec := x.monitorSpec(m, "influxdb", influxPort, at)
	spec.Env = influxEnv()
	image, err := x.b.startMonitorPart(ctx, m, influx, &spec)
	if err != nil {
		return Monitor{}, err
	}
	if at.InfluxURL, err = monitorURL(ctx, m, spec, influxPort); err != nil {
		return Monitor{}, err
	}
	err = x.monitorAnswers(ctx, m, spec.Name, func() error { return x.b.cfg.Monitor.Feeder.SetUp(ctx, at) })
	if err != nil {
		return Monitor{}, err
	}
	at.SourceURL = sourceURL(m, spec, at)
	if grafana.ref != "" {
		if at.GrafanaURL, err = x.startGrafana(ctx, m, at, grafana); err != nil {
			if ctx.Err() != nil {
				return Monitor{}, ctx.Err()
			}
			text := fmt.Sprintf("The run's monitor has no Grafana: %s.", strings.TrimRight(oneLine(err.Error()), "."))
			if err := x.note(ctx, text); err != nil {
				return Monitor{}, &storeError{err}
			}
		}
	}
	return at, x.monitorIsReady(ctx, m, at, image)
}

// sourceURL is where containers on the machine find its InfluxDB: by its name
// where the engine knows names, and else by the machine's own address.
func sourceURL(m *machine, spec ContainerSpec, at Monitor) string {
	if m.Network != "" {
		return "https://" + net.JoinHostPort(spec.Name, strconv.Itoa(influxPort))
	}
	return "https://" + net.JoinHostPort(m.Address, at.InfluxURL[strings.LastIndex(at.InfluxURL, ":")+1:])
}

func (x *execution) monitorIsReady(ctx context.Context, m *machine, at Monitor, image string) error {
	if err := x.b.cfg.Store.SaveMonitor(ctx, x.ref, at); err != nil {
		return &storeError{err}
	}
	if err := x.updateMachine(ctx, m, "", func(m *Machine) { m.State = MachinePrepared }); err != nil {
		return err
	}
	return x.tellMonitor(ctx, at, image)
}

// tellMonitor says that the monitor is ready, and where it is, unless that was
// said.
func (x *execution) tellMonitor(ctx context.Context, at Monitor, image string) error {
	if x.step(x.monitor.index).ReadyAt != nil {
		return nil
	}
	where := "InfluxDB is at " + at.InfluxURL
	if at.GrafanaURL != "" {
		where += ", its Grafana at " + at.GrafanaURL
	}
	text := fmt.Sprintf("The run's %s; loads monitor %.8s says how to sign in.", where, x.ref.UUID)
	return x.updateStep(ctx, x.monitor.index, text, func(rec *StepRecord) {
		now := utcNow()
		rec.State, rec.StartAt, rec.StartedAt, rec.ReadyAt, rec.ImageDigest = StepReady, now, now, now, image
	})
}

// monitorImages are those that the step's variables name, or else the broker's.
func (x *execution) monitorImages(m *machine) (influx, grafana monitorImage, err error) {
	env, err := x.monitorEnv(m)
	if err != nil {
		return monitorImage{}, monitorImage{}, err
	}
	named := func(variable, otherwise string) monitorImage {
		return monitorImage{ref: cmp.Or(env[variable], otherwise), url: env[variable+tarballSuffix]}
	}
	cfg := x.b.cfg.Monitor
	return named(influxImageVariable, cfg.InfluxImage), named(grafanaImageVariable, cfg.GrafanaImage), nil
}

// A monitorImage is an image, from a registry or from a tarball.
type monitorImage struct{ ref, url string }

// monitorEnv is the environment of the monitor step.
func (x *execution) monitorEnv(m *machine) (map[string]string, error) {
	r, err := x.resolve(m, time.Time{})
	if err != nil {
		return nil, err
	}
	return strategies.Environment(r.Env).Map(), nil
}

// monitorRecord reads what is stored of the monitor, or makes its secrets and
// stores them before anything gets them.
func (x *execution) monitorRecord(ctx context.Context, m *machine) (Monitor, error) {
	at, err := x.b.cfg.Store.Monitor(ctx, x.ref.UUID)
	if err == nil {
		return at, nil
	}
	if CodeOf(err) != ENotFound {
		return Monitor{}, &storeError{err}
	}
	at = Monitor{User: monitorUser, Secret: rand.Text()}
	if at.Cert, at.Key, err = monitorCertificate(monitorHost(m), m.Address); err != nil {
		return Monitor{}, err
	}
	if err := x.b.cfg.Store.SaveMonitor(ctx, x.ref, at); err != nil {
		return Monitor{}, &storeError{err}
	}
	return at, nil
}

// monitorCertificate makes a certificate that signs itself, for MonitorName and
// the addresses.
func monitorCertificate(addresses ...string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make the monitor's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return "", "", fmt.Errorf("make the monitor's certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: MonitorName}, DNSNames: []string{MonitorName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(maxLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if a != "" {
			template.DNSNames = append(template.DNSNames, a)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", fmt.Errorf("make the monitor's certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("make the monitor's key: %w", err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return cert, key, nil
}

// monitorSpec is what both containers have in common. No secret is in what an
// engine shows of them: secrets are in files.
func (x *execution) monitorSpec(m *machine, part string, port int, at Monitor) ContainerSpec {
	return ContainerSpec{
		Name: x.containerName(m, part), Labels: x.labels(m, RoleMonitor), Network: m.Network,
		Ports: []PortBinding{x.b.monitorPort(m, port)},
		Files: map[string][]byte{monitorCert: []byte(at.Cert), monitorKey: []byte(at.Key), monitorSecret: []byte(at.Secret)},
	}
}

// influxEnv has InfluxDB of either version speak TLS, and let nobody in without
// a password.
func influxEnv() []string {
	return []string{
		"INFLUXDB_HTTP_AUTH_ENABLED=true", "INFLUXDB_HTTP_HTTPS_ENABLED=true", "INFLUXDB_REPORTING_DISABLED=true",
		"INFLUXDB_HTTP_HTTPS_CERTIFICATE=" + monitorCert, "INFLUXDB_HTTP_HTTPS_PRIVATE_KEY=" + monitorKey,
		"INFLUXD_TLS_CERT=" + monitorCert, "INFLUXD_TLS_KEY=" + monitorKey, "INFLUXD_REPORTING_DISABLED=true",
	}
}

func (x *execution) startGrafana(ctx context.Context, m *machine, at Monitor, image monitorImage) (string, error) {
	spec := x.monitorSpec(m, "grafana", grafanaPort, at)
	spec.Env = []string{
		"GF_SERVER_PROTOCOL=https", "GF_SERVER_CERT_FILE=" + monitorCert, "GF_SERVER_CERT_KEY=" + monitorKey,
		"GF_SECURITY_ADMIN_USER=" + at.User, "GF_SECURITY_ADMIN_PASSWORD__FILE=" + monitorSecret,
		"GF_USERS_ALLOW_SIGN_UP=false", "GF_ANALYTICS_REPORTING_ENABLED=false", "GF_ANALYTICS_CHECK_FOR_UPDATES=false",
	}
	if _, err := x.b.startMonitorPart(ctx, m, image, &spec); err != nil {
		return "", err
	}
	return monitorURL(ctx, m, spec, grafanaPort)
}

// startMonitorPart starts a container of a monitor, or finds it, and returns
// its image.
func (b *Broker) startMonitorPart(ctx context.Context, m *machine, from monitorImage, spec *ContainerSpec) (image string, err error) {
	if image, err = m.engine.EnsureImage(ctx, from.ref, from.url); err != nil {
		return "", err
	}
	spec.Image = image
	err = patiently(ctx, b.cfg.LostAfter, func() error {
		id, err := m.engine.Create(ctx, *spec)
		if err != nil {
			return err
		}
		return m.engine.Start(ctx, id)
	})
	return image, err
}

// monitorAnswers calls ready until it succeeds, as long as the container runs.
func (x *execution) monitorAnswers(ctx context.Context, m *machine, container string, ready func() error) error {
	for until := time.Now().Add(monitorReady); ; {
		err := ready()
		if err == nil || CodeOf(err) != EUnavailable {
			return err
		}
		c, inspectErr := m.engine.Inspect(ctx, container)
		if inspectErr == nil && !c.Running() {
			return Errorf(EUnavailable, "its container %s has ended, with exit code %d", container, c.ExitCode)
		}
		if time.Now().After(until) {
			return fmt.Errorf("not ready within %v: %w", monitorReady, err)
		}
		if !sleep(ctx, time.Second/4) {
			return ctx.Err()
		}
	}
}

// monitorPort publishes a port to who may use it: on the broker's own computer
// on its loopback interface, on rented machines on the port that their provider
// admits users to, and on listed hosts on their address.
func (b *Broker) monitorPort(m *machine, port int) PortBinding {
	p := PortBinding{Container: port, Protocol: "tcp", Address: m.Address}
	if isLocal(m) {
		p.Address = "127.0.0.1"
	} else if _, rented := b.renter(m.Pool); rented {
		p.Address, p.Host = "", port
	}
	return p
}

func isLocal(m *machine) bool { return strings.HasPrefix(m.Endpoint.Host, "unix:") }

// monitorHost is where people and the broker reach the machine.
func monitorHost(m *machine) string {
	if isLocal(m) {
		return "127.0.0.1"
	}
	if u, err := url.Parse(m.Endpoint.Host); err == nil && u.Scheme == "tcp" {
		return u.Hostname()
	}
	return cmp.Or(m.PublicIP, m.Address)
}

// monitorURL is where a started part is.
func monitorURL(ctx context.Context, m *machine, spec ContainerSpec, port int) (string, error) {
	c, err := m.engine.Inspect(ctx, spec.Name)
	if err != nil {
		return "", err
	}
	for _, p := range c.Ports {
		if p.Container == port && p.Host > 0 {
			return "https://" + net.JoinHostPort(monitorHost(m), strconv.Itoa(p.Host)), nil
		}
	}
	if !c.Running() {
		return "", Errorf(EUnavailable, "its container %s has ended, with exit code %d", c.Name, c.ExitCode)
	}
	return "", Errorf(EInternal, "the engine tells no port of container %s", c.Name)
}
