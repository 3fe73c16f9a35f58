package engine

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A container is what was created, and what became of it.
type container struct {
	engine  *Engine
	id      string
	name    string // with the slash
	made    time.Time
	image   *image
	labels  map[string]string
	command []string
	network string
	mounts  []mounted
	// As they came, to be told again.
	config, hostConfig json.RawMessage

	program program
	runs    []run
	exit    int    // of the last run
	failure string // of the last start
	files   map[string]file
}

func (c *container) last() *run {
	if len(c.runs) == 0 {
		return nil
	}
	return &c.runs[len(c.runs)-1]
}

func (c *container) running() bool { return len(c.runs) > 0 && !c.last().over }

// endsAt is when a running container ends by itself; zero for never.
func (c *container) endsAt() time.Time {
	if lasts := c.program.length(); c.running() && lasts >= 0 {
		return c.last().began.Add(lasts)
	}
	return time.Time{}
}

// settle notes that the container has ended by itself, if it has.
func (c *container) settle(now time.Time) bool {
	at := c.endsAt()
	if at.IsZero() || at.After(now) {
		return false
	}
	c.last().over, c.last().ended, c.exit = true, at, c.program.status()
	return true
}

// killed is the status of what was ended by SIGKILL.
const killed = 137

// end ends a running container: by a signal that it heeds, or at once.
func (c *container) end(now time.Time, orderly bool) {
	r := c.last()
	r.over, r.ended, r.orderly, c.exit = true, now, orderly, killed
	if orderly {
		c.exit = c.program.asked()
	}
}

// status is the container's state as engines name it.
func (c *container) status() string {
	switch {
	case len(c.runs) == 0:
		return "created"
	case c.running():
		return "running"
	}
	return "exited"
}

// find returns a container by its name, its id or the beginning of it.
func (e *Engine) find(name string) (*container, error) {
	e.settle()
	for _, c := range e.containers {
		if c.id == name || c.name == "/"+strings.TrimPrefix(name, "/") {
			return c, nil
		}
	}
	var found []*container
	for _, c := range e.containers {
		if strings.HasPrefix(c.id, name) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, faultf(http.StatusNotFound, "No such container: %s", name)
	case 1:
		return found[0], nil
	}
	return nil, faultf(http.StatusBadRequest, "Multiple IDs found with provided prefix: %s", name)
}

// creation is the part of a creation's body that means something here.
type creation struct {
	Image  string
	Cmd    []string
	Labels map[string]string

	HostConfig struct {
		NetworkMode string
		Binds       []string
		Mounts      []struct {
			Type, Source, Target string
			ReadOnly             bool
			VolumeOptions        struct{ Labels map[string]string }
		}
	}
}

