// Package grafanatest is a small Grafana for tests: the part of its HTTP API
// that package grafana uses, over real HTTP, with state. It refuses what
// Grafana refuses: callers without the token, bodies that are not JSON, uids
// and titles that are missing, too long or taken, folders and dashboards that
// are not there.
package grafanatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// What callers must bear: the token of a service account, or user:password.
const (
	Token = "glsa_a-token-for-tests"
	Login = "admin:a-password-for-tests"
)

type object = map[string]any

// A Server is a running stand-in. Its fields may be read between calls, by
// Look.
type Server struct {
	// URL is the server's address on loopback.
	URL string

	login   string
	handler http.Handler

	mu    sync.Mutex
	state State
	down  int // status of all answers; 0 for none
}

// State is what a server has.
type State struct {
	DataSources map[string]object // by uid
	Folders     map[string]string // titles by uid
	Dashboards  map[string]*Dashboard
	Annotations []*Annotation
	// Writes counts the calls that changed something.
	Writes int
}

// A Dashboard is one that was published.
type Dashboard struct {
	Folder  string
	Version int
	Model   object // without id and version
}

// An Annotation is one that was published.
type Annotation struct {
	ID           int64    `json:"id"`
	DashboardUID string   `json:"dashboardUID"`
	Time         int64    `json:"time"`
	TimeEnd      int64    `json:"timeEnd"`
	Text         string   `json:"text"`
	Tags         []string `json:"tags"`
}

// Start starts a server, and stops it when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := New(Login)
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
}

// New makes a server that is not started: a handler. login is the user:password
// that callers may bear in place of Token.
func New(login string) *Server {
	s := &Server{login: login, state: State{DataSources: map[string]object{}, Folders: map[string]string{}, Dashboards: map[string]*Dashboard{}}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(object{"database": "ok"})
	})
	for pattern, handle := range map[string]func(*http.Request, object) (int, any){
		"GET /api/datasources/uid/{uid}": s.getDataSource,
		"POST /api/datasources":          s.postDataSource,
		"PUT /api/datasources/uid/{uid}": s.putDataSource,
		"GET /api/folders/{uid}":         s.getFolder,
		"POST /api/folders":              s.postFolder,
		"GET /api/dashboards/uid/{uid}":  s.getDashboard,
		"POST /api/dashboards/db":        s.postDashboard,
		"GET /api/annotations":           s.getAnnotations,
		"POST /api/annotations":          s.postAnnotation,
		"PUT /api/annotations/{id}":      s.putAnnotation,
	} {
		mux.HandleFunc(pattern, s.guarded(handle))
	}
	s.handler = mux
	return s
}

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Fail makes all answers have the status, until it is called with 0.
func (s *Server) Fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = status
}

// Look calls f with the server's state, which f must not keep.
func (s *Server) Look(f func(State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.state)
}

