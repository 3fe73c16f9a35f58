package dockerctl

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// Start starts the container, unless it was ever started before.
func (e *Engine) Start(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	c, err := e.Inspect(ctx, id)
	if err != nil || c.Started() {
		return err
	}
	_, err = e.cli.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return e.fail(ctx, err, "start container %s", c.Name)
}

// StartAt is Start at a time. It is called before that, and sends the engine a
// request that is complete by then, earlier by half of the way to it and back.
func (e *Engine) StartAt(ctx context.Context, id string, at time.Time) error {
	ctx, cancel := limited(ctx, max(0, time.Until(at))+createLimit)
	defer cancel()
	c, err := e.Inspect(ctx, id)
	if err != nil || c.Started() {
		return err
	}
	_, err = e.cli.ContainerStart(sentAt(ctx, at), id, client.ContainerStartOptions{})
	return e.fail(ctx, err, "start container %s", c.Name)
}

// Inspect returns what the engine says of the container.
func (e *Engine) Inspect(ctx context.Context, id string) (broker.Container, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return broker.Container{}, e.fail(ctx, err, "inspect container %s", short(id))
	}
	return toContainer(res.Container), nil
}

// List returns the containers that carry all the labels, running or not.
func (e *Engine) List(ctx context.Context, labels map[string]string) ([]broker.Container, error) {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	res, err := e.cli.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: withLabels(labels)})
	if err != nil {
		return nil, e.fail(ctx, err, "list containers")
	}
	var out []broker.Container
	for _, item := range res.Items {
		c, err := e.Inspect(ctx, item.ID)
		if broker.CodeOf(err) == broker.ENotFound {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func withLabels(labels map[string]string) client.Filters {
	f := client.Filters{}
	for k, v := range labels {
		f.Add("label", k+"="+v)
	}
	return f
}

// Wait returns when the container has ended, or ctx is done.
//
// The engine is asked to tell of the next end before the container is looked
// at: in the other order an end in between would be missed, and waiting for
// "not running" would take a container that has not started yet for ended.
func (e *Engine) Wait(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	wait := e.cli.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	// The SDK's goroutine offers one answer on either channel.
	answered := false
	defer func() {
		cancel()
		if !answered {
			select {
			case <-wait.Result:
			case <-wait.Error:
			}
		}
	}()
	if c, err := e.Inspect(ctx, id); err != nil {
		return err
	} else if c.Started() && !c.Running() {
		return nil
	}
	select {
	case <-wait.Result:
		answered = true
		return nil
	case err := <-wait.Error:
		answered = true
		return e.fail(ctx, err, "wait for container %s", short(id))
	case <-ctx.Done():
		return e.fail(ctx, ctx.Err(), "wait for container %s", short(id))
	}
}

// Stop asks the container to end and kills it after the timeout, which is
// rounded up to seconds.
func (e *Engine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	ctx, cancel := limited(ctx, timeout+createLimit)
	defer cancel()
	s := seconds(timeout)
	_, err := e.cli.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &s})
	return e.fail(ctx, err, "stop container %s", short(id))
}

func seconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Seconds())) }

// Remove removes the container, killing it if it runs. It returns when the
// container is gone.
func (e *Engine) Remove(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	remove := func() (struct{}, error) {
		_, err := e.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return struct{}{}, nil
		case errdefs.IsConflict(err): // somebody else's removal is in progress
			return struct{}{}, err
		}
		return struct{}{}, settled(err)
	}
	_, err := backoff.Retry(ctx, remove, backoff.WithBackOff(quickBackOff()), backoff.WithMaxElapsedTime(quickLimit))
	return e.fail(ctx, permanent(err), "remove container %s", short(id))
}

// quickBackOff is for what is over in a moment.
func quickBackOff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, time.Second
	return b
}

// permanent unwraps an error that ended a retry.
func permanent(err error) error {
	var p *backoff.PermanentError
	if errors.As(err, &p) {
		return p.Unwrap()
	}
	return err
}

// toContainer converts the SDK's description.
func toContainer(r container.InspectResponse) broker.Container {
	c := broker.Container{ID: r.ID, Name: strings.TrimPrefix(r.Name, "/"), Image: r.Image}
	if r.Config != nil {
		c.Labels = r.Config.Labels
	}
	c.Ports = published(r.NetworkSettings)
	s := r.State
	if s == nil {
		return c
	}
	c.State = string(s.Status)
	if s.Status == container.StateRemoving {
		c.State = string(container.StateDead)
	}
	c.StartedAt, c.FinishedAt = parseTime(s.StartedAt), parseTime(s.FinishedAt)
	if !c.FinishedAt.IsZero() && c.FinishedAt.Before(c.StartedAt) {
		// The engine notes a start once it has heard of it, which for a container
		// that ends at once is after its end.
		c.FinishedAt = c.StartedAt
	}
	c.ExitCode, c.OOMKilled, c.Error = s.ExitCode, s.OOMKilled, s.Error
	if s.Health != nil && s.Health.Status != container.NoHealthcheck {
		c.Health = string(s.Health.Status)
	}
	return c
}

// published are the ports that the engine has published.
func published(n *container.NetworkSettings) (list []broker.PortBinding) {
	if n == nil {
		return nil
	}
	for port, bindings := range n.Ports {
		for _, b := range bindings {
			host, err := strconv.Atoi(b.HostPort)
			if err != nil {
				continue
			}
			p := broker.PortBinding{Container: int(port.Num()), Host: host, Protocol: string(port.Proto())}
			if b.HostIP.IsValid() {
				p.Address = b.HostIP.String()
			}
			list = append(list, p)
		}
	}
	return list
}

// parseTime reads an engine's time; the year 1 and nonsense are zero.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}
