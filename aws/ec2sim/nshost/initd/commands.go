//go:build linux

package initd

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// commandNames are the programs of a machine that are not this computer's.
var commandNames = []string{"systemctl", "shutdown", "poweroff", "halt", "reboot"}

func isCommand(name string) bool { return slices.Contains(commandNames, name) }

// A request is a command that somebody on the machine has given.
type request struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
}

// A reply is what came of it.
type reply struct {
	Out  string `json:"out"`
	Err  string `json:"err"`
	Code int    `json:"code"`
}

// ask gives process 1 the command and returns its exit code.
func ask(name string, args []string, out, errOut io.Writer) int {
	conn, err := net.Dial("unix", socketPath)
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v\n", name, err)
		return 1
	}
	defer conn.Close()
	var r reply
	if err := json.NewEncoder(conn).Encode(request{name, args}); err == nil {
		err = json.NewDecoder(conn).Decode(&r)
		if err != nil { // the machine went off meanwhile
			return 0
		}
	}
	_, _ = io.WriteString(out, r.Out)
	_, _ = io.WriteString(errOut, r.Err)
	return r.Code
}

// serve answers commands, each in a goroutine: some take long.
func (m *machine) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			var q request
			if json.NewDecoder(conn).Decode(&q) == nil {
				_ = json.NewEncoder(conn).Encode(m.answer(q)) // who asked may have gone
			}
		}()
	}
}

func (m *machine) answer(q request) reply {
	if q.Name == "systemctl" {
		return m.systemctl(q.Args)
	}
	var order shutdownOrder
	var err error
	if q.Name == "shutdown" {
		order, err = parseShutdown(q.Args, time.Now())
	} else {
		order, err = parsePowerCommand(q.Name, q.Args)
	}
	if err != nil {
		return failure(err)
	}
	m.power.carryOut(order)
	return reply{}
}

func failure(err error) reply { return reply{Err: err.Error() + "\n", Code: 1} }

// systemctl does what systemctl would, for the verbs that people use.
func (m *machine) systemctl(args []string) reply {
	var words []string
	var now, quiet, noBlock, force bool
	for _, a := range args {
		switch a {
		case "--now":
			now = true
		case "-q", "--quiet":
			quiet = true
		case "--no-block":
			noBlock = true
		case "-f", "--force", "-ff":
			force = true
		default:
			if !strings.HasPrefix(a, "-") {
				words = append(words, a)
			}
		}
	}
	if len(words) == 0 {
		return failure(fmt.Errorf("systemctl needs a verb"))
	}
	verb, names := words[0], words[1:]
	for i := range names {
		names[i] = fullName(names[i])
	}
	switch verb {
	case "daemon-reload", "daemon-reexec", "reset-failed", "preset":
		return reply{} // unit files are read with each start
	case "poweroff", "halt", "reboot":
		order := shutdownOrder{force: force}
		if verb == "reboot" {
			order.code = ExitReboot
		}
		m.power.carryOut(order)
		return reply{}
	case "is-system-running":
		return reply{Out: "running\n"}
	}
	if len(names) == 0 {
		return failure(fmt.Errorf("systemctl %s needs a unit", verb))
	}
	if noBlock {
		go m.forEach(verb, names, now) // process 1 outlives it
		return reply{}
	}
	r := m.forEach(verb, names, now)
	if quiet {
		r.Out = ""
	}
	return r
}

// forEach does the verb to all the units; the first failure's code stands.
func (m *machine) forEach(verb string, names []string, now bool) reply {
	var all reply
	for _, name := range names {
		r := m.do(verb, name, now)
		all.Out += r.Out
		all.Err += r.Err
		if all.Code == 0 {
			all.Code = r.Code
		}
	}
	return all
}

func (m *machine) do(verb, name string, now bool) reply {
	var err error
	switch verb {
	case "start":
		err = m.units.start(name)
	case "stop":
		err = m.units.stop(name)
	case "restart", "reload-or-restart", "force-reload":
		err = m.restart(name)
	case "try-restart", "condrestart", "try-reload-or-restart":
		if m.state(name) == active {
			err = m.restart(name)
		}
	case "reload":
		err = m.reload(name)
	case "enable", "reenable":
		err = m.units.enable(name)
		if err == nil && now {
			err = m.units.start(name)
		}
	case "disable":
		err = m.units.disable(name)
		if err == nil && now {
			err = m.units.stop(name)
		}
	case "mask":
		err = link("/dev/null", adminUnitDir+"/"+name)
		if err == nil && now {
			err = m.units.stop(name)
		}
	case "unmask":
		err = unmask(name)
	default:
		return m.query(verb, name)
	}
	if err != nil {
		return failure(err)
	}
	return reply{}
}

// query answers the verbs that change nothing.
func (m *machine) query(verb, name string) reply {
	switch verb {
	case "is-active":
		return m.tell(m.state(name), 3, active)
	case "is-failed":
		return m.tell(m.state(name), 1, failed)
	case "is-enabled":
		if len(enablements(name)) > 0 {
			return reply{Out: "enabled\n"}
		}
		return reply{Out: "disabled\n", Code: 1}
	case "status":
		return m.status(name)
	case "cat":
		return cat(name)
	}
	return failure(fmt.Errorf("systemctl %s is not simulated", verb))
}

func (m *machine) tell(state string, code int, good string) reply {
	if state == good {
		code = 0
	}
	return reply{Out: state + "\n", Code: code}
}

func (m *machine) state(name string) string {
	u, err := m.units.unit(name)
	if err != nil {
		return inactive
	}
	return u.state()
}

func (m *machine) restart(name string) error {
	if err := m.units.stop(name); err != nil {
		return err
	}
	return m.units.start(name)
}

func (m *machine) reload(name string) error {
	u, err := m.units.unit(name)
	if err != nil {
		return err
	}
	s, ok := u.(*service)
	if !ok || s.state() != active {
		return fmt.Errorf("%s can't be reloaded: it is no running service", name)
	}
	return s.doReload()
}

func (m *machine) status(name string) reply {
	u, err := m.units.unit(name)
	if err != nil {
		return reply{Err: err.Error() + "\n", Code: 4}
	}
	out := fmt.Sprintf("%s\n  Active: %s\n", name, u.state())
	if s, ok := u.(*service); ok {
		s.mu.Lock()
		if s.main != nil {
			out += fmt.Sprintf("  Main PID: %d\n", s.main.pid)
		}
		s.mu.Unlock()
		out += s.tail() + "\n"
	}
	r := m.tell(u.state(), 3, active)
	r.Out = out
	return r
}
