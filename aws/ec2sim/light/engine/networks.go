package engine

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A network has a name and addresses, and leads nowhere.
type network struct {
	id, name, driver string
	made             time.Time
	labels           map[string]string
	subnet           netip.Prefix // none for host and none
	builtin          bool
}

func (n *network) gateway() string {
	if !n.subnet.IsValid() {
		return ""
	}
	return n.subnet.Addr().Next().String()
}

// pool is what engines take addresses for networks from: so many blocks.
const (
	poolFirst  = 17 // 172.17.0.0/16, that of the bridge, to 172.31.0.0/16
	poolLast   = 31
	poolSmall  = 16 // then 192.168.0.0/20 and so on
	bitsOfPool = 16
)

func block(i int) (netip.Prefix, bool) {
	switch large := poolLast - poolFirst + 1; {
	case i < large:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(poolFirst + i)}), bitsOfPool), true
	case i < large+poolSmall:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte((i - large) * 16)}), 20), true
	}
	return netip.Prefix{}, false
}

// builtinNetworks are those that every engine has.
func (e *Engine) builtinNetworks() []*network {
	var all []*network
	for _, kind := range [][2]string{{"bridge", "bridge"}, {"host", "host"}, {"none", "null"}} {
		all = append(all, &network{
			id: e.newID("network"), name: kind[0], driver: kind[1], made: e.cfg.Now(), labels: map[string]string{}, builtin: true,
		})
	}
	all[0].subnet, _ = block(0)
	return all
}

// network finds a network by its name, its id or the beginning of it; nil if
// there is none.
func (e *Engine) network(name string) *network {
	for _, n := range e.networks {
		if n.name == name || n.id == name || len(name) >= 12 && strings.HasPrefix(n.id, name) {
			return n
		}
	}
	return nil
}

func (n *network) describe() map[string]any {
	addresses := []map[string]string{}
	if n.subnet.IsValid() {
		addresses = append(addresses, map[string]string{"Subnet": n.subnet.String(), "Gateway": n.gateway()})
	}
	return map[string]any{
		"Id": n.id, "Name": n.name, "Driver": n.driver, "Scope": "local", "Created": stamp(n.made), "Labels": n.labels,
		"IPAM":       map[string]any{"Driver": "default", "Config": addresses},
		"Containers": map[string]any{}, "Options": map[string]string{},
	}
}

func (e *Engine) listNetworks(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := readFilters(r)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []map[string]any{}
	for _, n := range e.networks {
		if want.fit(n.labels, n.id, n.name) {
			out = append(out, n.describe())
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (e *Engine) inspectNetwork(w http.ResponseWriter, _ *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.network(name)
	if n == nil {
		return faultf(http.StatusNotFound, "network %s not found", name)
	}
	return writeJSON(w, http.StatusOK, n.describe())
}

func (e *Engine) createNetwork(w http.ResponseWriter, r *http.Request, _ string) error {
	var asked struct {
		Name, Driver string
		Labels       map[string]string
		IPAM         *struct {
			Config []struct{ Subnet netip.Prefix }
		}
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.networks {
		switch {
		case n.name == asked.Name && n.builtin:
			return faultf(http.StatusForbidden, "operation is not permitted on predefined %s network ", n.name)
		case n.name == asked.Name:
			return faultf(http.StatusConflict, "network with name %s already exists", n.name)
		}
	}
	n := &network{
		id: e.newID("network"), name: asked.Name, driver: "bridge", made: e.cfg.Now(), labels: map[string]string{},
	}
	if asked.Driver != "" && asked.Driver != n.driver {
		return faultf(http.StatusNotFound, "could not find plugin %s in v1 plugin registry: plugin not found", asked.Driver)
	}
	for key, value := range asked.Labels {
		n.labels[key] = value
	}
	var err error
	if asked.IPAM != nil && len(asked.IPAM.Config) > 0 {
		n.subnet, err = asked.IPAM.Config[0].Subnet.Masked(), e.free(asked.IPAM.Config[0].Subnet)
	} else {
		n.subnet, err = e.freeBlock()
	}
	if err != nil {
		return err
	}
	e.networks = append(e.networks, n)
	return writeJSON(w, http.StatusCreated, map[string]string{"Id": n.id, "Warning": ""})
}

// free is the error for addresses that are in use.
func (e *Engine) free(p netip.Prefix) error {
	for _, n := range e.networks {
		if n.subnet.IsValid() && n.subnet.Overlaps(p) {
			return faultf(http.StatusForbidden, "Pool overlaps with other one on this address space")
		}
	}
	return nil
}

func (e *Engine) freeBlock() (netip.Prefix, error) {
	for i := 1; ; i++ {
		p, ok := block(i)
		if !ok {
			return p, errExhausted()
		}
		if e.free(p) == nil {
			return p, nil
		}
	}
}

func errExhausted() error {
	return faultf(http.StatusNotFound, "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")
}

func (e *Engine) removeNetwork(w http.ResponseWriter, _ *http.Request, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.network(name)
	if n == nil {
		return faultf(http.StatusNotFound, "network %s not found", name)
	}
	if n.builtin {
		return faultf(http.StatusForbidden, "%s is a pre-defined network and cannot be removed", n.name)
	}
	e.settle()
	for _, c := range e.containers {
		if c.running() && e.network(c.network) == n {
			return faultf(http.StatusForbidden, "error while removing network: %s",
				fmt.Sprintf("network %s id %s has active endpoints", n.name, n.id))
		}
	}
	e.networks = slices.DeleteFunc(e.networks, func(o *network) bool { return o == n })
	w.WriteHeader(http.StatusNoContent)
	return nil
}
