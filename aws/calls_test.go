package aws_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
)

// launches counts the calls of RunInstances, and those of them that succeeded.
func (c *cloud) launches() (made, done int) {
	for _, call := range c.sim.State().Calls {
		if call.Action == "RunInstances" {
			made += call.N
			if call.Code == "OK" {
				done += call.N
			}
		}
	}
	return made, done
}

// numbered checks that a machine is told by tag and launch index which of its
// step it is.
func (c *cloud) numbered(t *testing.T, machines []broker.Machine) {
	t.Helper()
	infos := map[string]ec2sim.MachineInfo{}
	for _, info := range c.sim.Machines() {
		infos[info.ID] = info
	}
	seen := map[string]bool{}
	for i, m := range machines {
		info := infos[filepath.Base(m.ProviderID)]
		all := strings.Fields(info.Tags["loads:machine"])
		if info.Index >= len(all) || all[info.Index] != fmt.Sprint(i) || seen[info.ID] {
			t.Errorf("machine %d is %s, number %d of those with numbers %v; another too: %v", i, info.ID, info.Index, all, seen[info.ID])
		}
		seen[info.ID] = true
	}
}

// files lists what is in the folder of launches.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

func TestAcquire_LaunchesManyByOneCall(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		n       int
		change  func(*ec2sim.Drill)
		request func(*broker.MachineRequest)
		calls   int // with those that are refused
	}{
		{"one", 1, nil, nil, 1},
		{"as many as there is room for in user data", 50, nil, nil, 1},
		{"one more", 51, nil, nil, 2},
		{"a hundred", 100, nil, nil, 2},
		{"ten and another disk for one", 10, nil, func(r *broker.MachineRequest) {
			if r.Index == 4 {
				r.VolumeGB = 50
			}
		}, 2},
		{"one of ten never boots, and is replaced by a call of its own", 10, func(d *ec2sim.Drill) {
			d.Faults = []ec2sim.Fault{{Name: ec2sim.NeverBoots, Nth: 4}}
		}, nil, 2},
		// Nine, then it is asked why not the tenth, and that is asked for elsewhere.
		{"there is room for nine", 10, func(d *ec2sim.Drill) {
			for _, zone := range []string{"a", "b", "c", "d", "f"} {
				d.Limits.Capacity = append(d.Limits.Capacity, ec2sim.Capacity{Region: virginia, Zone: virginia + zone, Instances: 9})
			}
		}, nil, 3},
		// No zone has room for any, and they stay together.
		{"there is no room for the type", 10, func(d *ec2sim.Drill) {
			d.Faults = []ec2sim.Fault{{Name: ec2sim.NoCapacity, Type: "m5.large"}}
		}, func(r *broker.MachineRequest) { r.Alternatives = []string{"c5.large"} }, 7},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				drill := quick()
				if row.change != nil {
					row.change(&drill)
				}
				c := startCloud(t, drill)
				dir := t.TempDir()
				p := c.open(dir, nil)
				got := c.acquire(p, requests(row.n, row.request))
				c.numbered(t, got)
				if made, _ := c.launches(); made != row.calls {
					t.Errorf("RunInstances was called %d times for %d machines, want %d", made, row.n, row.calls)
				}
				if left := files(t, dir); len(left) > 0 {
					t.Errorf("launches are left: %v", left)
				}
				err := filepath.WalkDir(filepath.Join(dir, "machines"), func(path string, d fs.DirEntry, err error) error {
					if text, _ := os.ReadFile(path); strings.Contains(string(text), "UserData") {
						t.Errorf("%s has user data, which has keys", path)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				launched := c.sim.State().Launched
				if launched > row.n+len(drill.Faults) {
					t.Errorf("launched %d machines", launched)
				}
				c.release(p, got...)
				c.clean(p, launched)
			})
		})
	}
}

// A photographer copies a folder just before a launch.
type photographer struct {
	via       http.RoundTripper
	dir, copy string
}

func (k *photographer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(text))
		if bytes.Contains(text, []byte("Action=RunInstances")) {
			if err := os.CopyFS(k.copy, os.DirFS(k.dir)); err != nil {
				return nil, err
			}
		}
	}
	return k.via.RoundTrip(r)
}

