package engine

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (e *Engine) inspectContainer(w http.ResponseWriter, _ *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.find(name)
	if err != nil {
		return err
	}
	argv := slices.Concat(c.image.entrypoint, c.command)
	if len(argv) == 0 {
		argv = []string{"unknown"}
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"Id": c.id, "Created": stamp(c.made), "Path": argv[0], "Args": argv[1:], "State": c.state(),
		"Image": c.image.id, "Name": c.name, "RestartCount": 0, "Driver": "overlay2", "Platform": "linux",
		"Config": c.config, "HostConfig": c.hostConfig, "Mounts": c.describeMounts(),
		"NetworkSettings": map[string]any{"Networks": c.networks()},
	})
}

func (c *container) state() map[string]any {
	began, ended, pid := time.Time{}, time.Time{}, 0
	if r := c.last(); r != nil {
		began, ended = r.began, r.ended
	}
	if c.running() {
		pid = 1000 + slices.Index(c.engine.containers, c)
		if len(c.runs) > 1 {
			ended = c.runs[len(c.runs)-2].ended
		}
	}
	return map[string]any{
		"Status": c.status(), "Running": c.running(), "Paused": false, "Restarting": false, "OOMKilled": false, "Dead": false,
		"Pid": pid, "ExitCode": c.exit, "Error": c.failure, "StartedAt": stamp(began), "FinishedAt": stamp(ended),
	}
}

// stamp writes a time as engines do; the zero time is the year 1.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (c *container) networks() map[string]any {
	n := c.engine.network(c.network)
	if n == nil {
		return map[string]any{}
	}
	return map[string]any{n.name: map[string]any{"NetworkID": n.id, "Gateway": n.gateway()}}
}

func (e *Engine) listContainers(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := readFilters(r)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	all := isTrue(r.URL.Query().Get("all")) || len(want["status"]) > 0
	out := []map[string]any{}
	for _, c := range slices.Backward(e.containers) { // the youngest first
		if !all && !c.running() || !want.fit(c.labels, c.id, c.name) {
			continue
		}
		if len(want["status"]) > 0 && !want["status"][c.status()] {
			continue
		}
		out = append(out, map[string]any{
			"Id": c.id, "Names": []string{c.name}, "Image": c.image.shown(), "ImageID": c.image.id, "Command": strings.Join(c.command, " "),
			"Created": c.made.Unix(), "Labels": c.labels, "State": c.status(), "Status": c.status(), "Mounts": c.describeMounts(),
			"NetworkSettings": map[string]any{"Networks": c.networks()},
		})
	}
	return writeJSON(w, http.StatusOK, out)
}

// filters select what is listed: the values that are wanted, by what of.
type filters map[string]map[string]bool

// known are the filters of all lists.
var known = []string{"label", "name", "id", "status", "reference", "driver"}

func readFilters(r *http.Request) (filters, error) {
	var f filters
	if text := r.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return nil, err // a fault of the server, to engines
		}
	}
	for name := range f {
		if !slices.Contains(known, name) {
			return nil, faultf(http.StatusBadRequest, "Invalid filter '%s'", name)
		}
	}
	return f, nil
}

// fit reports whether something has all the labels, and one of the names and
// ids, of which a part is enough.
func (f filters) fit(labels map[string]string, id, name string) bool {
	for want := range f["label"] {
		key, value, valued := strings.Cut(want, "=")
		if have, ok := labels[key]; !ok || valued && have != value {
			return false
		}
	}
	contains := func(what string, wanted map[string]bool) bool {
		for part := range wanted {
			if strings.Contains(what, part) {
				return true
			}
		}
		return len(wanted) == 0
	}
	return contains(name, f["name"]) && contains(id, f["id"])
}
