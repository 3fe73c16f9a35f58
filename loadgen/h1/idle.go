//go:build linux

package h1

// beIdle puts a connection on top of the idle ones, so that it is taken first
// and those below can grow old.
func (p *Pool) beIdle(c *conn) {
	c.idle, c.idleFrom = true, p.loop.Now()
	c.older, c.newer = p.newest, nil
	if p.newest != nil {
		p.newest.newer = c
	} else {
		p.oldest = c
		p.watchIdle()
	}
	p.newest = c
	p.idle++
}

// leaveIdle takes a connection out of the idle ones.
func (p *Pool) leaveIdle(c *conn) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	c.idle, c.newer, c.older = false, nil, nil
	p.idle--
}

// watchIdle arms the timer for the oldest idle connection. Once armed it is left
// alone until it fires.
func (p *Pool) watchIdle() {
	if p.cfg.IdleTimeout > 0 && !p.idleTimer.Armed() {
		p.loop.Set(&p.idleTimer, p.oldest.idleFrom.Add(p.cfg.IdleTimeout))
	}
}

// dropIdle closes connections that were idle for too long, above Min.
func (p *Pool) dropIdle() {
	now := p.loop.Now()
	for p.oldest != nil && len(p.conns) > p.cfg.Min && p.oldest.idleFrom.Add(p.cfg.IdleTimeout) <= now {
		p.drop(p.oldest)
	}
	if p.oldest == nil {
		return
	}
	at := p.oldest.idleFrom.Add(p.cfg.IdleTimeout)
	if at <= now { // one of the Min
		at = now.Add(p.cfg.IdleTimeout)
	}
	p.loop.Set(&p.idleTimer, at)
}
