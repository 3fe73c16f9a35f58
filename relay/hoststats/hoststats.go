// Package hoststats measures the machine that a relay runs on: processors,
// memory, load, disks, network interfaces and the states of TCP connections.
//
// Measurements, tags and fields have the names that Telegraf's inputs cpu, mem,
// system, diskio, net and netstat give them, and the same meaning.
//
// In a container that shares the host's network all of it is the host's, as
// only interfaces and connections in /proc belong to a namespace. Connections
// of containers with a network of their own are not among the TCP states; what
// they transfer shows at the host's interfaces.
package hoststats

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/loads/loads/metrics"
)

// A Reader measures the machine. It is not safe for concurrent use.
type Reader struct {
	log    *slog.Logger
	warned map[string]bool // measurements whose failure was told of

	cpu  cpu.TimesStat // of the last reading; without a name before it
	cpus int           // number of processors; 0 when not known

	disks, interfaces totals

	tcp      map[string]float64 // of the last count
	tcpFrom  time.Time          // when connections are counted again
	counting <-chan count       // gets the count under way; nil when there is none
	patience time.Duration      // see countPatience
	counts   sync.WaitGroup     // Close waits for it
	ended    context.Context
	end      context.CancelFunc
}

// NewReader returns a reader that tells of what it can't measure, once for
// each measurement; a nil log drops that. It is to be closed.
func NewReader(log *slog.Logger) *Reader {
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r := &Reader{log: log, warned: make(map[string]bool), patience: countPatience}
	r.ended, r.end = context.WithCancel(context.Background())
	return r
}

// Close ends what Read has begun, and waits for it. It comes after the last Read.
func (r *Reader) Close() {
	r.end()
	r.counts.Wait()
}

// Read measures everything that can be measured here. Usage of processors is
// that since the last call, so the first call has none.
func (r *Reader) Read(ctx context.Context) []metrics.HostPoint {
	var points []metrics.HostPoint
	for _, m := range []struct {
		name string
		read func(context.Context) ([]metrics.HostPoint, error)
	}{
		{"cpu", r.readCPU},
		{"mem", readMemory},
		{"system", r.readLoad},
		{"diskio", r.readDisks},
		{"net", r.readInterfaces},
		{"netstat", r.readStates},
	} {
		read, err := m.read(ctx)
		if err != nil && !r.warned[m.name] {
			r.warned[m.name] = true
			r.log.Warn("a measurement of the host is left out", "measurement", m.name, "error", err)
		}
		points = append(points, read...)
	}
	return points
}

// readCPU returns the parts of the processors' time since the last reading, in
// percent of all of them together.
func (r *Reader) readCPU(ctx context.Context) ([]metrics.HostPoint, error) {
	all, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, errors.New("no times of all processors together")
	}
	last, now := r.cpu, all[0]
	r.cpu = now
	passed := busy(now) - busy(last) + now.Idle + now.Iowait - last.Idle - last.Iowait
	if last.CPU == "" || passed <= 0 {
		return nil, nil
	}
	percent := func(now, last float64) float64 { return rounded(100 * math.Max(0, now-last) / passed) }
	return []metrics.HostPoint{{Name: "cpu", Tags: tag("cpu", "cpu-total"), Fields: map[string]float64{
		"usage_active":  percent(busy(now), busy(last)),
		"usage_user":    percent(now.User-now.Guest, last.User-last.Guest),
		"usage_nice":    percent(now.Nice-now.GuestNice, last.Nice-last.GuestNice),
		"usage_system":  percent(now.System, last.System),
		"usage_idle":    percent(now.Idle, last.Idle),
		"usage_iowait":  percent(now.Iowait, last.Iowait),
		"usage_softirq": percent(now.Softirq, last.Softirq),
		"usage_steal":   percent(now.Steal, last.Steal),
	}}}, nil
}

// busy is the time in which a processor did something or was taken away, in
// seconds. User and nice time hold that of guests.
func busy(t cpu.TimesStat) float64 {
	return t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal
}

// rounded keeps frames small: two digits are as much as a second's ticks give.
func rounded(v float64) float64 { return math.Round(v*100) / 100 }

func tag(name, value string) []metrics.Tag { return []metrics.Tag{{Name: name, Value: value}} }
