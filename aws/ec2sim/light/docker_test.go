package light_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
)

func TestInfo(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		info, err := b.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Offset.Abs() > info.Error+time.Second || info.Version == "" || info.RootDir == "" {
			t.Errorf("got %+v, want a version, a folder, and this computer's clock", info)
		}
	})
}

func TestContainer_FromCreationToRemoval(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		before, ctx := time.Now(), t.Context()
		spec := b.spec("once", "sleep", "200ms", "--exit", "7", "--print", "hello")
		id := b.create(spec)
		if c := b.inspect(id); c.State != "created" || c.Started() || c.Name != spec.Name || c.Image != b.image || c.Labels["part"] != "once" {
			t.Errorf("created: got %+v", c)
		}
		if out := b.output(id, broker.LogOptions{Follow: true}); out != "" {
			t.Errorf("got output %q before the start", out)
		}
		waited := make(chan error, 1)
		go func() { waited <- b.Wait(ctx, id) }()
		started := time.Now()
		if err := b.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		c := b.inspect(id)
		if c.State != "exited" || c.ExitCode != 7 || c.Running() {
			t.Errorf("after its end: got %+v, want exited with status 7", c)
		}
		// An engine that is busy may note the start late.
		if c.StartedAt.Before(before.Add(-time.Second)) || c.FinishedAt.Sub(started) < 200*time.Millisecond {
			t.Errorf("got times %v to %v, want the start after %v, and the end 200ms after %v", c.StartedAt, c.FinishedAt, before, started)
		}
		if got := b.output(id, broker.LogOptions{}); got != "hello\n" {
			t.Errorf("got output %q, want hello", got)
		}
		if err := b.Start(ctx, id); err != nil || !b.inspect(id).FinishedAt.Equal(c.FinishedAt) {
			t.Errorf("started again (%v)", err)
		}
		for range 2 {
			if err := b.Remove(ctx, id); err != nil {
				t.Errorf("remove: %v", err)
			}
		}
		_, err := b.Inspect(ctx, id)
		wantCode(t, err, broker.ENotFound)
		wantCode(t, b.Start(ctx, id), broker.ENotFound)
		wantCode(t, b.Stop(ctx, id, 0), broker.ENotFound)
		wantCode(t, b.Wait(ctx, id), broker.ENotFound)
		wantCode(t, b.Logs(ctx, id, broker.LogOptions{}, io.Discard, nil), broker.ENotFound)
	})
}

func TestCreate_FindsTheFirstByName(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		var ids [8]string
		var g errgroup.Group
		for i := range ids {
			g.Go(func() (err error) {
				ids[i], err = b.Create(t.Context(), b.spec("twin", "sleep", "1h"))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(ids[:], func(id string) bool { return id != ids[0] }) {
			t.Errorf("got containers %v, want one", ids)
		}
		other := b.spec("twin", "sleep", "1h")
		other.Labels["part"] = "other"
		_, err := b.Create(t.Context(), other)
		wantCode(t, err, broker.EConflict)
	})
}

func TestCreate_RefusesWhatIsNotThere(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		spec := b.spec("bad", "sleep", "1h")
		spec.Image = "loads-test-none:1"
		_, err := b.Create(t.Context(), spec)
		wantCode(t, err, broker.ENotFound)
		spec = b.spec("lost", "sleep", "1h")
		spec.Network = "loads-test-none"
		id, err := b.Create(t.Context(), spec)
		if err == nil {
			err = b.Start(t.Context(), id)
		}
		wantCode(t, err, broker.ENotFound)
	})
}

func TestStop_AsksAndStopsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		id := b.start(b.spec("stop", "sleep", "1h", "--print", "asleep"))
		await(t, "its first line", func() bool { return b.output(id, broker.LogOptions{}) != "" })
		for range 2 {
			if err := b.Stop(t.Context(), id, patience); err != nil {
				t.Fatal(err)
			}
		}
		if c := b.inspect(id); c.Running() || c.ExitCode != 0 {
			t.Errorf("got %s with status %d, want it ended by itself", c.State, c.ExitCode)
		}
	})
}

func TestWait_EndsWithItsContextAndWithTheContainer(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		id := b.start(b.spec("long", "sleep", "1h"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Wait(ctx, id) }()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		go func() { ended <- b.Wait(t.Context(), id) }()
		if err := b.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			wantCode(t, err, broker.ENotFound) // when it was gone before the wait began
		}
	})
}

