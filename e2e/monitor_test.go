package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
	"github.com/loads/loads/hosts/hoststest"
	"github.com/loads/loads/metrics"
)

// monitorImages are images of InfluxDB 1.8 and of the stand-in for Grafana, as
// variables of a monitor step.
func monitorImages(t *testing.T) string {
	t.Helper()
	influxd, err := filepath.Abs("../.build/tools/influxd")
	if err != nil {
		t.Fatal(err)
	}
	files := append(programFiles(t, influxd), scratch.File{Path: "influxdb.conf", Mode: 0o644, Data: []byte(`
[meta]
  dir = "/data/meta"
[data]
  dir = "/data/data"
  wal-dir = "/data/wal"
`)})
	program := filepath.Join(t.TempDir(), "grafana")
	cmd := exec.Command("go", "build", "-o", program, "./testdata/grafana")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in for Grafana: %v\n%s", err, out)
	}
	influxRef, influxURL := imageOf(t, files, "/"+filepath.Base(influxd), "run", "-config", "/influxdb.conf")
	grafanaRef, grafanaURL := imageOf(t, programFiles(t, program), "/grafana")
	return fmt.Sprintf("INFLUXDB_IMAGE: '%s', INFLUXDB_IMAGE_URL: '%s', GRAFANA_IMAGE: '%s', GRAFANA_IMAGE_URL: '%s'",
		influxRef, influxURL, grafanaRef, grafanaURL)
}

// programFiles are a program and the libraries that it is linked with.
func programFiles(t *testing.T, program string) []scratch.File {
	t.Helper()
	files := []scratch.File{{Path: "tmp", Mode: 0o1777, Folder: true}}
	folders := map[string]bool{}
	out, err := exec.Command("ldd", program).Output() // fails for one that is linked with none
	paths := map[string]string{program: filepath.Base(program)}
	for _, word := range strings.Fields(string(out)) {
		if err == nil && strings.HasPrefix(word, "/") {
			paths[word] = strings.TrimPrefix(word, "/")
		}
	}
	for from, to := range paths {
		for i, c := range to {
			if dir := to[:i]; c == '/' && !folders[dir] {
				folders[dir] = true
				files = append(files, scratch.File{Path: dir, Mode: 0o755, Folder: true})
			}
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, scratch.File{Path: to, Mode: 0o755, Data: data})
	}
	return files
}

