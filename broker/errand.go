package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/loads/loads/images/order"
)

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
func (e *errand) do(ctx context.Context, lead leadFunc, follow followFunc, direct func(context.Context) (string, error)) (string, error) {
	if id, err := e.engine.HasImage(ctx, e.ref, e.url); CodeOf(err) != ENotFound {
		if err == nil && e.resumed {
			e.tree.has(e.m, func(*ImageSpread) {})
		}
		return id, err
	}
	if e.isShared() {
		if id, err := e.spreadTo(ctx, lead, follow); id != "" || err != nil {
			return id, err
		}
	}
	return e.counted(ctx, direct)
}

// A leadFunc gets an image from outside. An id beside an error says that the
// machine has it, and can't give it to others.
type leadFunc func(context.Context) (id, manifest string, err error)

// A followFunc gets an image from another machine.
type followFunc func(context.Context, *holder) (id string, err error)

// spreadTo has the machine get the image as the first one, or from another. With
// neither id nor error it can't.
func (e *errand) spreadTo(ctx context.Context, lead leadFunc, follow followFunc) (string, error) {
	log := e.x.log.With("machine", e.m.ProviderID, "image", imageTitle(e.ref, e.url))
	for range spreadTry {
		h, first, err := e.tree.next(ctx, e.m)
		if err != nil || h == nil && !first {
			return "", err
		}
		if first {
			id, err := e.lead(ctx, lead)
			if id == "" && ctx.Err() == nil && !isStoreError(err) {
				log.Warn("an image did not come to the first machine", "error", err)
				return "", nil
			}
			return id, err
		}
		id, err := e.follow(ctx, h, follow)
		if err == nil || ctx.Err() != nil {
			return id, ctx.Err()
		}
		log.Warn("an image did not come from another machine", "from", h.m.ProviderID, "error", err)
		if isOwnFault(err) {
			return "", nil
		}
	}
	return "", nil
}

// isShared reports whether other machines of the run in the region may need the
// image, each with an engine of its own.
func (e *errand) isShared() bool {
	if e.x.ref.Plan.Steps[e.m.Step].Monitor {
		return false // others are not admitted to it
	}
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
	sent := e.engine.Sent() - before
	e.tree.count(func(s *ImageSpread) { s.UploadBytes += sent })
	if err == nil {
		e.tree.has(e.m, func(s *ImageSpread) {
			if sent > 0 {
				s.Uploads++
			} else {
				s.Pulls++
			}
		})
	}
	return id, err
}

// lead has the machine get the image from outside. With an id the machine has
// the image, even if others can't get it from there.
func (e *errand) lead(ctx context.Context, f leadFunc) (string, error) {
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

func (e *errand) follow(ctx context.Context, h *holder, f followFunc) (string, error) {
	var id string
	err := e.x.whileAnswering(ctx, e.m, func(ctx context.Context) (err error) {
		id, err = f(ctx, h)
		return err
	})
	e.tree.release(h, e.m, err != nil && !isOwnFault(err) && ctx.Err() == nil)
	if err != nil {
		e.tree.count(func(s *ImageSpread) { s.Faults++ })
	} else {
		e.tree.has(e.m, func(*ImageSpread) {})
	}
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
		return "", &ownFault{err}
	}
	return id, nil
}

// An ownFault says that an image did not come for a reason on the machine
// itself: other sources would not do.
type ownFault struct{ error }

func (e *ownFault) Unwrap() error { return e.error }

func isOwnFault(err error) bool {
	var local *ownFault
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
		return "", &ownFault{err}
	}
	// One that an earlier broker made has other certificates.
	if err := e.m.engine.PutFiles(ctx, id, files); err != nil {
		return "", &ownFault{err}
	}
	if err := e.m.engine.Start(ctx, id); err != nil {
		return "", &ownFault{err}
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
		return result, &ownFault{err}
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), rentedLimit)
		defer cancel()
		if removing := engine.Remove(after, id); removing != nil && err == nil {
			e.x.log.Warn("remove a container that got an image", "machine", e.m.ProviderID, "error", removing)
		}
	}()
	if err := engine.Start(ctx, id); err != nil {
		return result, &ownFault{err}
	}
	if err := engine.Wait(ctx, id); err != nil {
		return result, &ownFault{err}
	}
	return e.outcome(ctx, id)
}

// outcome reads what came of an order.
func (e *errand) outcome(ctx context.Context, id string) (result order.Result, err error) {
	c, err := e.m.engine.Inspect(ctx, id)
	if err != nil {
		return result, &ownFault{err}
	}
	var stdout, stderr bytes.Buffer
	if err := e.m.engine.Logs(ctx, id, LogOptions{}, &stdout, &stderr); err != nil {
		return result, &ownFault{err}
	}
	if c.ExitCode != 0 {
		err := Errorf(EInternal, "%s", oneLine(strings.TrimSpace(stderr.String())))
		if c.ExitCode == order.LocalFault {
			return result, &ownFault{err}
		}
		return result, err
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return result, &ownFault{fmt.Errorf("read what came of getting an image: %w", err)}
	}
	return result, nil
}
