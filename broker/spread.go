package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/images/order"
)

// RoleImages is the value of LabelRole on what brings images from machine to
// machine: containers and their volume.
const RoleImages = "images"

// An ImageSpread is how an image came to rented machines of one region.
type ImageSpread struct {
	Image        string `json:"image" doc:"Name of the image, or of its tarball."`
	Region       string `json:"region"`
	Architecture string `json:"architecture"`
	Machines     int    `json:"machines" doc:"Machines that have got the image, by any of the ways below."`
	Uploads      int    `json:"uploads" doc:"Of them, machines that it was sent to by the broker."`
	UploadBytes  int64  `json:"upload_bytes" doc:"Bytes that the broker has sent for it."`
	Pulls        int    `json:"pulls" doc:"Machines that got it from a registry."`
	FromMachines int    `json:"from_machines" doc:"Machines that got it from another machine of the run."`
	MachineBytes int64  `json:"machine_bytes" doc:"Bytes that came from other machines."`
	Faults       int    `json:"faults" doc:"Times that a machine could not get it from another one."`
}

// String says it in a sentence.
func (s ImageSpread) String() string {
	text := fmt.Sprintf("Image %s: %s in %s", s.Image, countMachines(s.Machines), s.Region)
	uploads := "1 upload"
	if s.Uploads != 1 {
		uploads = fmt.Sprintf("%d uploads", s.Uploads)
	}
	if s.Uploads > 0 || s.Pulls == 0 {
		text += fmt.Sprintf(", %s of %s", uploads, megabytes(s.UploadBytes))
	}
	if s.Pulls > 0 {
		text += fmt.Sprintf(", %d from its registry", s.Pulls)
	}
	if s.FromMachines > 0 {
		text += fmt.Sprintf(", %d from machines", s.FromMachines)
	}
	if s.Faults > 0 {
		text += fmt.Sprintf(", after %d failures", s.Faults)
	}
	return text + "."
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// A spread brings images to the run's rented machines: to the first of a region
// from the broker or a registry, and from each machine that has one to others.
// What fails is done as if it were not there: by the broker, or by the machine
// itself. See docs/decisions/0039-images-from-machine-to-machine.md.
type spread struct {
	x       *execution
	resumed bool          // an earlier broker may have begun
	stored  []ImageSpread // what that has told

	telling sync.Mutex // held while figures are stored

	mu        sync.Mutex
	authority *authority
	trees     map[string]*tree
	recipes   map[string]order.Recipe // of the node image, by architecture
	posts     map[int64]*post         // by machine
	prepared  map[int]bool            // steps whose machines have all
}

// A post is what a machine has for others.
type post struct {
	mu      sync.Mutex // held while it is set up
	serving string     // id of the container that serves
	image   string     // of the containers
	program []string   // the beginning of their command
}

func (s *spread) post(id int64) *post {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.posts[id]
	if p == nil {
		p = &post{}
		s.posts[id] = p
	}
	return p
}

// tree returns that of an image on machines like m.
func (s *spread) tree(m *machine, arch, ref, url string) *tree {
	key := strings.Join([]string{m.Pool, m.Region, arch, ref, url}, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trees[key]
	if t == nil {
		t = newTree(key, s.begin(ImageSpread{Image: imageTitle(ref, url), Region: m.Region, Architecture: arch}))
		s.trees[key] = t
	}
	return t
}

// forget has no machine get an image from one that is given back.
func (s *spread) forget(m *machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.trees {
		t.leave(m)
	}
}

// begin returns the figures to begin with: those that an earlier broker has
// stored, if any.
func (s *spread) begin(f ImageSpread) ImageSpread {
	if i := slices.IndexFunc(s.stored, f.isOf); i >= 0 {
		return s.stored[i]
	}
	return f
}

// isOf reports whether both are of one image on machines of one sort.
func (s ImageSpread) isOf(other ImageSpread) bool {
	return s.Image == other.Image && s.Region == other.Region && s.Architecture == other.Architecture
}

// imageTitle is what an image is called, without secrets.
func imageTitle(ref, address string) string {
	if ref != "" {
		return ref
	}
	if u, err := url.Parse(address); err == nil {
		return path.Base(u.Path + u.Opaque)
	}
	return "of a tarball"
}

// over removes what spread images on the machines, once no machine of the run
// needs one any more, and tells how they came.
func (s *spread) over(ctx context.Context, prepared []*machine) error {
	s.mu.Lock()
	for _, m := range prepared {
		s.prepared[m.Step] = true
	}
	more := false
	for i := range s.x.ref.Plan.Steps {
		more = more || s.x.isLate(i) && !s.prepared[i]
	}
	posts := maps.Clone(s.posts)
	s.mu.Unlock()
	if more {
		return s.tell(ctx)
	}
	err := each(s.x.all(), func(m *machine) error {
		if p := posts[m.ID]; p != nil {
			s.clear(ctx, m, p)
		}
		return nil
	})
	return errors.Join(err, s.tell(ctx))
}

// resume finds out which machines have images for others since an earlier
// broker, so that none is sent again. Whatever fails is as if they had not.
func (s *spread) resume(ctx context.Context, machines []*machine) error {
	if !s.resumed {
		return nil
	}
	return each(machines, func(m *machine) error {
		if m.State != MachineReady && m.State != MachinePrepared {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, s.x.b.cfg.LostAfter)
		defer cancel()
		if err := s.resumeAt(limited, m); err != nil && ctx.Err() == nil {
			s.x.log.Info("a machine has no images for others", "machine", m.ProviderID, "reason", err)
		}
		return ctx.Err()
	})
}

// resumeLate does so for machines that are still to come.
func (s *spread) resumeLate(ctx context.Context) error {
	for i := range s.x.ref.Plan.Steps {
		if s.x.isLate(i) && !s.x.isPrepared(i) {
			return s.resume(ctx, s.x.all())
		}
	}
	return nil
}

func (s *spread) resumeAt(ctx context.Context, m *machine) error {
	if err := s.x.connect(m); err != nil {
		return err
	}
	if e, ok := s.errand(m, EngineInfo{}, NodeImage, ""); !ok || !e.isShared() {
		return nil
	}
	there, err := m.engine.List(ctx, s.x.labels(m, RoleImages))
	if err != nil || len(there) == 0 {
		return err
	}
	info, err := m.engine.Info(ctx)
	if err != nil {
		return err
	}
	r, err := s.x.resolve(m, time.Time{})
	if err != nil {
		return err
	}
	for _, image := range [][2]string{{NodeImage, ""}, {r.Image, r.URL}} {
		e, _ := s.errand(m, info, image[0], image[1])
		result, err := e.get(ctx, order.Order{Key: e.tree.key})
		if err != nil {
			return err
		}
		e.tree.join(m, result.Manifest)
		e.tree.has(m, func(*ImageSpread) {})
	}
	return nil
}

// clear removes what spread images from a machine. What can't be removed goes
// with the machine.
func (s *spread) clear(ctx context.Context, m *machine, p *post) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving == "" {
		return
	}
	limited, cancel := context.WithTimeout(ctx, rentedLimit)
	defer cancel()
	list, err := m.engine.List(limited, s.x.labels(m, RoleImages))
	for _, c := range list {
		err = errors.Join(err, m.engine.Remove(limited, c.ID))
	}
	err = errors.Join(err, m.engine.RemoveVolume(limited, s.x.containerName(m, RoleImages)))
	if err != nil && ctx.Err() == nil {
		s.x.log.Warn("remove what spread images", "machine", m.ProviderID, "error", err)
	}
	p.serving = ""
}

// tell stores how the images came, and says what is new of it.
func (s *spread) tell(ctx context.Context) error {
	s.telling.Lock()
	defer s.telling.Unlock()
	all := s.figures()
	return s.x.update(ctx, func(run *Run) (events []Event) {
		for _, i := range all {
			if !slices.Contains(run.Images, i) {
				events = append(events, Event{Kind: EventNote, Text: i.String()})
			}
		}
		run.Images = all
		return events
	})
}

// figures are those of all images, in order. What an earlier broker has stored
// of an image stays when this one has nothing to do with it.
func (s *spread) figures() []ImageSpread {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []ImageSpread
	for _, t := range s.trees {
		if f := t.figures(); f.Machines > 0 {
			all = append(all, f)
		}
	}
	for _, had := range s.stored {
		if !slices.ContainsFunc(all, had.isOf) {
			all = append(all, had)
		}
	}
	slices.SortFunc(all, func(a, b ImageSpread) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Image, b.Image), cmp.Compare(a.Architecture, b.Architecture))
	})
	return all
}

// whileAnswering calls f with a context that ends when the machine's engine has
// not answered for LostAfter.
func (x *execution) whileAnswering(ctx context.Context, m *machine, f func(context.Context) error) error {
	watched, stop := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		heard := time.Now()
		for sleep(watched, x.b.cfg.LostAfter/4) {
			limit := heard.Add(x.b.cfg.LostAfter)
			asking, cancel := context.WithDeadline(watched, limit)
			_, err := m.engine.Info(asking)
			cancel()
			if err == nil {
				heard = time.Now()
			} else if !time.Now().Before(limit) {
				stop(Errorf(EUnavailable, "the container engine at %s does not answer", m.Endpoint.Host))
				return
			}
		}
	})
	err := f(watched)
	if watched.Err() != nil && ctx.Err() == nil {
		err = context.Cause(watched)
	}
	stop(nil)
	watch.Wait()
	return err
}
