package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

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

// begin returns the figures to begin with: those that an earlier broker has
// stored, without the machines, which are looked at again.
func (s *spread) begin(f ImageSpread) ImageSpread {
	for _, had := range s.stored {
		if had.Image == f.Image && had.Region == f.Region && had.Architecture == f.Architecture {
			had.Machines = 0
			return had
		}
	}
	return f
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

// An errand is to bring one image to one machine.
type errand struct {
	*spread
	m        *machine
	engine   Spreader
	info     EngineInfo
	ref, url string
	tree     *tree
}

// nodeImage brings the node image to a machine and returns its id.
func (s *spread) nodeImage(ctx context.Context, m *machine, info EngineInfo) (string, error) {
	e, ok := s.errand(m, info, NodeImage, "")
	if !ok {
		return m.engine.EnsureNodeImage(ctx)
	}
	return e.do(ctx, e.leadNode, e.followNode, m.engine.EnsureNodeImage)
}

// image brings a step's image to a machine and returns its id.
func (s *spread) image(ctx context.Context, m *machine, info EngineInfo, ref, url string) (string, error) {
	direct := func(ctx context.Context) (string, error) { return m.engine.EnsureImage(ctx, ref, url) }
	e, ok := s.errand(m, info, ref, url)
	if !ok {
		return direct(ctx)
	}
	return e.do(ctx, e.leadImage, e.followImage, direct)
}

// errand is one for a machine that is rented; images of others are none of ours.
func (s *spread) errand(m *machine, info EngineInfo, ref, url string) (*errand, bool) {
	engine, can := m.engine.(Spreader)
	if _, rented := s.x.b.renter(m.Pool); !rented || !can {
		return nil, false
	}
	return &errand{
		spread: s, m: m, engine: engine, info: info, ref: ref, url: url, tree: s.tree(m, info.Architecture, ref, url),
	}, true
}

// do brings the image. lead gets it from outside, follow from another machine,
// direct as if there were no others.
func (e *errand) do(ctx context.Context,
	lead func(context.Context) (id, manifest string, err error),
	follow func(context.Context, *holder) (id string, err error),
	direct func(context.Context) (string, error),
) (string, error) {
	if id, err := e.engine.HasImage(ctx, e.ref, e.url); CodeOf(err) != ENotFound {
		if err == nil && e.resumed {
			e.tree.count(func(s *ImageSpread) { s.Machines++ })
		}
		return id, err
	}
	for try := 0; try < spreadTry && e.isShared(); try++ {
		h, first, err := e.tree.next(ctx)
		if err != nil {
			return "", err
		}
		switch {
		case first:
			id, err := e.lead(ctx, lead)
			if id != "" || ctx.Err() != nil || isStoreError(err) {
				return id, err
			}
			e.x.log.Warn("an image can't be given to a machine for others", "machine", e.m.ProviderID, "image", e.tree.stats.Image, "error", err)
			try = spreadTry
		case h != nil:
			id, err := e.follow(ctx, h, follow)
			if err == nil || ctx.Err() != nil {
				return id, ctx.Err()
			}
			e.x.log.Warn("an image did not come from another machine", "machine", e.m.ProviderID, "from", h.m.ProviderID, "image", e.tree.stats.Image, "error", err)
			if isLocal(err) {
				try = spreadTry
			}
		default:
			try = spreadTry
		}
	}
	id, err := e.counted(ctx, direct)
	return id, err
}

// isShared reports whether other machines of the run in the region may need the
// image, each with an engine of its own.
func (e *errand) isShared() bool {
	return strings.HasPrefix(e.m.Endpoint.Host, "tcp://") && e.spread.wanted(e.m.Step, e.ref == NodeImage) > 1
}

// wanted is how many machines of the plan are in the region of step i and need
// its image, or any.
func (s *spread) wanted(i int, any bool) (n int) {
	own := s.x.ref.Plan.Steps[i]
	for _, step := range s.x.ref.Plan.Steps {
		same := step.ContainerName == own.ContainerName && step.ContainerURL == own.ContainerURL
		if !step.Monitor && step.InstanceRegion == own.InstanceRegion && (any || same) {
			n += step.InstanceCount
		}
	}
	return n
}

// counted calls direct and counts what it sent.
func (e *errand) counted(ctx context.Context, direct func(context.Context) (string, error)) (string, error) {
	before := e.engine.Sent()
	id, err := direct(ctx)
	e.tree.count(func(s *ImageSpread) {
		sent := e.engine.Sent() - before
		s.UploadBytes += sent
		switch {
		case err != nil:
		case sent > 0:
			s.Uploads++
			s.Machines++
		default:
			s.Pulls++
			s.Machines++
		}
	})
	return id, err
}

// lead has the machine get the image from outside. With an id the machine has
// the image, even if others can't get it from there.
func (e *errand) lead(ctx context.Context, f func(context.Context) (id, manifest string, err error)) (string, error) {
	var manifest string
	var fault error
	id, err := e.counted(ctx, func(ctx context.Context) (id string, err error) {
		fault = e.x.whileAnswering(ctx, e.m, func(ctx context.Context) (err error) {
			id, manifest, err = f(ctx)
			return err
		})
		if id == "" {
			return "", fault
		}
		return id, nil
	})
	e.tree.led(e.m, manifest, fault)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if id == "" {
		return "", err
	}
	if fault != nil {
		e.x.log.Warn("a machine can't give an image to others", "machine", e.m.ProviderID, "error", fault)
	}
	return id, e.tell(ctx)
}

func (e *errand) follow(ctx context.Context, h *holder, f func(context.Context, *holder) (string, error)) (string, error) {
	var id string
	err := e.x.whileAnswering(ctx, e.m, func(ctx context.Context) (err error) {
		id, err = f(ctx, h)
		return err
	})
	e.tree.release(h, err != nil && !isLocal(err) && ctx.Err() == nil)
	e.tree.count(func(s *ImageSpread) {
		if err != nil {
			s.Faults++
			return
		}
		s.Machines++
	})
	return id, err
}

// leadNode sends the machine the node image, of which its program makes what
// others can get.
func (e *errand) leadNode(ctx context.Context) (id, manifest string, err error) {
	if id, err = e.engine.EnsureNodeImage(ctx); err != nil {
		return "", "", err
	}
	recipe, err := e.recipe(ctx)
	if err != nil {
		return id, "", err
	}
	result, err := e.get(ctx, order.Order{Key: e.tree.key, Node: &recipe})
	return id, result.Manifest, err
}

// followNode has the machine's engine fetch the program from another machine,
// to begin with, and then the image itself by that program.
func (e *errand) followNode(ctx context.Context, h *holder) (string, error) {
	recipe, err := e.recipe(ctx)
	if err != nil {
		return "", err
	}
	seed, err := e.engine.ImportLayer(ctx, seedURL(h.m, recipe.Layer), recipe.Layer)
	if err != nil {
		return "", err
	}
	p := e.post(e.m.ID)
	p.mu.Lock()
	p.image, p.program = seed, []string{"/loads-node"}
	p.mu.Unlock()
	return e.followImage(ctx, h)
}

func seedURL(m *machine, layer string) string {
	return "http://" + net.JoinHostPort(m.Address, strconv.Itoa(order.SeedPort)) + "/" + layer
}

// leadImage gets an image from its tarball, by way of the broker, or has the
// machine get it from its registry.
func (e *errand) leadImage(ctx context.Context) (id, manifest string, err error) {
	o := order.Order{Key: e.tree.key}
	if e.url == "" {
		from, err := e.engine.RegistryOrder(ctx, e.ref)
		if err != nil {
			return "", "", err
		}
		o.Registry = &from
	} else {
		name, err := e.engine.ImageName(e.ref, e.url)
		if err != nil {
			return "", "", err
		}
		serving, err := e.serve(ctx)
		if err != nil {
			return "", "", err
		}
		file := order.Store + "/archive-" + uuid.NewString()
		if err := e.engine.PutArchive(ctx, serving, file, e.url); err != nil {
			return "", "", err
		}
		o.Archive = &order.Archive{Path: file, Image: name, Limit: e.engine.MaxArchive()}
	}
	result, err := e.get(ctx, o)
	if err != nil {
		return "", "", err
	}
	id, err = e.pull(ctx, result.Manifest)
	return id, result.Manifest, err
}

// followImage gets an image from another machine, and then is a source of it.
func (e *errand) followImage(ctx context.Context, h *holder) (string, error) {
	manifest, peers := e.tree.sources(h)
	result, err := e.get(ctx, order.Order{Key: e.tree.key, Manifest: manifest, Peers: peers})
	e.tree.count(func(s *ImageSpread) {
		s.MachineBytes += result.Bytes
		s.Faults += len(result.Faults)
	})
	if err != nil {
		return "", err
	}
	id, err := e.pull(ctx, manifest)
	if err == nil {
		e.tree.join(e.m, manifest)
	}
	return id, err
}

// pull has the engine pull an image that the machine's store has.
func (e *errand) pull(ctx context.Context, manifest string) (string, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(order.LocalPort))
	id, err := e.engine.PullLocal(ctx, address, manifest, e.ref, e.url)
	if err != nil {
		return "", &localError{err}
	}
	return id, nil
}

