package aws

// Homes returns of how many runs the pool has the zone in the region in mind.
func (p *Pool) Homes(region string) int {
	r := p.in(region)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.homes)
}
