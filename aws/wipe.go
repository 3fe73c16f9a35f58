package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// surveyName is the name of the container that looks at a machine, and the value
// of broker.LabelRole on it.
const surveyName = "loads-survey"

// What a machine must be like to be used again.
const (
	wipeLimit   = time.Minute     // how long it may take to be cleaned and looked at
	mostOff     = time.Second     // its clock
	leastFree   = uint64(2 << 30) // bytes of its disk, or
	leastFreeOf = 10              // that part of the disk, if that is less
)

// networks is what the pool needs of an engine besides broker.Engine.
type networks interface {
	Networks(ctx context.Context, labels map[string]string) ([]broker.Network, error)
	RemoveNetwork(ctx context.Context, id string) error
}

// theirs are the networks that every engine has.
var theirs = []string{"bridge", "host", "none"}

// wipe removes all that runs have left in a machine's engine, but the images,
// and looks whether the machine is good for another run.
func wipe(ctx context.Context, engine broker.Engine, brokerID string) error {
	ctx, cancel := context.WithTimeout(ctx, wipeLimit)
	defer cancel()
	info, err := engine.Info(ctx)
	if err != nil {
		return err
	}
	if off := max(info.Offset, -info.Offset) - info.Error; off > mostOff {
		return fmt.Errorf("its clock is wrong by %v", off)
	}
	if err := empty(ctx, engine); err != nil {
		return err
	}
	found, err := survey(ctx, engine, brokerID)
	if err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	if len(found.Strays) > 0 {
		return fmt.Errorf("its containers have left processes: %s", strings.Join(found.Strays, ", "))
	}
	if found.Free < min(leastFree, found.Total/leastFreeOf) {
		return fmt.Errorf("of its disk only %d MiB are free", found.Free>>20)
	}
	return nil
}

// empty removes all containers, whoever made them, and then the volumes and
// networks.
func empty(ctx context.Context, engine broker.Engine) error {
	containers, err := engine.List(ctx, nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		if c.Name != leaseName || c.Started() { // the lease may be being renewed
			errs = append(errs, engine.Remove(ctx, c.ID))
		}
	}
	volumes, err := engine.Volumes(ctx, nil)
	errs = append(errs, err)
	for _, v := range volumes {
		errs = append(errs, engine.RemoveVolume(ctx, v.Name))
	}
	netted, ok := engine.(networks)
	if !ok {
		return errors.Join(append(errs, errors.New("its engine does not tell of networks"))...)
	}
	all, err := netted.Networks(ctx, nil)
	errs = append(errs, err)
	for _, n := range all {
		if !slices.Contains(theirs, n.Name) {
			errs = append(errs, netted.RemoveNetwork(ctx, n.ID))
		}
	}
	return errors.Join(errs...)
}

// survey has the node program look at the machine.
func survey(ctx context.Context, engine broker.Engine, brokerID string) (metrics.Survey, error) {
	var found metrics.Survey
	if _, err := engine.EnsureNodeImage(ctx); err != nil {
		return found, err
	}
	id, err := engine.Create(ctx, broker.ContainerSpec{
		Name: surveyName, Image: broker.NodeImage, Command: []string{"survey"}, Network: "none",
		Labels:  map[string]string{broker.LabelBroker: brokerID, broker.LabelRole: surveyName},
		Volumes: []broker.VolumeBinding{{Container: "/host/proc", Host: "/proc", ReadOnly: true}},
	})
	if err != nil {
		return found, err
	}
	if err := engine.Start(ctx, id); err != nil {
		return found, err
	}
	if err := engine.Wait(ctx, id); err != nil {
		return found, err
	}
	var out, faults bytes.Buffer
	if err := engine.Logs(ctx, id, broker.LogOptions{}, &out, &faults); err != nil {
		return found, err
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return found, fmt.Errorf("%w: %s", err, strings.TrimSpace(faults.String()))
	}
	return found, engine.Remove(ctx, id)
}
