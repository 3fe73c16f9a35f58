package hoststats

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/loads/loads/metrics"
)

// total is the tag of what all disks, or all interfaces, did together.
const total = "total"

func readMemory(ctx context.Context) ([]metrics.HostPoint, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, err
	}
	fields := map[string]float64{
		"total": float64(m.Total), "available": float64(m.Available), "used": float64(m.Used), "free": float64(m.Free),
		"cached": float64(m.Cached), "buffered": float64(m.Buffers), "swap_free": float64(m.SwapFree),
	}
	if m.Total > 0 {
		fields["used_percent"] = rounded(100 * float64(m.Used) / float64(m.Total))
		fields["available_percent"] = rounded(100 * float64(m.Available) / float64(m.Total))
	}
	return []metrics.HostPoint{{Name: "mem", Fields: fields}}, nil
}

func (r *Reader) readLoad(ctx context.Context) ([]metrics.HostPoint, error) {
	l, err := load.AvgWithContext(ctx)
	if err != nil {
		return nil, err
	}
	if r.cpus == 0 {
		if r.cpus, err = cpu.CountsWithContext(ctx, true); err != nil {
			return nil, err
		}
	}
	return []metrics.HostPoint{{Name: "system", Fields: map[string]float64{
		"load1": l.Load1, "load5": l.Load5, "load15": l.Load15, "n_cpus": float64(r.cpus),
	}}}, nil
}

// readDisks returns the totals of all disks together. Partitions, and what lies
// upon disks or in memory, are left out: what they do is done by disks, or by
// none.
func (r *Reader) readDisks(ctx context.Context) ([]metrics.HostPoint, error) {
	disks, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		return nil, err
	}
	byName, inProgress := map[string]map[string]float64{}, 0.0
	for name, d := range disks {
		if !isDisk(name, disks) {
			continue
		}
		byName[name] = map[string]float64{
			"reads": float64(d.ReadCount), "read_bytes": float64(d.ReadBytes),
			"writes": float64(d.WriteCount), "write_bytes": float64(d.WriteBytes), "io_time": float64(d.IoTime),
		}
		inProgress += float64(d.IopsInProgress)
	}
	sum := r.disks.add(byName)
	if len(sum) == 0 {
		return nil, nil
	}
	sum["iops_in_progress"] = inProgress
	return []metrics.HostPoint{{Name: "diskio", Tags: tag("name", total), Fields: sum}}, nil
}

// isDisk reports whether the device is a disk of its own.
func isDisk(name string, all map[string]disk.IOCountersStat) bool {
	if hasPrefix(name, "loop", "ram", "zram", "dm-", "md", "sr", "fd", "drbd", "nbd") {
		return false
	}
	for other := range all { // sda1 is of sda, nvme0n1p1 of nvme0n1
		if part, ok := strings.CutPrefix(name, other); ok && part != "" && strings.Trim(part, "p0123456789") == "" {
			return false
		}
	}
	return true
}

// readInterfaces returns the totals of all interfaces to the outside together.
// Those that lie upon others are left out, so that nothing counts twice.
func (r *Reader) readInterfaces(ctx context.Context) ([]metrics.HostPoint, error) {
	interfaces, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	byName, hardware := map[string]map[string]float64{}, map[string]map[string]float64{}
	for _, i := range interfaces {
		if isVirtual(i.Name) {
			continue
		}
		byName[i.Name] = map[string]float64{
			"bytes_sent": float64(i.BytesSent), "bytes_recv": float64(i.BytesRecv),
			"packets_sent": float64(i.PacketsSent), "packets_recv": float64(i.PacketsRecv),
			"err_in": float64(i.Errin), "err_out": float64(i.Errout),
			"drop_in": float64(i.Dropin), "drop_out": float64(i.Dropout),
		}
		// Only those that are no mere software have a device, but for machines
		// that are containers themselves, whose interfaces have none.
		if _, err := os.Stat(filepath.Join("/sys/class/net", i.Name, "device")); err == nil {
			hardware[i.Name] = byName[i.Name]
		}
	}
	if len(hardware) > 0 {
		byName = hardware
	}
	sum := r.interfaces.add(byName)
	if len(sum) == 0 {
		return nil, nil
	}
	return []metrics.HostPoint{{Name: "net", Tags: tag("interface", total), Fields: sum}}, nil
}

// totals adds up what devices count. The sum never falls, though devices go
// away or begin anew.
type totals struct {
	last map[string]map[string]float64 // by device and field
	sum  map[string]float64
}

// add takes in what the devices that are there now have counted, and returns
// the sum.
func (t *totals) add(devices map[string]map[string]float64) map[string]float64 {
	if t.sum == nil {
		t.sum = make(map[string]float64)
	}
	for name, fields := range devices {
		for field, now := range fields {
			if before := t.last[name][field]; now >= before {
				t.sum[field] += now - before
			} else {
				t.sum[field] += now
			}
		}
	}
	t.last = devices
	return maps.Clone(t.sum)
}

// isVirtual reports whether what goes through the interface goes through
// another one too, or never leaves the machine.
func isVirtual(name string) bool {
	return name == "lo" || strings.Contains(name, ".") || hasPrefix(name,
		"veth", "br-", "docker", "virbr", "cni", "flannel", "cali", "tun", "tap", "wg", "bond", "team", "dummy", "ifb", "vxlan")
}

func hasPrefix(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
