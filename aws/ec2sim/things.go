package ec2sim

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// A Thing is something that somebody has made and that is there.
type Thing struct {
	Kind   string            `json:"kind"` // as in Receipt
	ID     string            `json:"id"`
	Region string            `json:"region"`
	State  string            `json:"state,omitempty"` // of an instance
	Tags   map[string]string `json:"tags"`
}

// Things are all that is left in EC2 and carries the tags, without delay:
// instances until they are terminated, their disks and network interfaces,
// security groups that somebody made, and spot requests that are active.
func (s *Sim) Things(tags map[string]string) []Thing {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Thing{}
	for _, r := range s.regions {
		r.things(func(kind, state string, of resource) {
			if (occasion{tags: of.tags}).carries(tags) {
				t := Thing{Kind: kind, ID: of.ID, Region: r.Name, State: state, Tags: map[string]string{}}
				setTags(t.Tags, of.tags)
				all = append(all, t)
			}
		})
	}
	slices.SortFunc(all, func(a, b Thing) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (r *region) things(found func(kind, state string, of resource)) {
	for _, in := range r.instances {
		if in.isAlive() {
			found(kindInstance, in.state.Name, in.resource)
		}
	}
	for _, v := range r.volumes {
		found(kindVolume, "", v.resource)
	}
	for _, n := range r.interfaces {
		found(kindInterface, "", n.resource)
	}
	for _, g := range r.groups {
		if g != r.defaults {
			found(kindGroup, "", g.resource)
		}
	}
	for _, sp := range r.spots {
		if sp.state == "active" {
			found(kindSpot, "", sp.resource)
		}
	}
}

// serveThings answers with what carries the tags of the query: ?tag=RunId=1f2e.
func (s *Sim) serveThings(w http.ResponseWriter, r *http.Request) {
	tags := map[string]string{}
	for _, tag := range r.URL.Query()["tag"] {
		key, value, ok := strings.Cut(tag, "=")
		if !ok {
			adminError(w, http.StatusBadRequest, "The tag %q has no value; give it as tag=KEY=VALUE.", tag)
			return
		}
		tags[key] = value
	}
	adminAnswer(w, s.Things(tags))
}