// imageOf makes an image, and returns its name and where its tarball is.
func imageOf(t *testing.T, files []scratch.File, entrypoint ...string) (ref, tarball string) {
	t.Helper()
	name := dockertest.Name(t)
	image, err := scratch.Image{
		Architecture: runtime.GOARCH, Tags: []string{name + ":1"}, Entrypoint: entrypoint,
		Labels: map[string]string{dockertest.LabelTest: name, "made-at": time.Now().String()}, Files: files,
	}.Build()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, dockertest.Tar(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	return name + ":1", "file://" + file
}

// A bucket is a simulated S3 with a bucket, and something in front of it.
type bucket struct {
	t      *testing.T
	sim    *ec2sim.Sim
	url    string
	mu     sync.Mutex
	before func(*http.Request) // called before each request is answered
}

func startBucket(t *testing.T) *bucket {
	t.Helper()
	sim, err := ec2sim.New(ec2sim.Config{
		Host: ec2sim.NewNoMachines(), Drill: ec2sim.DefaultDrill(), Dir: t.TempDir(), AdminToken: "a token",
		Keys: map[string]ec2sim.Key{"AKIASIMULATED0000000": {Secret: "a secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bucket{t: t, sim: sim}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		before := b.before
		b.mu.Unlock()
		if before != nil {
			before(r)
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	b.url = server.URL
	if _, err := b.client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("runs")}); err != nil {
		t.Fatal(err)
	}
	return b
}

// env is what a broker needs to be told of it.
func (b *bucket) env() []string {
	return []string{"AWS_ENDPOINT_URL=" + b.url, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIASIMULATED0000000", "AWS_SECRET_ACCESS_KEY=a secret"}
}

func (b *bucket) client() *s3.Client {
	return s3.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(b.url),
		Credentials: credentials.NewStaticCredentialsProvider("AKIASIMULATED0000000", "a secret", ""),
	}, func(o *s3.Options) { o.UsePathStyle = true })
}

// hold keeps the first upload of a part waiting. begun is closed when it has
// come; from then on nothing is answered until release is called.
func (b *bucket) hold() (begun <-chan struct{}, release func()) {
	came, go_ := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = func(r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Query().Has("uploadId") {
			once.Do(func() { close(came) })
			<-go_
		}
	}
	return came, sync.OnceFunc(func() { close(go_) })
}

// files are those in the archive at the address, once its checksum is right.
func (b *bucket) files(a broker.Archive) map[string]string {
	b.t.Helper()
	key := strings.TrimPrefix(a.URL, "s3://runs/")
	out, err := b.client().GetObject(b.t.Context(), &s3.GetObjectInput{Bucket: aws.String("runs"), Key: &key})
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err != nil || int64(len(data)) != a.Size {
		b.t.Fatalf("%d bytes, %v; want %d", len(data), err, a.Size)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		b.t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			b.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			b.t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
}

// A monitored run has a client for its own InfluxDB and Grafana.
type monitored struct {
	t    *testing.T
	at   api.Monitor
	http *http.Client
}

// monitor waits until the run's monitor is ready.
func (d *daemon) monitor(run string) *monitored {
	d.t.Helper()
	m := &monitored{t: d.t}
	until(d.t, "the monitor is ready", 4*time.Minute, func() (ready bool) {
		at, err := d.Monitor(d.t.Context(), run)
		m.at = at
		return err == nil && at.InfluxURL != ""
	})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(m.at.Certificate)) {
		d.t.Fatal("the certificate can't be read")
	}
	m.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: broker.MonitorName}, DisableKeepAlives: true,
	}}
	return m
}

// ask gets what is at the address, with the run's password or without; 0 is no
// answer.
func (m *monitored) ask(address, password string, out any) int {
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.SetBasicAuth(m.at.User, password)
	res, err := m.http.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	if json.NewDecoder(res.Body).Decode(out) != nil {
		return 0
	}
	return res.StatusCode
}

// ticks are those that the run's InfluxDB knows of.
func (m *monitored) ticks(run string) float64 {
	var answer struct {
		Results []struct {
			Series []struct{ Values [][]any }
		}
	}
	q := url.Values{"db": {"loads"}, "q": {fmt.Sprintf(`SELECT sum(value) FROM %q WHERE run = '%s'`, metrics.Measurement("sleep.ticks"), run)}}
	m.ask(m.at.InfluxURL+"/query?"+q.Encode(), m.at.Password, &answer)
	if len(answer.Results) != 1 || len(answer.Results[0].Series) != 1 {
		return 0
	}
	n, _ := answer.Results[0].Series[0].Values[0][1].(float64)
	return n
}

// monitoredPlan ticks until it is stopped, or for so many seconds.
func monitoredPlan(variables string, seconds int) string {
	return fmt.Sprintf(`
name: monitored
max_cpu_percent: 100
max_skew_ms: 60000
criteria: ['count("sleep.ticks") > 0']
steps:
  - {monitor: true, instance_type: m5.large, environment_data: {%s}}
  - {name: load, container_name: loads/node, additional_command_args: sleep %ds --print hello, instance_type: m5.large, stop_timeout: 1}
`, variables, seconds)
}

// long is longer than tests take.
const long = 500

