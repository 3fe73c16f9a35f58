package hoststats

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/loads/loads/metrics"
)

// maxDevices bounds the disks, and the interfaces, in a frame. Those that did
// the most since the machine started are kept.
const maxDevices = 32

func readMemory(ctx context.Context) ([]metrics.HostPoint, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, err
	}
	fields := map[string]float64{
		"total": float64(m.Total), "available": float64(m.Available), "used": float64(m.Used), "free": float64(m.Free),
		"cached": float64(m.Cached), "buffered": float64(m.Buffers),
		"swap_total": float64(m.SwapTotal), "swap_free": float64(m.SwapFree),
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

// readDisks returns the totals of disks and partitions that were ever used.
func readDisks(ctx context.Context) ([]metrics.HostPoint, error) {
	disks, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		return nil, err
	}
	var points []metrics.HostPoint
	for name, d := range disks {
		if d.ReadCount+d.WriteCount == 0 || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") {
			continue
		}
		points = append(points, metrics.HostPoint{Name: "diskio", Tags: tag("name", name), Fields: map[string]float64{
			"reads": float64(d.ReadCount), "read_bytes": float64(d.ReadBytes), "read_time": float64(d.ReadTime),
			"writes": float64(d.WriteCount), "write_bytes": float64(d.WriteBytes), "write_time": float64(d.WriteTime),
			"io_time": float64(d.IoTime), "iops_in_progress": float64(d.IopsInProgress),
		}})
	}
	return busiest(points, "read_bytes", "write_bytes"), nil
}

// readInterfaces returns the totals of the interfaces, but for loopback and the
// host's ends of containers' own interfaces, whose bridges are there.
func readInterfaces(ctx context.Context) ([]metrics.HostPoint, error) {
	interfaces, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return nil, err
	}
	var points []metrics.HostPoint
	for _, i := range interfaces {
		if i.Name == "lo" || strings.HasPrefix(i.Name, "veth") {
			continue
		}
		points = append(points, metrics.HostPoint{Name: "net", Tags: tag("interface", i.Name), Fields: map[string]float64{
			"bytes_sent": float64(i.BytesSent), "bytes_recv": float64(i.BytesRecv),
			"packets_sent": float64(i.PacketsSent), "packets_recv": float64(i.PacketsRecv),
			"err_in": float64(i.Errin), "err_out": float64(i.Errout),
			"drop_in": float64(i.Dropin), "drop_out": float64(i.Dropout),
		}})
	}
	return busiest(points, "bytes_recv", "bytes_sent"), nil
}

// busiest returns at most maxDevices points, those with the highest sum of two
// fields, sorted by their tag.
func busiest(points []metrics.HostPoint, a, b string) []metrics.HostPoint {
	byTag := func(p, q metrics.HostPoint) int { return cmp.Compare(p.Tags[0].Value, q.Tags[0].Value) }
	slices.SortFunc(points, func(p, q metrics.HostPoint) int {
		return cmp.Or(cmp.Compare(q.Fields[a]+q.Fields[b], p.Fields[a]+p.Fields[b]), byTag(p, q))
	})
	points = points[:min(len(points), maxDevices)]
	slices.SortFunc(points, byTag)
	return points
}
