//go:build linux

package initd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A service is a unit that runs a program.
type service struct {
	m    *manager
	name string

	job sync.Mutex // one start or stop at a time

	mu       sync.Mutex
	status   string
	main     *process // nil when none runs
	wanted   int      // counts starts and stops asked for; a restart of an older count is off
	starts   []time.Time
	activeAt time.Time // when it last became active
	endedAt  time.Time
}

const (
	defaultTimeout = 90 * time.Second
	defaultRestart = 100 * time.Millisecond
)

// settings is a service's unit as it stands at a start.
type settings struct {
	file                    unitFile
	kind, restart, killMode string
	env                     map[string]string
	restartAfter            time.Duration
	startLimit, stopLimit   time.Duration
	burst                   int
	burstTime               time.Duration
	pre, exec, post, reload []string
	stopping, stopPost      []string
	remain                  bool
	killSignal              syscall.Signal
	dir                     string
	sockets                 []string
	replacer                *strings.Replacer
}

func (s *service) settings() (settings, error) {
	file, err := loadUnit(s.name, unitDirs...)
	if err != nil {
		return settings{}, err
	}
	c := settings{
		file: file, replacer: specifiers(s.name), env: map[string]string{},
		kind: file.last("Service", "Type", "simple"), restart: file.last("Service", "Restart", "no"),
		killMode: file.last("Service", "KillMode", "control-group"),
		pre:      file["Service"]["ExecStartPre"], exec: file["Service"]["ExecStart"], post: file["Service"]["ExecStartPost"],
		reload: file["Service"]["ExecReload"], stopping: file["Service"]["ExecStop"], stopPost: file["Service"]["ExecStopPost"],
		remain:     slices.Contains([]string{"yes", "true", "on", "1"}, strings.ToLower(file.last("Service", "RemainAfterExit", ""))),
		killSignal: signalNamed(file.last("Service", "KillSignal", "")),
		dir:        strings.TrimPrefix(file.last("Service", "WorkingDirectory", ""), "-"),
		sockets:    append(file.words("Service", "Sockets"), strings.TrimSuffix(s.name, ".service")+".socket"),
	}
	if user := file.last("Service", "User", "root"); user != "root" && user != "0" {
		return c, fmt.Errorf("the unit has User=%s, and machines of the simulator run services as root", user)
	}
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		c.env[name] = value
	}
	return c, errors.Join(c.spans(), c.environment())
}

func (c *settings) spans() error {
	limit, err1 := c.file.span("Service", "TimeoutSec", defaultTimeout)
	start, err2 := c.file.span("Service", "TimeoutStartSec", limit)
	stop, err3 := c.file.span("Service", "TimeoutStopSec", limit)
	restart, err4 := c.file.span("Service", "RestartSec", defaultRestart)
	var burstTime time.Duration = 10 * time.Second
	var err5 error
	for _, at := range [][2]string{{"Service", "StartLimitInterval"}, {"Unit", "StartLimitInterval"}, {"Unit", "StartLimitIntervalSec"}} {
		if burstTime, err5 = c.file.span(at[0], at[1], burstTime); err5 != nil {
			break
		}
	}
	burst := c.file.last("Unit", "StartLimitBurst", c.file.last("Service", "StartLimitBurst", "5"))
	n, err6 := strconv.Atoi(burst)
	c.startLimit, c.stopLimit = cmp.Or(start, defaultTimeout), cmp.Or(stop, defaultTimeout)
	c.restartAfter, c.burst, c.burstTime = restart, n, burstTime
	return errors.Join(err1, err2, err3, err4, err5, err6)
}

func (c *settings) environment() error {
	for _, line := range c.file["Service"]["Environment"] {
		if err := parseEnvironment(c.replacer.Replace(line), c.env); err != nil {
			return err
		}
	}
	for _, path := range c.file["Service"]["EnvironmentFile"] {
		path, lenient := strings.CutPrefix(c.replacer.Replace(path), "-")
		text, err := os.ReadFile(path)
		if err != nil && lenient {
			continue
		}
		if err != nil {
			return fmt.Errorf("read environment: %w", err)
		}
		if err := parseEnvironmentFile(string(text), c.env); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *service) set(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
	switch status {
	case active:
		s.activeAt = time.Now()
	case inactive, failed:
		s.endedAt = time.Now()
	}
}

// want notes that a start or stop is asked for, and returns its number.
func (s *service) want() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted++
	return s.wanted
}