// A run has a real InfluxDB of its own, on the local engine: it is fed while the
// run goes on, also by the broker that follows one that was killed; nobody gets
// in without the password, which nothing shows; and what it was given is
// archived, though the broker is killed in the middle of that, too.
func TestARunHasAnInfluxDBOfItsOwnAndIsArchived(t *testing.T) {
	t.Parallel()
	store := startBucket(t)
	d := startBrokerWith(t, store.env(), "--archive", "s3://runs/loads")
	run := d.trigger(monitoredPlan(monitorImages(t), long))
	m := d.monitor(run)
	if !strings.HasPrefix(m.at.InfluxURL, "https://127.0.0.1:") || !strings.HasPrefix(m.at.GrafanaURL, "https://127.0.0.1:") {
		t.Errorf("the monitor is at %s and %s, want it on loopback", m.at.InfluxURL, m.at.GrafanaURL)
	}
	var answer any
	until(t, "metrics come while the run goes on", 2*time.Minute, func() bool { return m.ticks(run) >= 2 })
	until(t, "the run's dashboard is in its Grafana", 2*time.Minute, func() bool {
		return m.ask(m.at.GrafanaURL+"/api/dashboards/uid/"+run, m.at.Password, &answer) == http.StatusOK
	})
	for name, address := range map[string]string{"InfluxDB": m.at.InfluxURL + "/query?q=SHOW+DATABASES", "Grafana": m.at.GrafanaURL + "/api/dashboards/uid/" + run} {
		if status := m.ask(address, "wrong", &answer); status != http.StatusUnauthorized {
			t.Errorf("%s answers %d to a wrong password, want 401", name, status)
		}
	}
	d.notShown(run, m.at.Password)
	d.saysHowToSignIn(run, m.at)
	d.kill()
	d.start()
	before := m.ticks(run)
	until(t, "metrics come after the broker was killed", 2*time.Minute, func() bool { return m.ticks(run) > before+1 })

	begun, release := store.hold()
	defer release()
	d.endStep(t, run, 1)
	r := d.await(run)
	d.pass(r)
	select {
	case <-begun:
	case <-time.After(3 * time.Minute):
		t.Fatal("no upload was begun within 3 minutes of the run's end")
	}
	d.kill()
	release()
	d.start()
	until(t, "the run is archived", 2*time.Minute, func() bool {
		var err error
		if r, err = d.Report(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		return r.Archive != nil && r.Archive.Done
	})
	if left := store.sim.State().Receipt["multipart-uploads"].Left; left != 0 {
		t.Errorf("%d uploads are left", left)
	}
	if want := "s3://runs/loads/" + r.Run.ProjectName + "/monitored/" + run + ".tar.gz"; r.Archive.URL != want {
		t.Errorf("the archive is at %s, want %s", r.Archive.URL, want)
	}
	checkArchive(t, store.files(*r.Archive), m.at.Password, ticksOf(r))
	history := d.events(run)
	for _, want := range []string{"InfluxDB is at " + m.at.InfluxURL, "has all the run's metrics", "archived at " + r.Archive.URL, r.Archive.SHA256} {
		if strings.Count(history, want) != 1 {
			t.Errorf("history says %q %d times, want once:\n%s", want, strings.Count(history, want), history)
		}
	}
	if strings.Contains(history, m.at.Password) {
		t.Error("the history shows the monitor's password")
	}
	if after, err := d.Monitor(t.Context(), run); err != nil || after.Password != "" {
		t.Errorf("the password is kept after the run: %v", err)
	}
}

// On a list of hosts the monitor has one to itself, at whose address InfluxDB and
// Grafana are. When none is left for it, the run goes on without.
func TestAMonitorOnAListedHost(t *testing.T) {
	t.Parallel()
	engines := hoststest.StartEngines(t, 2)
	d := startBroker(t, "--hosts", hostsFile(t, engines))
	images := monitorImages(t)
	run := d.trigger(monitoredPlan(images, long))
	m := d.monitor(run)
	until(t, "metrics come while the run goes on", 2*time.Minute, func() bool { return m.ticks(run) >= 2 })
	var answer any
	until(t, "the run's dashboard is in its Grafana", 2*time.Minute, func() bool {
		return m.ask(m.at.GrafanaURL+"/api/dashboards/uid/"+run, m.at.Password, &answer) == http.StatusOK
	})
	if status := m.ask(m.at.InfluxURL+"/query?q=SHOW+DATABASES", "wrong", &answer); status != http.StatusUnauthorized {
		t.Errorf("InfluxDB answers %d to a wrong password, want 401", status)
	}
	machines, err := d.Machines(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	for _, machine := range machines {
		i := slices.IndexFunc(engines, func(h hoststest.Host) bool { return h.Address == machine.Address })
		isMonitor := strings.HasPrefix(m.at.InfluxURL, "https://"+machine.Address+":")
		if i < 0 || isMonitor != (machine.StepIndex == 0) || isMonitor != strings.HasPrefix(m.at.GrafanaURL, "https://"+machine.Address+":") {
			t.Errorf("the monitor is at %s and %s, and a machine of step %d at %s", m.at.InfluxURL, m.at.GrafanaURL, machine.StepIndex, machine.Address)
			continue
		}
		if !isMonitor {
			d.endStep(t, run, 1, engineOf(t, engines[i]))
		}
	}
	d.pass(d.await(run))
	if history := d.events(run); !strings.Contains(history, "has all the run's metrics") {
		t.Errorf("the history does not say that the monitor had all:\n%s", history)
	}

	run = d.trigger(strings.Replace(monitoredPlan(images, 1), "stop_timeout: 1", "stop_timeout: 1, instance_count: 2", 1))
	d.pass(d.await(run))
	if history := d.events(run); !strings.Contains(history, "The run has no monitor: ") || !strings.Contains(history, "taken by run") {
		t.Errorf("the history does not say why there was no monitor:\n%s", history)
	}
	for _, h := range engines {
		empty(t, h)
	}
}

// checkArchive wants reports, logs, and the points that InfluxDB was given.
func checkArchive(t *testing.T, files map[string]string, secret string, ticks float64) {
	t.Helper()
	for _, want := range []string{"report.html", "report.json", "report.md", "metrics.csv", "logs/s1-m0-plan.log", "logs/s1-m0-relay.log", "influxdb.lp.gz"} {
		if files[want] == "" {
			t.Errorf("the archive has no %s", want)
		}
	}
	for name, text := range files {
		if strings.Contains(text, secret) {
			t.Errorf("%s has the monitor's password", name)
		}
	}
	if !strings.Contains(files["report.md"], "PASS") {
		t.Errorf("the report has no verdict:\n%s", files["report.md"])
	}
	z, err := gzip.NewReader(strings.NewReader(files["influxdb.lp.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]float64{} // values by series and time: the last line counts
	for line := range strings.Lines(string(text)) {
		series, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		field, at, _ := strings.Cut(rest, " ")
		var v float64
		if _, err := fmt.Sscanf(field, "value=%g", &v); err == nil && strings.HasPrefix(series, metrics.Measurement("sleep.ticks")+",") {
			last[series+" "+at] = v
		}
	}
	sum := 0.0
	for _, v := range last {
		sum += v
	}
	if sum != ticks || ticks == 0 {
		t.Errorf("the points of the archive count %v ticks, and the run %v", sum, ticks)
	}
}

// ticksOf are those that the broker counted.
func ticksOf(r api.Report) float64 {
	for _, m := range r.Summary.Metrics {
		if m.Name == "sleep.ticks" {
			return m.Count
		}
	}
	return 0
}

// notShown fails the test when the secret is in what the broker or the engine
// show to others.
func (d *daemon) notShown(run, secret string) {
	d.t.Helper()
	r, err := d.Report(d.t.Context(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	report, err := json.Marshal(r)
	if err != nil {
		d.t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(d.dir, "broker.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	shown := map[string]string{"the report": string(report), "the log": string(log)}
	eng := localEngine(d.t)
	found, err := eng.List(d.t.Context(), map[string]string{broker.LabelRun: run, broker.LabelRole: broker.RoleMonitor})
	if err != nil || len(found) != 2 {
		d.t.Fatalf("%d containers of the monitor, %v; want 2", len(found), err)
	}
	docker := dockertest.Client(d.t, dockertest.Endpoint())
	for _, c := range found {
		text, err := dockertest.Inspect(d.t, docker, c.ID)
		if err != nil {
			d.t.Fatal(err)
		}
		shown["container "+c.Name] = text
	}
	for name, text := range shown {
		if text == "" || strings.Contains(text, secret) {
			d.t.Errorf("%s shows the monitor's password, or nothing", name)
		}
	}
}

// saysHowToSignIn wants the command line to tell what the call tells, and the
// run's page where to look.
func (d *daemon) saysHowToSignIn(run string, at api.Monitor) {
	d.t.Helper()
	out, err := exec.Command(filepath.Join(binDir, "loads"), "monitor", run, "--broker", d.BaseURL).CombinedOutput()
	if err != nil {
		d.t.Fatalf("loads monitor: %v\n%s", err, out)
	}
	res, err := http.Get(d.BaseURL + "/run/" + run)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, want := range []string{at.InfluxURL, at.GrafanaURL} {
		if !strings.Contains(string(out), want) || !strings.Contains(string(page), want) {
			d.t.Errorf("%s is not on the run's page, or loads monitor does not say it:\n%s", want, out)
		}
	}
	if !strings.Contains(string(out), at.Password) || strings.Contains(string(page), at.Password) {
		d.t.Error("the password is on the run's page, or loads monitor does not say it")
	}
}

// A monitor that can't be had is told of, and changes nothing else.
func TestAMonitorThatFailsDoesNotFailTheRun(t *testing.T) {
	t.Parallel()
	probe, tarball := probeImage(t, nil)
	for _, tt := range []struct{ name, env, says string }{
		{"no such image", "INFLUXDB_IMAGE: '127.0.0.1:1/none:1'", "127.0.0.1:1/none:1"},
		{"it ends at once", fmt.Sprintf("INFLUXDB_IMAGE: '%s', INFLUXDB_IMAGE_URL: '%s'", probe, tarball), "has ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := startBroker(t)
			run := d.trigger(monitoredPlan(tt.env, 4))
			r := d.await(run)
			d.pass(r)
			if s := r.Run.StepRecords[0]; s.State != broker.StepSkipped || !strings.Contains(s.Reason, tt.says) {
				t.Errorf("the monitor is %s: %s; want it skipped, since %s", s.State, s.Reason, tt.says)
			}
			if history := d.events(run); strings.Count(history, "The run has no monitor: ") != 1 {
				t.Errorf("the history does not say once that there is no monitor:\n%s", history)
			}
		})
	}
}

// On EC2 the monitor is a machine like any other, which only the broker reaches.
func TestEC2_ARunHasAnInfluxDBOfItsOwn(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker()
	run := d.trigger(monitoredPlan(monitorImages(t), long))
	m := d.monitor(run)
	if strings.Contains(m.at.InfluxURL, "127.0.0.1") || !strings.HasSuffix(m.at.InfluxURL, ":8086") || !strings.HasSuffix(m.at.GrafanaURL, ":3000") {
		t.Errorf("the monitor is at %s and %s", m.at.InfluxURL, m.at.GrafanaURL)
	}
	until(t, "metrics come", 2*time.Minute, func() bool { return m.ticks(run) >= 2 })
	if _, err := d.Abort(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	r := d.await(run)
	if history := d.events(run); !strings.Contains(history, "has all the run's metrics") {
		t.Errorf("the monitor did not get all metrics:\n%s", history)
	}
	if r.Run.Verdict != broker.Aborted || r.Run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s (%s)", r.Run.Verdict, r.Run.Reason, r.Run.Cleanup, r.Run.CleanupDetail)
	}
	c.nothing(2)
}