// guarded checks the caller and the body, and serves one call at a time.
func (s *Server) guarded(handle func(*http.Request, object) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var body object
		status, answer := http.StatusOK, any(nil)
		switch {
		case s.down != 0:
			status, answer = s.down, message("out of order")
		case !s.known(r):
			status, answer = http.StatusUnauthorized, message("Invalid API key")
		case r.Method != http.MethodGet && r.Header.Get("Content-Type") != "application/json":
			status, answer = http.StatusUnsupportedMediaType, message("bad request data")
		case r.Method != http.MethodGet && json.NewDecoder(r.Body).Decode(&body) != nil:
			status, answer = http.StatusBadRequest, message("bad request data")
		default:
			status, answer = handle(r, body)
		}
		if r.Method != http.MethodGet && status == http.StatusOK {
			s.state.Writes++
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (s *Server) known(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return r.Header.Get("Authorization") == "Bearer "+Token || user+":"+password == s.login
}

func message(format string, args ...any) object {
	return object{"message": fmt.Sprintf(format, args...)}
}

func text(o object, name string) string { s, _ := o[name].(string); return s }

var goodUID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,40}$`)

func (s *Server) getDataSource(r *http.Request, _ object) (int, any) {
	have, ok := s.state.DataSources[r.PathValue("uid")]
	if !ok {
		return http.StatusNotFound, message("Data source not found")
	}
	shown := object{}
	for name, value := range have {
		if name != "secureJsonData" { // Grafana never shows it
			shown[name] = value
		}
	}
	return http.StatusOK, shown
}

func (s *Server) postDataSource(_ *http.Request, o object) (int, any) {
	uid, name := text(o, "uid"), text(o, "name")
	if name == "" || text(o, "type") == "" || text(o, "access") == "" || !goodUID.MatchString(uid) {
		return http.StatusBadRequest, message("bad request data")
	}
	for other, have := range s.state.DataSources {
		if other == uid || text(have, "name") == name {
			return http.StatusConflict, message("data source with the same name already exists")
		}
	}
	s.state.DataSources[uid] = o
	return http.StatusOK, object{"message": "Datasource added", "name": name}
}

func (s *Server) putDataSource(r *http.Request, o object) (int, any) {
	uid := r.PathValue("uid")
	if _, ok := s.state.DataSources[uid]; !ok {
		return http.StatusNotFound, message("Data source not found")
	}
	s.state.DataSources[uid] = o
	return http.StatusOK, object{"message": "Datasource updated"}
}

func (s *Server) getFolder(r *http.Request, _ object) (int, any) {
	uid := r.PathValue("uid")
	title, ok := s.state.Folders[uid]
	if !ok {
		return http.StatusNotFound, message("folder not found")
	}
	return http.StatusOK, object{"uid": uid, "title": title}
}

func (s *Server) postFolder(_ *http.Request, o object) (int, any) {
	uid, title := text(o, "uid"), text(o, "title")
	if title == "" || !goodUID.MatchString(uid) {
		return http.StatusBadRequest, message("folder title cannot be empty")
	}
	for other, have := range s.state.Folders {
		if other == uid || have == title {
			return http.StatusConflict, message("a folder with the same name already exists in the current location")
		}
	}
	s.state.Folders[uid] = title
	return http.StatusOK, object{"uid": uid, "title": title}
}

func (s *Server) getDashboard(r *http.Request, _ object) (int, any) {
	uid := r.PathValue("uid")
	have, ok := s.state.Dashboards[uid]
	if !ok {
		return http.StatusNotFound, message("Dashboard not found")
	}
	model := object{"id": 7, "version": have.Version}
	for name, value := range have.Model {
		model[name] = value
	}
	return http.StatusOK, object{"dashboard": model, "meta": object{"folderUid": have.Folder, "url": "/d/" + uid + "/run"}}
}

func (s *Server) postDashboard(_ *http.Request, o object) (int, any) {
	model, _ := o["dashboard"].(object)
	uid, folder := text(model, "uid"), text(o, "folderUid")
	if text(model, "title") == "" {
		return http.StatusBadRequest, message("Dashboard title cannot be empty")
	}
	if !goodUID.MatchString(uid) {
		return http.StatusBadRequest, message("uid contains illegal characters or is too long")
	}
	if _, ok := s.state.Folders[folder]; folder != "" && !ok {
		return http.StatusBadRequest, message("folder not found")
	}
	have := s.state.Dashboards[uid]
	if overwrite, _ := o["overwrite"].(bool); have != nil && !overwrite {
		return http.StatusPreconditionFailed, object{"status": "version-mismatch", "message": "The dashboard has been changed by someone else"}
	}
	if have == nil {
		have = &Dashboard{}
		s.state.Dashboards[uid] = have
	}
	delete(model, "id")
	delete(model, "version")
	have.Folder, have.Model, have.Version = folder, model, have.Version+1
	return http.StatusOK, object{"uid": uid, "url": "/d/" + uid + "/run", "version": have.Version, "status": "success"}
}

func (s *Server) getAnnotations(r *http.Request, _ object) (int, any) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 100 // as in Grafana
	}
	found := []*Annotation{}
	for _, a := range s.state.Annotations {
		all := !slices.ContainsFunc(q["tags"], func(tag string) bool { return !slices.Contains(a.Tags, tag) })
		if all && a.DashboardUID == q.Get("dashboardUID") && len(found) < limit {
			found = append(found, a)
		}
	}
	return http.StatusOK, found
}

func (s *Server) postAnnotation(_ *http.Request, o object) (int, any) {
	a := &Annotation{ID: int64(len(s.state.Annotations) + 1)}
	if !fill(a, o) {
		return http.StatusBadRequest, message("text field should not be empty")
	}
	if s.state.Dashboards[a.DashboardUID] == nil {
		return http.StatusNotFound, message("Dashboard not found")
	}
	s.state.Annotations = append(s.state.Annotations, a)
	return http.StatusOK, object{"id": a.ID, "message": "Annotation added"}
}

func (s *Server) putAnnotation(r *http.Request, o object) (int, any) {
	for _, a := range s.state.Annotations {
		if strconv.FormatInt(a.ID, 10) != r.PathValue("id") {
			continue
		}
		next := *a
		if !fill(&next, o) {
			return http.StatusBadRequest, message("text field should not be empty")
		}
		next.ID, next.DashboardUID = a.ID, a.DashboardUID
		*a = next
		return http.StatusOK, object{"message": "Annotation updated"}
	}
	return http.StatusNotFound, message("Annotation not found")
}

// fill takes an annotation from a body, and reports whether it is right.
func fill(a *Annotation, o object) bool {
	body, err := json.Marshal(o)
	if err != nil || json.Unmarshal(body, a) != nil {
		return false
	}
	return strings.TrimSpace(a.Text) != "" && a.Time > 0 && a.TimeEnd >= a.Time
}
