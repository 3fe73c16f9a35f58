// Package influxtest starts a real InfluxDB for a test.
//
// The program is influxd 1.8, which `make test` builds into .build/tools; it
// takes what InfluxDB 2's client writes, with the token "user:password" and
// the bucket "database/retention-policy".
package influxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/loads/loads/internal/waittest"
)

const (
	user     = "loads"
	password = "a-password-for-tests"

	// startTime is how long a loaded machine may take to bring a server up.
	startTime = 2 * time.Minute
)

// A Server is a running InfluxDB that asks for a user and a password.
type Server struct {
	// URL is the server's address on loopback, without a path.
	URL string
	// Token is what InfluxDB 2's clients give in place of a password.
	Token string

	dir  string // of the data
	stop func() // nil while the server is stopped
}

// Start starts a server on a free port of an address of its own, with its data in a temporary folder,
// and stops it when the test ends. It fails the test when influxd is not there.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn is Start with the data in a folder of the caller's.
func StartIn(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{Token: user + ":" + password, dir: dir}
	s.start(t, waittest.FreeAddress(t))
	s.Query(t, "", fmt.Sprintf(`CREATE USER %q WITH PASSWORD '%s' WITH ALL PRIVILEGES`, user, password))
	return s
}

// StartFresh is Start of a server that nobody has used yet: it has no user.
func StartFresh(t testing.TB) *Server {
	t.Helper()
	s := &Server{dir: t.TempDir()}
	s.start(t, waittest.FreeAddress(t))
	return s
}

// Stop kills the server; its data stay.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stop == nil {
		t.Fatal("the server is stopped already")
	}
	s.stop()
	s.stop = nil
}

// Restart starts a stopped server again, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.start(t, strings.TrimPrefix(s.URL, "http://"))
}

func (s *Server) start(t testing.TB, addr string) {
	t.Helper()
	log, stop := launch(t, writeConfig(t, s.dir, addr))
	s.stop = stop
	s.URL = "http://" + log.address(t)
}

// config leaves out all that a test has no use for. Port 0 is any free one.
var config = template.Must(template.New("influxd").Parse(`
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{{.Dir}}/meta"
[data]
  dir = "{{.Dir}}/data"
  wal-dir = "{{.Dir}}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{{.Addr}}"
  auth-enabled = true
  flux-enabled = true
  log-enabled = false
`))

func writeConfig(t testing.TB, dir, addr string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "influxd.conf")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := config.Execute(f, struct{ Dir, Addr string }{dir, addr}); err != nil {
		t.Fatalf("write influxd's configuration: %v", err)
	}
	return name
}

// launch starts influxd and returns the reader of its log; both are stopped,
// and waited for, by stop, at the latest when the test ends.
func launch(t testing.TB, config string) (_ *logReader, stop func()) {
	t.Helper()
	cmd := exec.Command(program(t), "run", "-config", config)
	// A test that is killed takes its server along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		log.Close()
		t.Fatalf("start influxd: %v", err)
	}
	r := &logReader{addr: make(chan string, 1), ended: make(chan struct{})}
	go r.read(log)
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-r.ended
	})
	t.Cleanup(stop)
	return r, stop
}

// program returns the path of influxd.
func program(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	name := filepath.Join(filepath.Dir(file), "..", "..", ".build", "tools", "influxd")
	if _, err := os.Stat(name); err != nil {
		t.Fatalf("influxd is not there; run scripts/test-deps.sh: %v", err)
	}
	return name
}

// listening matches the line with which influxd says where its API is.
var listening = regexp.MustCompile(`Listening on HTTP.*addr=(\S+)`)

// A logReader reads influxd's log to its end, so that the server never waits
// for a reader.
type logReader struct {
	addr  chan string   // gets where the server listens, once
	ended chan struct{} // closed at the log's end
	said  []string      // the lines before addr; to be read after ended
}

func (r *logReader) read(log io.ReadCloser) {
	defer close(r.ended)
	defer log.Close()
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			r.addr <- m[1]
			break
		}
		r.said = append(r.said, lines.Text())
	}
	_, _ = io.Copy(io.Discard, log)
}

// address waits until the server listens.
func (r *logReader) address(t testing.TB) string {
	t.Helper()
	select {
	case addr := <-r.addr:
		return addr
	case <-r.ended:
		t.Fatalf("influxd ended before it listened; it said:\n%s", strings.Join(r.said, "\n"))
	case <-time.After(startTime):
		t.Fatalf("influxd does not listen after %v", startTime)
	}
	return ""
}

// CreateDatabase makes a database and returns the bucket that InfluxDB 2's
// clients write to.
func (s *Server) CreateDatabase(t testing.TB, name string) (bucket string) {
	t.Helper()
	s.Query(t, "", fmt.Sprintf("CREATE DATABASE %q", name))
	return name + "/autogen"
}

// A Row is one series of a query's answer: Values holds the points, each in
// the order of Columns. Numbers are json.Number.
type Row struct {
	Name    string            `json:"name"`
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
}

// Query runs InfluxQL against the database, which may be empty, and returns
// the series of the first statement. It fails the test when the server
// refuses.
func (s *Server) Query(t testing.TB, database, query string) []Row {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	form := url.Values{"db": {database}, "q": {query}, "epoch": {"ns"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(user, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("query %q: %v", query, err)
	}
	defer res.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []Row
		}
	}
	decoder := json.NewDecoder(res.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		t.Fatalf("query %q: decode answer: %v", query, err)
	}
	if answer.Error != "" || len(answer.Results) == 0 || answer.Results[0].Error != "" {
		t.Fatalf("query %q: status %d: %+v", query, res.StatusCode, answer)
	}
	return answer.Results[0].Series
}

// Write writes lines, with times in ns, to the bucket.
func (s *Server) Write(t testing.TB, bucket, lines string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		s.URL+"/api/v2/write?bucket="+url.QueryEscape(bucket), strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+s.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("write: got status %d, want 204", res.StatusCode)
	}
}