func TestList_FindsByAllLabels(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		one, two := b.start(b.spec("one", "sleep", "1h")), b.create(b.spec("two", "sleep", "1h"))
		for _, row := range []struct {
			name   string
			labels map[string]string
			want   []string
		}{
			{"the label of both", map[string]string{dockertest.LabelTest: b.name}, []string{one, two}},
			{"two labels of one", map[string]string{dockertest.LabelTest: b.name, "part": "two"}, []string{two}},
			{"a value that none has", map[string]string{dockertest.LabelTest: b.name, "part": "three"}, nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				list, err := b.List(t.Context(), row.labels)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, c := range list {
					got = append(got, c.ID)
				}
				slices.Sort(got)
				slices.Sort(row.want)
				if diff := cmp.Diff(row.want, got); diff != "" {
					t.Errorf("containers (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestLogs_SelectsWhatIsAskedFor(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		id := b.start(b.spec("lines", "sleep", "500ms", "--print", "line {n}", "--repeat", "50"))
		followed := b.output(id, broker.LogOptions{Follow: true})
		var want strings.Builder
		for i := range 50 {
			fmt.Fprintf(&want, "line %d\n", i+1)
		}
		if followed != want.String() || b.output(id, broker.LogOptions{}) != followed {
			t.Errorf("got %q, want %q", followed, want.String())
		}
		if got := b.output(id, broker.LogOptions{Tail: 2}); got != "line 49\nline 50\n" {
			t.Errorf("got the tail %q", got)
		}
		stamped := strings.SplitAfter(strings.TrimSuffix(b.output(id, broker.LogOptions{Timestamps: true}), "\n"), "\n")
		for _, i := range []int{1, 17, 49} {
			stamp, _, _ := strings.Cut(stamped[i], " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if err != nil {
				t.Fatal(err)
			}
			got := b.output(id, broker.LogOptions{Since: at, Timestamps: true})
			if want := strings.Join(stamped[i:], ""); strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("since line %d: got %.60q, want %.60q", i, got, want)
			}
		}
	})
}

// TestSurvey_TellsOfTheMachine has a container running beside, whose processes a
// real machine shows.
func TestSurvey_TellsOfTheMachine(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(b.spec("beside", "sleep", "1h"))
		spec := b.spec("survey", "survey")
		spec.Network, spec.Volumes = "none", []broker.VolumeBinding{{Container: "/host/proc", Host: "/proc", ReadOnly: true}}
		id := b.start(spec)
		if err := b.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		var found metrics.Survey
		text := b.output(id, broker.LogOptions{})
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if found.Free == 0 || found.Total < found.Free {
			t.Errorf("got %+v, want a disk", found)
		}
		if isReal := strings.HasSuffix(t.Name(), "a_real_engine"); isReal != (len(found.Strays) > 0) {
			t.Errorf("got %+v, want processes on a real engine alone", found)
		}
	})
}

func TestLogs_FollowingEndsWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		id := b.start(b.spec("quiet", "sleep", "1h", "--print", "asleep"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var out waittest.Buffer
		ended := make(chan error, 1)
		go func() { ended <- b.Logs(ctx, id, broker.LogOptions{Follow: true}, &out, nil) }()
		await(t, "the first line", func() bool { return out.String() == "asleep\n" })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

func TestRelay_WritesFramesToTheFinalOne(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		id := b.start(b.spec("relay", "relay", "--listen", "127.0.0.1:8125"))
		var out waittest.Buffer
		ended := make(chan error, 1)
		go func() { ended <- b.Logs(t.Context(), id, broker.LogOptions{Follow: true}, &out, nil) }()
		await(t, "the third frame", func() bool { return strings.Count(out.String(), "\n") >= 3 })
		if err := b.Stop(t.Context(), id, patience); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := b.Logs(t.Context(), id, broker.LogOptions{}, &again, nil); err != nil || again.String() != out.String() {
			t.Errorf("what is read again (%v) is not what was followed", err)
		}
		frames := decode(t, out.String())
		for i, f := range frames {
			if f.Seq != uint64(i+1) || f.Final != (i == len(frames)-1) || len(f.Host) == 0 {
				t.Errorf("line %d: got frame %d, final %v, with %d host points", i, f.Seq, f.Final, len(f.Host))
			}
			if i > 0 && !f.Final && f.Time%1000 != 0 {
				t.Errorf("frame %d is of %d, want a full second", f.Seq, f.Time)
			}
		}
		if c := b.inspect(id); c.ExitCode != 0 {
			t.Errorf("got status %d, want 0", c.ExitCode)
		}
	})
}

