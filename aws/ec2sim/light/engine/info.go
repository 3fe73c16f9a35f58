package engine

import (
	"io"
	"net/http"
	"time"
)

func (e *Engine) ping(w http.ResponseWriter, r *http.Request, _ string) error {
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, "OK")
	}
	return nil
}

// goArch is the machine's architecture as Go names it.
func (e *Engine) goArch() string {
	if e.cfg.Arch == "arm64" {
		return "arm64"
	}
	return "amd64"
}

// kernelArch is the machine's architecture as its kernel names it.
func (e *Engine) kernelArch() string {
	if e.cfg.Arch == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

const kernel = "6.1.0-light"

func (e *Engine) version(w http.ResponseWriter, _ *http.Request, _ string) error {
	return writeJSON(w, http.StatusOK, map[string]any{
		"Version": serverVersion, "ApiVersion": apiVersion, "MinAPIVersion": minAPIVersion,
		"Os": "linux", "Arch": e.goArch(), "KernelVersion": kernel,
		"Components": []map[string]any{{"Name": "Engine", "Version": serverVersion}},
	})
}

func (e *Engine) info(w http.ResponseWriter, _ *http.Request, _ string) error {
	e.mu.Lock()
	e.settle()
	running := 0
	for _, c := range e.containers {
		if c.running() {
			running++
		}
	}
	info := map[string]any{
		"ID": e.cfg.Name, "Name": e.cfg.Name, "ServerVersion": serverVersion,
		"OSType": "linux", "OperatingSystem": "light machine", "Architecture": e.kernelArch(), "KernelVersion": kernel,
		"NCPU": e.cfg.VCPUs, "MemTotal": e.cfg.Memory, "DockerRootDir": rootDir,
		"Driver": "overlay2", "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "2",
		"Containers": len(e.containers), "ContainersRunning": running, "ContainersPaused": 0,
		"ContainersStopped": len(e.containers) - running, "Images": len(e.images),
	}
	e.mu.Unlock()
	info["SystemTime"] = e.cfg.Now().UTC().Format(time.RFC3339Nano) // last: it is compared with the caller's clock
	return writeJSON(w, http.StatusOK, info)
}
