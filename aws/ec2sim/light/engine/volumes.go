package engine

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// A volume is a folder of the machine under a name.
type volume struct {
	name     string
	made     time.Time
	labels   map[string]string
	nameless bool // it has an id for a name, and goes with its container
}

// where is the volume's folder on the machine.
func (v *volume) where() string { return path.Join(rootDir, "volumes", v.name, "_data") }

// mounted is a folder of the machine that a container sees.
type mounted struct {
	from, to string // on the machine, and in the container
	volume   string // its name, if it is a volume
	readOnly bool
}

// mount notes what a container mounts, and makes the volumes that aren't there.
func (e *Engine) mount(c *container, asked creation) error {
	for _, bind := range asked.HostConfig.Binds {
		from, rest, ok := strings.Cut(bind, ":")
		to, mode, _ := strings.Cut(rest, ":")
		if !ok || !path.IsAbs(to) {
			return faultf(http.StatusBadRequest, "invalid volume specification: '%s'", bind)
		}
		c.addMount(from, to, slices.Contains(strings.Split(mode, ","), "ro"), nil)
	}
	for _, m := range asked.HostConfig.Mounts {
		if m.Type != "bind" && m.Type != "volume" || !path.IsAbs(m.Target) {
			return faultf(http.StatusBadRequest, "invalid mount config for type %q: a light machine has binds and volumes only", m.Type)
		}
		c.addMount(m.Source, m.Target, m.ReadOnly, m.VolumeOptions.Labels)
	}
	return nil
}

func (c *container) addMount(from, to string, readOnly bool, labels map[string]string) {
	m := mounted{from: from, to: path.Clean(to), readOnly: readOnly}
	if !path.IsAbs(from) {
		v := c.engine.ensureVolume(from, labels)
		m.volume, m.from = v.name, v.where()
	}
	c.mounts = append(c.mounts, m)
}

func (e *Engine) volume(name string) *volume {
	for _, v := range e.volumes {
		if v.name == name {
			return v
		}
	}
	return nil
}

// ensureVolume finds a volume or makes it; without a name it is always made.
func (e *Engine) ensureVolume(name string, labels map[string]string) *volume {
	if v := e.volume(name); v != nil {
		return v
	}
	v := &volume{name: name, made: e.cfg.Now(), labels: labels, nameless: name == ""}
	if v.nameless {
		v.name = e.newID("volume")
	}
	e.volumes = append(e.volumes, v)
	return v
}

// removeNameless removes the volumes that go with their container.
func (e *Engine) removeNameless(c *container) {
	for _, m := range c.mounts {
		if v := e.volume(m.volume); v != nil && v.nameless {
			e.dropVolume(v)
		}
	}
}

func (e *Engine) dropVolume(v *volume) {
	e.volumes = slices.DeleteFunc(e.volumes, func(o *volume) bool { return o == v })
	for name, f := range e.files {
		if strings.HasPrefix(name, v.where()+"/") {
			e.size -= int64(len(f.data))
			delete(e.files, name)
		}
	}
}

func (c *container) describeMounts() []map[string]any {
	out := []map[string]any{}
	for _, m := range c.mounts {
		about := map[string]any{"Type": "bind", "Source": m.from, "Destination": m.to, "RW": !m.readOnly}
		if m.volume != "" {
			about["Type"], about["Name"], about["Driver"] = "volume", m.volume, "local"
		}
		out = append(out, about)
	}
	return out
}

func (v *volume) describe() map[string]any {
	return map[string]any{
		"Name": v.name, "Driver": "local", "Mountpoint": v.where(), "Scope": "local",
		"CreatedAt": v.made.UTC().Format(time.RFC3339), "Labels": v.labels, "Options": nil,
	}
}

func (e *Engine) listVolumes(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := readFilters(r)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []map[string]any{}
	for _, v := range e.volumes {
		if want.fit(v.labels, "", v.name) {
			out = append(out, v.describe())
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"Volumes": out, "Warnings": nil})
}

func (e *Engine) createVolume(w http.ResponseWriter, r *http.Request, _ string) error {
	var asked struct {
		Name   string
		Labels map[string]string
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return writeJSON(w, http.StatusCreated, e.ensureVolume(asked.Name, asked.Labels).describe())
}

func errNoVolume(name string) error {
	return faultf(http.StatusNotFound, "get %s: no such volume", name)
}

func (e *Engine) inspectVolume(w http.ResponseWriter, _ *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.volume(name)
	if v == nil {
		return errNoVolume(name)
	}
	return writeJSON(w, http.StatusOK, v.describe())
}

func (e *Engine) removeVolume(w http.ResponseWriter, _ *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.volume(name)
	if v == nil {
		return errNoVolume(name)
	}
	for _, c := range e.containers {
		if slices.ContainsFunc(c.mounts, func(m mounted) bool { return m.volume == v.name }) {
			return faultf(http.StatusConflict, "remove %s: volume is in use - [%s]", v.name, c.id)
		}
	}
	e.dropVolume(v)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
