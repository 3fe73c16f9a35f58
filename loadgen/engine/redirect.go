package engine

import (
	"net/http"
	"time"

	"github.com/loads/loads/loadgen/loop"
)

// hop is where a redirect leads.
type hop struct {
	endpoint int
	target   []byte
	pause    time.Duration // before it
	get      bool          // by GET, whatever the method was
}

// nextHop says where the answer redirects to. If that can't be followed, it
// was the answer, and it is invalid.
func (q *request) nextHop(location string) (to hop) {
	if q.hops++; q.hops > maxRedirects {
		q.invalidate("it was redirected too often")
		return to
	}
	at, err := q.address().Parse(location)
	if err != nil || location == "" {
		q.invalidate("it was redirected to nowhere")
		return to
	}
	endpoint := endpointAt(q.s.w.e.cfg.Benchmark.HTTP, at)
	if endpoint < 0 {
		q.invalidate("it was redirected to " + at.Redacted() + ", which is at no endpoint")
		return to
	}
	to.endpoint, to.target = endpoint, []byte(targetOf(at))
	status := q.counts.Status
	to.get = status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect
	return to
}

// follow sends the request to where it was redirected, after the pause of a
// page if there is one.
func (q *request) follow(to hop, at loop.Instant) {
	if to.pause > 0 {
		q.web.next, q.web.next.pause = to, 0
		q.wakeAt(at.Add(to.pause))
		return
	}
	if to.get && q.method != http.MethodHead {
		q.method = http.MethodGet
	}
	q.away = q.away || q.endpoint != to.endpoint
	q.endpoint, q.drawn = to.endpoint, nil
	if err := q.fill(q.message(), to.target); err != nil {
		q.drop()
		q.in.fail(err)
		q.s.run()
		return
	}
	q.start(at)
}

func (q *request) wakeAt(at loop.Instant) {
	if q.web.timer.Fire == nil {
		q.web.timer.Fire = q.wake
	}
	q.s.w.loop.Set(&q.web.timer, at)
}

// wake goes on after a pause, or has the session go on.
func (q *request) wake() {
	if to := q.web.next; to.target != nil {
		q.web.next = hop{}
		q.follow(to, q.web.timer.When())
		return
	}
	q.s.run()
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