var containerName = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func (e *Engine) createContainer(w http.ResponseWriter, r *http.Request, _ string) error {
	var raw map[string]json.RawMessage
	if err := readJSON(r, &raw); err != nil {
		return err
	}
	whole, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	var asked creation
	if err := json.Unmarshal(whole, &asked); err != nil {
		return faultf(http.StatusBadRequest, "invalid JSON: %v", err)
	}
	name := r.URL.Query().Get("name")
	if name != "" && !containerName.MatchString(name) {
		return faultf(http.StatusBadRequest,
			"Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.newContainer(name, asked, raw)
	if err != nil {
		return err
	}
	e.containers = append(e.containers, c)
	e.change()
	return writeJSON(w, http.StatusCreated, map[string]any{"Id": c.id, "Warnings": []string{}})
}

func (e *Engine) newContainer(name string, asked creation, raw map[string]json.RawMessage) (*container, error) {
	img := e.image(asked.Image)
	if img == nil {
		return nil, faultf(http.StatusNotFound, "No such image: %s", familiar(asked.Image))
	}
	if err := e.full("container"); err != nil {
		return nil, err
	}
	c := &container{
		engine: e, id: e.newID("container"), name: "/" + strings.TrimPrefix(name, "/"), made: e.cfg.Now(), image: img,
		labels: img.withLabels(asked.Labels), command: asked.Cmd, network: asked.HostConfig.NetworkMode, hostConfig: small(raw["HostConfig"]),
	}
	if name == "" {
		c.name = "/light_" + c.id[:12]
	}
	if i := slices.IndexFunc(e.containers, func(o *container) bool { return o.name == c.name }); i >= 0 {
		return nil, faultf(http.StatusConflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", c.name, e.containers[i].id)
	}
	if len(c.command) == 0 {
		c.command = img.command
	}
	delete(raw, "HostConfig")
	delete(raw, "NetworkingConfig")
	var err error
	if raw["Labels"], err = json.Marshal(c.labels); err != nil {
		return nil, err
	}
	whole, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	c.config, c.program = small(whole), e.programOf(img, c.command)
	return c, e.mount(c, asked)
}

// small leaves out of a JSON object what says nothing: so little of a machine
// is needed that what it was told is most of it.
func small(object json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return json.RawMessage("{}")
	}
	for name, value := range fields {
		if slices.Contains([]string{"null", `""`, "0", "false", "[]", "{}"}, string(value)) && name != "Init" {
			delete(fields, name)
		}
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return object
	}
	return out
}

func (e *Engine) startContainer(w http.ResponseWriter, _ *http.Request, name string) error {
	e.get(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if c.running() {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if c.network != "" && c.network != "default" && e.network(c.network) == nil {
		c.failure, c.exit = "network "+c.network+" not found", 128
		return faultf(http.StatusNotFound, "network %s not found", c.network)
	}
	c.failure, c.exit = "", 0
	c.runs = append(c.runs, run{began: e.cfg.Now()})
	e.change()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Engine) stopContainer(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if !c.running() {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	// Without time to heed it, a signal is none.
	c.end(e.cfg.Now(), r.URL.Query().Get("t") != "0")
	e.change()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Engine) killContainer(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if !c.running() {
		return faultf(http.StatusConflict, "Cannot kill container: %s: Container %s is not running", name, c.id)
	}
	switch signal := strings.TrimPrefix(strings.ToUpper(r.URL.Query().Get("signal")), "SIG"); signal {
	case "", "KILL", "9":
		c.end(e.cfg.Now(), false)
	case "TERM", "15", "INT", "2":
		c.end(e.cfg.Now(), true)
	case "HUP", "1", "USR1", "10", "USR2", "12":
	default:
		return faultf(http.StatusBadRequest, "Invalid signal: %s", signal)
	}
	e.change()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Engine) removeContainer(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	if c.running() && !isTrue(query.Get("force")) {
		return faultf(http.StatusConflict, "You cannot remove a running container %s. "+
			"Stop the container before attempting removal or force remove", c.id)
	}
	if c.running() {
		c.end(e.cfg.Now(), false)
	}
	e.containers = slices.DeleteFunc(e.containers, func(o *container) bool { return o == c })
	for _, f := range c.files {
		e.size -= int64(len(f.data))
	}
	if isTrue(query.Get("v")) {
		e.removeNameless(c)
	}
	e.change()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func isTrue(value string) bool { return slices.Contains([]string{"1", "true", "True"}, value) }

// waitForContainer answers at once that it waits, and later what came of it.
func (e *Engine) waitForContainer(w http.ResponseWriter, r *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	done := func() bool { return !c.running() }
	switch r.URL.Query().Get("condition") {
	case "next-exit":
		ended := c.ended()
		done = func() bool { return c.ended() > ended || !e.has(c) }
	case "removed":
		done = func() bool { return !e.has(c) }
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	for e.settle(); !done(); e.settle() {
		if !e.pause(r.Context(), c.endsAt()) {
			return nil
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"StatusCode": c.exit})
	return nil
}

// flush sends what was written. A connection that is gone ends the call's
// context too.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// ended is how often the container has ended.
func (c *container) ended() int {
	if c.running() {
		return len(c.runs) - 1
	}
	return len(c.runs)
}

func (e *Engine) has(c *container) bool { return slices.Contains(e.containers, c) }
