package dockerctl

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// shared mounts volumes that are made with the container unless they are
// there: so no volume is without its labels for a moment. What images have at
// the path is not copied into them.
func shared(volumes []broker.SharedVolume, labels map[string]string) []mount.Mount {
	var out []mount.Mount
	for _, v := range volumes {
		out = append(out, mount.Mount{
			Type: mount.TypeVolume, Source: v.Name, Target: v.Container, ReadOnly: v.ReadOnly,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: labels},
		})
	}
	return out
}

// Volumes returns the volumes that carry all the labels.
func (e *Engine) Volumes(ctx context.Context, labels map[string]string) ([]broker.Volume, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	res, err := e.cli.VolumeList(ctx, client.VolumeListOptions{Filters: withLabels(labels)})
	if err != nil {
		return nil, e.fail(ctx, err, "list volumes")
	}
	var out []broker.Volume
	for _, v := range res.Items {
		out = append(out, broker.Volume{Name: v.Name, Labels: v.Labels})
	}
	return out, nil
}

// RemoveVolume removes the volume; one that does not exist is removed. The
// engine may need a moment after its containers were removed, so it is tried
// for a while; EConflict says that containers still have it.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	remove := func() (struct{}, error) {
		_, err := e.cli.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return struct{}{}, nil
		case errdefs.IsConflict(err):
			return struct{}{}, err
		}
		return struct{}{}, settled(err)
	}
	_, err := backoff.Retry(ctx, remove, backoff.WithBackOff(quickBackOff()), backoff.WithMaxElapsedTime(10*time.Second))
	if err = permanent(err); err != nil && errdefs.IsConflict(err) && ctx.Err() == nil {
		return broker.Errorf(broker.EConflict, "can't remove volume %s: %s", name, words(err))
	}
	return e.fail(ctx, err, "remove volume %s", name)
}
