package dockerctl

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// CreateNetwork makes a bridge network and returns it. A network of that name
// with the same labels is that network; one with others is an EConflict.
//
// Engines before API 1.44 let two networks have one name. So, after creating,
// all of the name are listed, and only the oldest may stay: whoever made
// another one at the same moment sees the same order and comes to the same end.
//
// Calls for one name at the same moment share one creation: an engine that is
// slow may show the oldest network last.
func (e *Engine) CreateNetwork(ctx context.Context, name string, labels map[string]string) (broker.Network, error) {
	made, err, _ := e.creating.Do(name, func() (any, error) { return e.createNetwork(ctx, name, labels) })
	if err != nil {
		return broker.Network{}, err
	}
	return e.sameNetwork(made.(broker.Network), labels)
}

func (e *Engine) createNetwork(ctx context.Context, name string, labels map[string]string) (broker.Network, error) {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	found, err := e.named(ctx, name)
	if err != nil {
		return broker.Network{}, err
	}
	if len(found) > 0 {
		return e.sameNetwork(found[0], labels)
	}
	id, err := e.makeNetwork(ctx, name, labels)
	if err != nil && !errdefs.IsConflict(err) {
		return broker.Network{}, e.networkError(ctx, err, name)
	}
	found, err = e.named(ctx, name)
	if err != nil {
		return broker.Network{}, err
	}
	if len(found) == 0 {
		return broker.Network{}, broker.Errorf(broker.EConflict, "network %s was removed while it was being created", name)
	}
	if id != "" && found[0].ID != id {
		if err := e.RemoveNetwork(ctx, id); err != nil {
			return broker.Network{}, err
		}
	}
	return e.sameNetwork(found[0], labels)
}

// named returns the networks of the name, the oldest first.
func (e *Engine) named(ctx context.Context, name string) ([]broker.Network, error) {
	all, err := e.networks(ctx, client.Filters{}.Add("name", name)) // matches parts of names as well
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n broker.Network) bool { return n.Name != name }), nil
}

func (e *Engine) sameNetwork(n broker.Network, labels map[string]string) (broker.Network, error) {
	if !carries(n.Labels, labels) {
		return broker.Network{}, broker.Errorf(broker.EConflict,
			"can't create network %s: the engine at %s has another one of that name; remove it with: docker network rm %s",
			n.Name, e.ep.Host, n.Name)
	}
	return n, nil
}

// networkError explains the one failure that every busy engine comes to.
func (e *Engine) networkError(ctx context.Context, err error, name string) error {
	if !exhausted(err) {
		return e.fail(ctx, err, "create network %s", name)
	}
	all, listErr := e.networks(ctx, nil)
	if listErr != nil {
		return errors.Join(e.fail(ctx, err, "create network %s", name), listErr)
	}
	return e.noAddresses(name, len(all))
}

// Networks returns the networks that carry all the labels, the oldest first.
func (e *Engine) Networks(ctx context.Context, labels map[string]string) ([]broker.Network, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	return e.networks(ctx, withLabels(labels))
}

func (e *Engine) networks(ctx context.Context, f client.Filters) ([]broker.Network, error) {
	res, err := e.cli.NetworkList(ctx, client.NetworkListOptions{Filters: f})
	if err != nil {
		return nil, e.fail(ctx, err, "list networks")
	}
	out := make([]broker.Network, 0, len(res.Items))
	for _, item := range res.Items {
		out = append(out, toNetwork(item.Network))
	}
	slices.SortFunc(out, func(a, b broker.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

func toNetwork(n network.Network) broker.Network {
	out := broker.Network{ID: n.ID, Name: n.Name, Labels: n.Labels, Created: n.Created.UTC()}
	for _, c := range n.IPAM.Config {
		if !c.Subnet.Addr().Is4() || out.Subnet != "" {
			continue
		}
		out.Subnet = c.Subnet.String()
		if c.Gateway.IsValid() { // the default network may not tell it
			out.Gateway = c.Gateway.String()
		}
	}
	return out
}

// RemoveNetwork removes the network; one that does not exist is removed. The
// engine may need a moment to detach containers just removed, so it is tried
// for a while; EConflict says that containers are still on it.
func (e *Engine) RemoveNetwork(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	remove := func() (struct{}, error) {
		_, err := e.cli.NetworkRemove(ctx, id, client.NetworkRemoveOptions{})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return struct{}{}, nil
		case inUse(err):
			return struct{}{}, err
		}
		return struct{}{}, settled(err)
	}
	_, err := backoff.Retry(ctx, remove, backoff.WithBackOff(quickBackOff()), backoff.WithMaxElapsedTime(10*time.Second))
	if err = permanent(err); err != nil && inUse(err) && ctx.Err() == nil {
		return broker.Errorf(broker.EConflict, "can't remove network %s: %s", short(id), words(err))
	}
	return e.fail(ctx, err, "remove network %s", short(id))
}

// inUse reports whether the engine refused since containers are on the
// network; engines of different ages give it different statuses.
func inUse(err error) bool {
	return errdefs.IsConflict(err) || strings.Contains(err.Error(), "has active endpoints")
}
