package light_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/dockerctl/scratch"
)

// many is how many machines are measured.
const many = 1000

// BenchmarkLight boots 1,000 machines and follows the relay of each for some
// seconds. What it reports of memory and processor time is that of both ends of
// the connections: the clients are in the same process.
func BenchmarkLight(b *testing.B) {
	goroutines := runtime.NumGoroutine()
	for b.Loop() {
		c := mustCloud(b)
		before, began := memory(), time.Now()
		all := make([]*machine, many)
		for i := range all {
			all[i] = c.boot(time.Hour, time.Hour, nil)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/many, "µs/boot")
		b.ReportMetric((memory()-before)/many, "idle-B/machine")
		follow(b, c, all, before)
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		await(b, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
	}
}

// follow has a relay on each machine, and reads the frames of all of them.
func follow(b *testing.B, c *cloud, all []*machine, before float64) {
	b.Helper()
	const seconds = 5
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	engines := make([]*dockerctl.Engine, len(all))
	var readers, starts errgroup.Group
	starts.SetLimit(8)
	url := "file://" + smallNode(b)
	ids := make([]string, len(all))
	for i, m := range all {
		e, err := dockerctl.Open(m.endpoint, dockerctl.Options{})
		if err != nil {
			b.Fatal(err)
		}
		engines[i] = e
		starts.Go(func() (err error) {
			ids[i], err = startRelay(ctx, e, url)
			return err
		})
	}
	if err := starts.Wait(); err != nil {
		b.Fatal(err)
	}
	for i, e := range engines {
		readers.Go(func() error {
			if err := e.Logs(ctx, ids[i], broker.LogOptions{Follow: true, Timestamps: true}, io.Discard, nil); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	time.Sleep(time.Second) // what is measured is what goes on then
	used := processorTime()
	time.Sleep(seconds * time.Second)
	b.ReportMetric(float64((processorTime()-used).Milliseconds())/seconds, "cpu-ms/s")
	b.ReportMetric((memory()-before)/many, "followed-B/machine")
	cancel()
	if err := readers.Wait(); err != nil {
		b.Fatal(err)
	}
	for _, e := range engines {
		_ = e.Close()
	}
}

func startRelay(ctx context.Context, e *dockerctl.Engine, url string) (string, error) {
	image, err := e.EnsureImage(ctx, "node:1", url)
	if err != nil {
		return "", err
	}
	id, err := e.Create(ctx, broker.ContainerSpec{Name: "relay", Image: image, Command: []string{"relay"}})
	if err != nil {
		return "", err
	}
	return id, e.Start(ctx, id)
}

// smallNode is an archive of the node image without its program.
func smallNode(b *testing.B) string {
	b.Helper()
	a, err := scratch.Image{Architecture: runtime.GOARCH, Tags: []string{"node:1"}, Entrypoint: []string{"/loads-node"}}.Build()
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "node.tar")
	if err := os.WriteFile(path, dockertest.Tar(b, a), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// memory is what is in use, in bytes: heap and stacks, after a collection.
func memory() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
