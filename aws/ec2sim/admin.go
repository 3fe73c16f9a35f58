package ec2sim

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// adminPath is where the simulator itself is asked and told things. The real
// cloud has nothing there.
const adminPath = "/_sim/"

// A MachineInfo is an instance as the simulator knows it, without delay.
type MachineInfo struct {
	ID        string            `json:"id"`
	Account   string            `json:"account"`
	Region    string            `json:"region"`
	Zone      string            `json:"zone"`
	Type      string            `json:"type"`
	State     string            `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	PrivateIP string            `json:"private_ip"`
	PublicIP  string            `json:"public_ip,omitempty"`
	Spot      bool              `json:"spot,omitempty"`
	Index     int               `json:"launch_index"` // its place among those launched with it
	Launched  time.Time         `json:"launched"`
	Ended     time.Time         `json:"ended,omitzero"` // when it began to shut down for good
	Tags      map[string]string `json:"tags"`
	Faults    []FaultName       `json:"faults,omitempty"` // that have come upon it, in their order
}

// serveAdmin answers what is under adminPath, to whoever is on this computer
// and has the token.
func (s *Sim) serveAdmin(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		adminError(w, http.StatusForbidden, "%s is served on this computer only.", adminPath)
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		adminError(w, http.StatusUnauthorized, "Give the simulator's token: Authorization: Bearer TOKEN.")
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/state", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, s.State()) })
	mux.HandleFunc("GET /_sim/machines", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, s.Machines()) })
	mux.HandleFunc("GET /_sim/things", s.serveThings)
	mux.HandleFunc("POST /_sim/machines/{id}/faults", s.serveStrike)
	mux.HandleFunc("GET /_sim/faults", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, s.Faults()) })
	mux.HandleFunc("POST /_sim/faults", s.serveArm)
	mux.HandleFunc("DELETE /_sim/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.Disarm()
		adminAnswer(w, s.Faults())
	})
	mux.ServeHTTP(w, r)
}

func adminAnswer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func adminError(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": fmt.Sprintf(format, args...)})
}

// readFault reads a fault from a request.
func readFault(w http.ResponseWriter, r *http.Request) (Fault, bool) {
	var f Fault
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		adminError(w, http.StatusBadRequest, "The fault can't be read: %v.", err)
		return f, false
	}
	if wrong := f.check(); len(wrong) > 0 {
		adminError(w, http.StatusBadRequest, "%s", strings.Join(wrong, "; "))
		return f, false
	}
	return f, true
}

func (s *Sim) serveArm(w http.ResponseWriter, r *http.Request) {
	if f, ok := readFault(w, r); ok {
		adminAnswer(w, s.Arm(f))
	}
}

func (s *Sim) serveStrike(w http.ResponseWriter, r *http.Request) {
	f, ok := readFault(w, r)
	if !ok {
		return
	}
	if err := s.Strike(r.PathValue("id"), f); err != nil {
		adminError(w, http.StatusConflict, "%v", err)
		return
	}
	adminAnswer(w, struct{}{})
}

// An ArmedFault is a fault with what it has done so far.
type ArmedFault struct {
	Fault
	ID   int `json:"id"`
	Seen int `json:"seen"` // occasions that its selector matched
	Hits int `json:"hits"` // of them, those it met
}

// Arm adds a fault to those of the drill, from now on.
func (s *Sim) Arm(f Fault) ArmedFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ArmedFault(*s.arm(f))
}

// Disarm ends all faults. What they did stays done.
func (s *Sim) Disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults are those that are armed, in the order in which they were.
func (s *Sim) Faults() []ArmedFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []ArmedFault{}
	for _, a := range s.faults {
		all = append(all, ArmedFault(*a))
	}
	return all
}

// Strike lets a fault come upon a machine that runs: one that dies, is cut off
// or is taken, after the fault's time. Selector and rate mean nothing here.
func (s *Sim) Strike(id string, f Fault) error {
	if !slices.Contains(timedFaults, f.Name) {
		return fmt.Errorf("%s can't come upon a machine that runs; only %v can", f.Name, timedFaults)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		in := r.instances[id]
		switch {
		case in == nil:
			continue
		case in.state != stateRunning:
			return fmt.Errorf("the instance %s is %s, not running", id, in.state.Name)
		case f.Name == SpotTaken && in.spot == nil:
			return fmt.Errorf("the instance %s is not a spot instance", id)
		}
		s.strikeLater(in, f, f.At.draw(s.dice.next("strike")))
		return nil
	}
	return fmt.Errorf("there is no instance %s", id)
}

// Machines are all instances that are still listed, the oldest first.
func (s *Sim) Machines() []MachineInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []MachineInfo{}
	for _, r := range s.regions {
		for _, in := range r.instances {
			m := MachineInfo{
				ID: in.ID, Account: r.account, Region: r.Name, Zone: in.subnet.Zone.Name, Type: in.typ.Name, State: in.state.Name,
				Reason: in.history[len(in.history)-1].reason.Code, PrivateIP: in.privateIP.String(), PublicIP: in.publicAddress(),
				Spot: in.spot != nil, Index: in.index, Launched: in.launched, Tags: map[string]string{}, Faults: slices.Clone(in.met), Ended: in.ended,
			}
			setTags(m.Tags, in.tags)
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b MachineInfo) int {
		return cmp.Or(a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID))
	})
	return all
}