func decode(t *testing.T, out string) (frames []metrics.Frame) {
	t.Helper()
	in := bufio.NewScanner(strings.NewReader(out))
	in.Buffer(nil, metrics.MaxFrameSize)
	for in.Scan() {
		f, err := metrics.Decode(in.Bytes())
		if err != nil {
			t.Fatalf("line %d: %v", len(frames), err)
		}
		frames = append(frames, f)
	}
	return frames
}

func TestNetwork_FromCreationToRemoval(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		labels := map[string]string{dockertest.LabelTest: b.name}
		n, err := b.CreateNetwork(t.Context(), b.name, labels)
		if err != nil || n.Subnet == "" || n.Gateway == "" {
			t.Fatalf("got %+v, %v; want a network with addresses", n, err)
		}
		if again, err := b.CreateNetwork(t.Context(), b.name, labels); err != nil || again.ID != n.ID {
			t.Errorf("again: got %v, %v; want the first, %s", again, err, n.ID)
		}
		_, err = b.CreateNetwork(t.Context(), b.name, map[string]string{dockertest.LabelTest: "other"})
		wantCode(t, err, broker.EConflict)
		spec := b.spec("member", "sleep", "1h")
		spec.Network = n.Name
		id := b.start(spec)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel() // trying again does not help
		if err := b.RemoveNetwork(ctx, n.ID); err == nil {
			t.Error("a network was removed under its container")
		}
		if err := b.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.RemoveNetwork(t.Context(), n.ID); err != nil {
				t.Errorf("remove: %v", err)
			}
		}
		if left, err := b.Networks(t.Context(), labels); err != nil || len(left) != 0 {
			t.Errorf("got %v, %v; want none left", left, err)
		}
	})
}

func TestSharedVolume_OutlivesItsContainers(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		labels := map[string]string{dockertest.LabelTest: b.name}
		spec := b.spec("owner", "sleep", "1h")
		spec.Labels = labels
		spec.Shared = []broker.SharedVolume{{Name: b.name, Container: "/run/shared"}}
		spec.Files = map[string][]byte{"/run/shared/of/owner": []byte("here")}
		id := b.create(spec)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.RemoveVolume(ctx, b.name); err == nil {
			t.Error("a volume was removed under its container")
		}
		if err := b.PutFiles(t.Context(), id, map[string][]byte{"/run/shared/of/another": []byte("more")}); err != nil {
			t.Error(err)
		}
		if err := b.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		found, err := b.Volumes(t.Context(), labels)
		if err != nil || len(found) != 1 || found[0].Name != b.name || found[0].Labels[dockertest.LabelTest] != b.name {
			t.Fatalf("got volumes %v, %v; want %s with its label", found, err, b.name)
		}
		for range 2 {
			if err := b.RemoveVolume(t.Context(), b.name); err != nil {
				t.Errorf("remove: %v", err)
			}
		}
		if left, err := b.Volumes(t.Context(), labels); err != nil || len(left) != 0 {
			t.Errorf("got %v, %v; want none left", left, err)
		}
	})
}

func TestUnknownImage_IsPulledAndRunsUntilStopped(t *testing.T) {
	c := mustCloud(t)
	e := c.docker(c.boot(time.Hour, time.Hour, nil))
	image, err := e.EnsureImage(t.Context(), "nginx:1.29", "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.Create(t.Context(), broker.ContainerSpec{Name: "web", Image: image})
	if err == nil {
		err = e.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Inspect(t.Context(), id); err != nil || !got.Running() {
		t.Errorf("got %+v, %v; want it to run", got, err)
	}
	if err := e.Stop(t.Context(), id, time.Second); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Inspect(t.Context(), id); err != nil || got.ExitCode != 143 {
		t.Errorf("got %+v, %v; want it ended by the signal", got, err)
	}
	var out bytes.Buffer
	if err := e.Logs(t.Context(), id, broker.LogOptions{Follow: true}, &out, &out); err != nil || out.Len() > 0 {
		t.Errorf("got %q, %v; want no output", out.String(), err)
	}
}
