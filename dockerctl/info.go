package dockerctl

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// clockSamples is how often the engine's clock is read; the sample with the
// shortest round trip counts.
const clockSamples = 5

// Info asks the engine what it is, and measures its clock.
func (e *Engine) Info(ctx context.Context) (broker.EngineInfo, error) {
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	var best broker.EngineInfo
	for i := range clockSamples {
		info, err := e.sample(ctx)
		if err != nil {
			return broker.EngineInfo{}, e.fail(ctx, err, "ask for the engine's version")
		}
		if i == 0 || info.Error < best.Error {
			best = info
		}
	}
	return best, nil
}

// sample asks once. The engine read its clock somewhere in the call; taking
// the middle is wrong by half the call at most.
func (e *Engine) sample(ctx context.Context) (broker.EngineInfo, error) {
	began := time.Now()
	res, err := e.cli.Info(ctx, client.InfoOptions{})
	half := time.Since(began) / 2
	if err != nil {
		return broker.EngineInfo{}, err
	}
	theirs, err := time.Parse(time.RFC3339Nano, res.Info.SystemTime)
	if err != nil {
		return broker.EngineInfo{}, fmt.Errorf("read the engine's clock: %w", err)
	}
	return broker.EngineInfo{
		Version:      res.Info.ServerVersion,
		Architecture: architecture(res.Info.Architecture),
		RootDir:      res.Info.DockerRootDir,
		Offset:       theirs.Sub(began.Add(half)),
		Error:        half,
	}, nil
}

// architecture turns the kernel's name of an architecture into Go's.
func architecture(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}

// arch asks the engine for its architecture alone, once.
func (e *Engine) arch(ctx context.Context) (string, error) {
	if known := e.kind.Load(); known != nil {
		return *known, nil
	}
	ctx, cancel := limited(ctx, quickLimit)
	defer cancel()
	v, err := e.cli.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", e.fail(ctx, err, "ask for the engine's architecture")
	}
	arch := architecture(v.Arch)
	e.kind.Store(&arch)
	return arch, nil
}