// TestAcquire_GoesOnFromWhatAKillHasLeft has the broker killed between any two of
// the files that it writes before a call, and once it has the answer.
func TestAcquire_GoesOnFromWhatAKillHasLeft(t *testing.T) {
	t.Parallel()
	const n = 3
	for _, answer := range []bool{false, true} {
		for written := range n + 1 {
			for _, goesOn := range []bool{true, false} {
				t.Run(fmt.Sprintf("answer %v, %d of %d records written, the next goes on %v", answer, written, n, goesOn), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { halfWritten(t, n, answer, written, goesOn) })
				})
			}
		}
	}
}

// photographed gets machines for the requests, and returns the folder of them and
// what it was like just before the launch.
func (c *cloud) photographed(reqs []broker.MachineRequest) (dir, before string, got []broker.Machine) {
	c.t.Helper()
	dir, before = c.t.TempDir(), filepath.Join(c.t.TempDir(), "before")
	ph := &photographer{via: c.via, dir: dir, copy: before}
	p := c.open(dir, func(cfg *aws.Config) {
		via := cfg.SDK.Copy()
		via.HTTPClient = &http.Client{Transport: ph}
		cfg.SDK = &via
	})
	return dir, before, c.acquire(p, reqs)
}

// TestAcquire_GoesOnThoughAMachineOfTheCallHasEnded has the broker killed before
// it has the answer, and come back when EC2 does not repeat it any more.
func TestAcquire_GoesOnThoughAMachineOfTheCallHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		reqs := requests(3, nil)
		_, before, first := c.photographed(reqs)
		if err := c.sim.Strike(filepath.Base(first[1].ProviderID), ec2sim.Fault{Name: ec2sim.Dies}); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "the machine has ended", 5*time.Minute, func() bool { return c.sim.State().Alive == 2 })
		p := c.open(before, nil)
		got := c.acquire(p, reqs)
		c.numbered(t, got)
		for i, m := range got {
			if (m.ProviderID == first[i].ProviderID) != (i != 1) {
				t.Errorf("machine %d was %s, and is %s", i, first[i].ProviderID, m.ProviderID)
			}
		}
		c.release(p, got...)
		c.clean(p, 4)
	})
}

func halfWritten(t *testing.T, n int, answer bool, written int, goesOn bool) {
	drill := quick()
	drill.Delays.Visible = ec2sim.Fixed(2 * time.Second)
	c := startCloud(t, drill)
	reqs := requests(n, nil)
	dir, before, _ := c.photographed(reqs)
	// What there was before the call, and of the answer so many records. Without an
	// answer the call was not made: there are fewer records, and no file of it.
	for i, req := range reqs {
		name := filepath.Join("machines", req.Token+".json")
		switch {
		case answer && i < written:
			copyFile(t, filepath.Join(dir, name), filepath.Join(before, name))
		case !answer && i >= written:
			remove(t, filepath.Join(before, name))
		}
	}
	if calls := files(t, before); len(calls) != 1 {
		t.Fatalf("before the call there were the launches %v, want one", calls)
	} else if !answer {
		remove(t, filepath.Join(before, "calls", calls[0]))
	}
	remove(t, filepath.Join(before, "runs", runID+".json"))
	p := c.open(before, nil)
	launched := c.sim.State().Launched
	if !answer {
		c.reap(p) // those of the first process stand for none
		c.left(n)
		launched += n
	}
	if !goesOn {
		for i := range reqs {
			c.release(p, withTokens(make([]broker.Machine, n), reqs)[i])
		}
		if answer {
			c.left(n) // by the release, without the reaper
		}
	} else {
		got := c.acquire(p, reqs)
		c.numbered(t, got)
		if now := c.sim.State().Launched; now != launched {
			t.Errorf("launched %d machines, want %d", now, launched)
		}
		if r, err := p.Receipt(t.Context(), runID); err != nil || answer && r.Launched != n {
			t.Errorf("receipt %+v, %v; want %d machines launched", r, err, n)
		}
		c.release(p, got...)
	}
	c.clean(p, c.sim.State().Launched)
	if left := files(t, before); len(left) > 0 {
		t.Errorf("launches are left: %v", left)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