func (s *service) start() error {
	want := s.want()
	s.job.Lock()
	defer s.job.Unlock()
	if s.state() == active {
		return nil
	}
	return s.launch(want)
}

// launch starts the service, with job held.
func (s *service) launch(want int) error {
	c, err := s.settings()
	if err == nil {
		err = s.limit(c)
	}
	if err != nil {
		s.set(failed)
		return err
	}
	s.set(activating)
	out, err := s.openLog()
	if err != nil {
		s.set(failed)
		return err
	}
	defer out.Close()
	if err := s.launchWith(c, out, want); err != nil {
		s.kill(c)
		s.set(failed)
		if c.again(err) {
			go s.relaunch(c, want)
		}
		return err
	}
	return nil
}

func (s *service) launchWith(c settings, out *os.File, want int) error {
	if len(c.exec) == 0 && c.kind != "oneshot" {
		return errors.New("it has no ExecStart")
	}
	if err := s.runAll(c, c.pre, out, c.startLimit); err != nil {
		return err
	}
	if c.kind == "oneshot" {
		err := s.runAll(c, c.exec, out, c.startLimit)
		if err == nil {
			err = s.runAll(c, c.post, out, c.startLimit)
		}
		s.set(active)
		if err == nil && !c.remain {
			s.set(inactive)
		}
		return err
	}
	main, ready, err := s.spawn(c, out, want)
	if err != nil {
		return err
	}
	if err := awaitReady(main, ready, c.startLimit); err != nil {
		return err
	}
	s.set(active)
	return s.runAll(c, c.post, out, c.startLimit)
}

// limit refuses a start when there have been too many.
func (s *service) limit(c settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.starts = slices.DeleteFunc(s.starts, func(t time.Time) bool { return now.Sub(t) > c.burstTime })
	if c.burst > 0 && c.burstTime > 0 && len(s.starts) >= c.burst {
		return errors.New("start request repeated too quickly")
	}
	s.starts = append(s.starts, now)
	return nil
}

// spawn starts the main program. The channel is closed when it says that it is
// ready, if it is one that does.
func (s *service) spawn(c settings, out *os.File, want int) (main *process, ready <-chan struct{}, err error) {
	line, err := parseExec(c.replacer.Replace(c.exec[len(c.exec)-1]), c.env)
	if err != nil {
		return nil, nil, err
	}
	cmd := command{argv: line.argv, dir: c.dir, out: out}
	told := make(chan struct{})
	var closeNotify func()
	if c.kind == "notify" {
		path := filepath.Join(runDir, "notify-"+s.name)
		if closeNotify, err = listenReady(path, told); err != nil {
			return nil, nil, err
		}
		c.env["NOTIFY_SOCKET"] = path
	} else {
		close(told)
	}
	if cmd.files = s.m.sockets(c.sockets); len(cmd.files) > 0 {
		// A program takes the sockets only if it finds its own number there.
		c.env["LISTEN_FDS"] = strconv.Itoa(len(cmd.files))
		cmd.argv = append([]string{"/bin/sh", "-c", `export LISTEN_PID=$$; exec "$@"`, "sh"}, cmd.argv...)
	}
	cmd.env = list(c.env)
	if main, err = s.m.procs.start(cmd); err != nil {
		if closeNotify != nil {
			closeNotify()
		}
		return nil, nil, err
	}
	s.mu.Lock()
	s.main = main
	s.mu.Unlock()
	go func() { // ends with the program
		<-main.ended
		if closeNotify != nil {
			closeNotify()
		}
		s.ended(c, main, want)
	}()
	return main, told, nil
}

func awaitReady(main *process, ready <-chan struct{}, within time.Duration) error {
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-ready:
		return nil
	case <-main.ended:
		return cmp.Or(main.err(), errors.New("it has ended before it was ready"))
	case <-limit.C:
		return fmt.Errorf("not ready within %v", within)
	}
}

// listenReady closes told when READY=1 comes to the socket.
func listenReady(path string, told chan<- struct{}) (closeSocket func(), err error) {
	_ = os.Remove(path) // of an earlier start
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	go func() { // ends when the socket is closed
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") && told != nil {
				close(told)
				told = nil
			}
		}
	}()
	return func() { _ = conn.Close() }, nil
}