// A localError says that an image did not come for a reason on the machine
// itself: other sources would not do.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

func isLocal(err error) bool {
	var local *localError
	return errors.As(err, &local)
}

// recipe is that of the node image for the machine's architecture.
func (e *errand) recipe(ctx context.Context) (order.Recipe, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := e.recipes[e.info.Architecture]; ok {
		return r, nil
	}
	r, err := e.engine.NodeRecipe(ctx)
	if err != nil {
		return r, err
	}
	e.recipes[e.info.Architecture] = r
	return r, nil
}

// certificates are the machine's own.
func (e *errand) certificates() (map[string][]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.authority == nil {
		var err error
		if e.authority, err = newAuthority(e.x.ref.UUID); err != nil {
			return nil, err
		}
	}
	return e.authority.files(e.m)
}

// container describes one of the machine's containers for images.
func (e *errand) container(p *post, name string, files map[string][]byte, command ...string) ContainerSpec {
	if p.image == "" {
		p.image = NodeImage
	}
	return ContainerSpec{
		Name: e.x.containerName(e.m, name), Image: p.image, Command: append(p.program[:len(p.program):len(p.program)], command...),
		Labels: e.x.labels(e.m, RoleImages), Network: "host", Files: files,
		Shared: []SharedVolume{{Name: e.x.containerName(e.m, RoleImages), Container: order.Store}},
	}
}

