package aws

import (
	"context"
	"slices"
	"sync"
)

// mostImages bounds how many images are loaded ahead on machines of a kind.
const mostImages = 3

// A containerImage is what a run's container is made of.
type containerImage struct{ ref, url string }

// lastImages are the images that runs have used last on machines of the kinds
// that stand by, the newest first.
type lastImages struct {
	mu sync.Mutex
	of map[Standby][]containerImage
}

// note notes that a run has the machine.
func (l *lastImages) note(standby []Standby, rec record) {
	i := slices.IndexFunc(standby, func(s Standby) bool { return s.matches(rec) })
	if i < 0 || rec.Request.Container == "" {
		return
	}
	img := containerImage{rec.Request.Container, rec.Request.ContainerURL}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[Standby][]containerImage{}
	}
	others := slices.DeleteFunc(slices.Clone(l.of[standby[i]]), func(c containerImage) bool { return c == img })
	l.of[standby[i]] = append([]containerImage{img}, others[:min(len(others), mostImages-1)]...)
}

// next returns an image that a machine should have and that is not among those
// told.
func (l *lastImages) next(standby []Standby, rec record, told []containerImage) (containerImage, bool) {
	i := slices.IndexFunc(standby, func(s Standby) bool { return s.matches(rec) })
	if i < 0 {
		return containerImage{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, img := range l.of[standby[i]] {
		if !slices.Contains(told, img) {
			return img, true
		}
	}
	return containerImage{}, false
}

// load has a machine that waits load an image that runs have used, one at each
// look. A run may take the machine meanwhile. One that can't be loaded is told,
// and left to the run.
func (t *tender) load(ctx context.Context, e *entry) {
	rec := e.read()
	img, ok := t.pool.images.next(t.pool.cfg.Standby, rec, t.loaded[e])
	if !ok {
		return
	}
	t.loaded[e] = append(t.loaded[e], img)
	t.busy.Go(func() {
		engine, err := t.pool.dial(rec)
		if err == nil {
			defer engine.Close()
			_, err = engine.EnsureImage(ctx, img.ref, img.url)
		}
		if err != nil && ctx.Err() == nil {
			t.pool.log.Warn("load an image ahead", "machine", rec.Instance, "image", img.ref, "error", err)
		}
	})
}