// ended sees to a main program that has ended, and starts it again if so set.
func (s *service) ended(c settings, main *process, want int) {
	s.mu.Lock()
	if s.main == main {
		s.main = nil
	}
	mine := s.wanted == want && s.status == active
	s.mu.Unlock()
	if !mine { // it is being started or stopped by somebody, who sees to it
		return
	}
	err := main.err()
	s.killGroup(c, main, syscall.SIGKILL)
	switch again := c.again(err); {
	case again:
		s.set(activating)
		s.m.console.Printf("%s: %v; restarting", s.name, cmp.Or(err, errors.New("ended")))
		s.relaunch(c, want)
	case err == nil && c.remain:
	case err == nil:
		s.set(inactive)
	default:
		s.set(failed)
		s.m.console.Printf("%s: %v%s", s.name, err, s.tail())
	}
}

// again reports whether the unit wants a restart after such an end.
func (c settings) again(err error) bool {
	switch c.restart {
	case "always":
		return true
	case "on-success":
		return err == nil
	case "on-failure", "on-abnormal", "on-abort":
		return err != nil
	}
	return false
}

// relaunch starts the service again after its RestartSec, unless somebody has
// started or stopped it meanwhile.
func (s *service) relaunch(c settings, want int) {
	time.Sleep(c.restartAfter)
	s.job.Lock()
	defer s.job.Unlock()
	s.mu.Lock()
	mine := s.wanted == want
	s.mu.Unlock()
	if !mine || s.m.isClosing() {
		return
	}
	if err := s.launch(want); err != nil {
		s.m.console.Printf("%s: %v%s", s.name, err, s.tail())
	}
}

func (s *service) stop() error {
	s.want()
	s.job.Lock()
	defer s.job.Unlock()
	c, err := s.settings()
	if err != nil { // its file may have gone: the program is to stop all the same
		c = settings{stopLimit: defaultTimeout, killSignal: syscall.SIGTERM, env: map[string]string{}, replacer: specifiers(s.name)}
	}
	before := s.state()
	s.set(deactivating)
	if out, err := s.openLog(); err == nil {
		if before == active {
			_ = s.runAll(c, c.stopping, out, c.stopLimit) // the signal follows
		}
		s.kill(c)
		_ = s.runAll(c, c.stopPost, out, c.stopLimit)
		_ = out.Close()
	} else {
		s.kill(c)
	}
	s.set(inactive)
	return nil
}

// kill ends the main program, and with it its session, unless the unit says
// that the others stay.
func (s *service) kill(c settings) {
	s.mu.Lock()
	main := s.main
	s.mu.Unlock()
	if main == nil {
		return
	}
	s.killGroup(c, main, c.killSignal)
	select {
	case <-main.ended:
	case <-time.After(c.stopLimit):
	}
	s.killGroup(c, main, syscall.SIGKILL)
	<-main.ended
	s.mu.Lock()
	if s.main == main {
		s.main = nil
	}
	s.mu.Unlock()
}

func (s *service) killGroup(c settings, main *process, sig syscall.Signal) {
	select {
	case <-main.ended:
	default:
		_ = syscall.Kill(main.pid, sig) // it may end at this moment
	}
	if c.killMode != "process" && (c.killMode != "mixed" || sig == syscall.SIGKILL) {
		_ = syscall.Kill(-main.pid, sig)
	}
}

// runAll runs the commands of a setting, one after the other.
func (s *service) runAll(c settings, lines []string, out *os.File, limit time.Duration) error {
	for _, text := range lines {
		s.mu.Lock()
		if s.main != nil {
			c.env["MAINPID"] = strconv.Itoa(s.main.pid)
		}
		s.mu.Unlock()
		line, err := parseExec(c.replacer.Replace(text), c.env)
		if err == nil {
			err = s.run(command{argv: line.argv, env: list(c.env), dir: c.dir, out: out}, limit)
		}
		if err != nil && !line.lenient {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

func (s *service) run(cmd command, limit time.Duration) error {
	p, err := s.m.procs.start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
		return p.err()
	case <-time.After(limit):
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.ended
		return fmt.Errorf("not done within %v", limit)
	}
}

// doReload tells the service to read its settings again.
func (s *service) doReload() error {
	s.job.Lock()
	defer s.job.Unlock()
	c, err := s.settings()
	if err != nil {
		return err
	}
	if len(c.reload) == 0 {
		return errors.New("it has no ExecReload")
	}
	out, err := s.openLog()
	if err != nil {
		return err
	}
	defer out.Close()
	return s.runAll(c, c.reload, out, c.startLimit)
}

func signalNamed(name string) syscall.Signal {
	signals := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP,
	}
	return cmp.Or(signals[strings.TrimPrefix(name, "SIG")], syscall.SIGTERM)
}

func list(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}
