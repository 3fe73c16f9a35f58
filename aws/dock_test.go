package aws_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// A dock is what a machine's Docker has, and what the node program finds there.
type dock struct {
	containers []broker.Container
	volumes    []broker.Volume
	networks   []broker.Network
	images     []string      // that were asked for
	offset     time.Duration // of its clock
	survey     metrics.Survey
}

// dock returns that of the machine with the private address.
func (c *cloud) dock(private string) *dock {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.docks[private] == nil {
		c.docks[private] = &dock{
			survey:   metrics.Survey{Free: 30 << 30, Total: 40 << 30},
			networks: []broker.Network{{ID: "1", Name: "bridge"}, {ID: "2", Name: "host"}, {ID: "3", Name: "none"}},
		}
	}
	return c.docks[private]
}

// on changes, or looks at, the machine's dock.
func (c *cloud) on(m broker.Machine, f func(d *dock)) {
	d := c.dock(m.Address)
	c.mu.Lock()
	defer c.mu.Unlock()
	f(d)
}

func (e *engine) offset(private string) time.Duration {
	d := e.cloud.dock(private)
	e.cloud.mu.Lock()
	defer e.cloud.mu.Unlock()
	return d.offset
}

func (d *dock) put(one broker.Container) {
	d.remove(one.ID)
	d.containers = append(d.containers, one)
}

func (d *dock) remove(id string) {
	d.containers = slices.DeleteFunc(d.containers, func(c broker.Container) bool { return c.ID == id })
}

// at calls f with the machine's dock, if the machine answers.
func (e *engine) at(f func(d *dock)) error {
	_, private, err := e.machine()
	if err != nil {
		return err
	}
	d := e.cloud.dock(private)
	e.cloud.mu.Lock()
	defer e.cloud.mu.Unlock()
	f(d)
	return nil
}

func (e *engine) List(context.Context, map[string]string) (list []broker.Container, err error) {
	err = e.at(func(d *dock) { list = slices.Clone(d.containers) })
	return list, err
}

func (e *engine) Remove(_ context.Context, id string) error {
	return e.at(func(d *dock) { d.remove(id) })
}

func (e *engine) EnsureImage(_ context.Context, ref, url string) (string, error) {
	return ref, e.at(func(d *dock) { d.images = append(d.images, ref+" "+url) })
}

func (e *engine) Start(context.Context, string) error { return e.at(func(*dock) {}) }
func (e *engine) Wait(context.Context, string) error  { return e.at(func(*dock) {}) }

func (e *engine) Logs(_ context.Context, _ string, _ broker.LogOptions, stdout, _ io.Writer) error {
	var found metrics.Survey
	if err := e.at(func(d *dock) { found = d.survey }); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(found)
}

func (e *engine) Volumes(context.Context, map[string]string) (list []broker.Volume, err error) {
	err = e.at(func(d *dock) { list = slices.Clone(d.volumes) })
	return list, err
}

func (e *engine) RemoveVolume(_ context.Context, name string) error {
	return e.at(func(d *dock) {
		d.volumes = slices.DeleteFunc(d.volumes, func(v broker.Volume) bool { return v.Name == name })
	})
}

func (e *engine) Networks(context.Context, map[string]string) (list []broker.Network, err error) {
	err = e.at(func(d *dock) { list = slices.Clone(d.networks) })
	return list, err
}

func (e *engine) RemoveNetwork(_ context.Context, id string) error {
	return e.at(func(d *dock) {
		d.networks = slices.DeleteFunc(d.networks, func(n broker.Network) bool { return n.ID == id })
	})
}