// serve sees to it that the machine serves what it has, and returns the
// container.
func (e *errand) serve(ctx context.Context) (string, error) {
	recipe, err := e.recipe(ctx)
	if err != nil {
		return "", err
	}
	p := e.post(e.m.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving != "" {
		return p.serving, nil
	}
	files, err := e.certificates()
	if err != nil {
		return "", err
	}
	id, err := e.m.engine.Create(ctx, e.container(p, RoleImages, nil,
		"images", "serve", "--address", e.m.Address, "--seed", recipe.Layer))
	if err != nil {
		return "", &localError{err}
	}
	// One that an earlier broker made has other certificates.
	if err := e.m.engine.PutFiles(ctx, id, files); err != nil {
		return "", &localError{err}
	}
	if err := e.m.engine.Start(ctx, id); err != nil {
		return "", &localError{err}
	}
	p.serving = id
	return id, nil
}

// get has the machine carry an order out, and serve what comes of it.
func (e *errand) get(ctx context.Context, o order.Order) (result order.Result, err error) {
	if _, err := e.serve(ctx); err != nil {
		return result, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return result, fmt.Errorf("write an order for an image: %w", err)
	}
	files, err := e.certificates()
	if err != nil {
		return result, err
	}
	maps.Copy(files, map[string][]byte{order.Path: text})
	p := e.post(e.m.ID)
	p.mu.Lock()
	spec := e.container(p, "get-"+uuid.NewString()[:8], files, "images", "get")
	p.mu.Unlock()
	engine := e.m.engine
	id, err := engine.Create(ctx, spec)
	if err != nil {
		return result, &localError{err}
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), rentedLimit)
		defer cancel()
		if removing := engine.Remove(after, id); removing != nil && err == nil {
			e.x.log.Warn("remove a container that got an image", "machine", e.m.ProviderID, "error", removing)
		}
	}()
	if err := engine.Start(ctx, id); err != nil {
		return result, &localError{err}
	}
	if err := engine.Wait(ctx, id); err != nil {
		return result, &localError{err}
	}
	return e.outcome(ctx, id)
}

// outcome reads what came of an order.
func (e *errand) outcome(ctx context.Context, id string) (result order.Result, err error) {
	c, err := e.m.engine.Inspect(ctx, id)
	if err != nil {
		return result, &localError{err}
	}
	var stdout, stderr bytes.Buffer
	if err := e.m.engine.Logs(ctx, id, LogOptions{}, &stdout, &stderr); err != nil {
		return result, &localError{err}
	}
	if c.ExitCode != 0 {
		err := Errorf(EInternal, "%s", oneLine(strings.TrimSpace(stderr.String())))
		if c.ExitCode == order.LocalFault {
			return result, &localError{err}
		}
		return result, err
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return result, &localError{fmt.Errorf("read what came of getting an image: %w", err)}
	}
	return result, nil
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
	err := each(s.x.machines, func(m *machine) error {
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
			return s.resume(ctx, s.x.machines)
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
	s.mu.Lock()
	var all []ImageSpread
	for _, t := range s.trees {
		if f := t.figures(); f.Machines > 0 {
			all = append(all, f)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b ImageSpread) int { return strings.Compare(a.Region+" "+a.Image, b.Region+" "+b.Image) })
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

// whileAnswering calls f with a context that ends when the machine's engine has
// not answered for LostAfter.
func (x *execution) whileAnswering(ctx context.Context, m *machine, f func(context.Context) error) error {
	watched, stop := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		heard := time.Now()
		for sleep(watched, x.b.cfg.LostAfter/4) {
			asking, cancel := context.WithTimeout(watched, x.b.cfg.LostAfter/4)
			_, err := m.engine.Info(asking)
			cancel()
			if err == nil {
				heard = time.Now()
			} else if time.Since(heard) > x.b.cfg.LostAfter {
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
