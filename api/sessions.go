package api

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds of the sessions in which browsers are signed in.
const (
	sessionCookie = "loads_session"
	sessionIdle   = 24 * time.Hour // without a call
	maxSessions   = 1000           // the one unused for longest makes room
)

// signInPath is where a browser gives a token for a session.
const signInPath = "/login"

// A session is one browser that has given a token.
type session struct {
	name string // of the token
	used time.Time
}

// sessions are those browsers that are signed in. They are in memory only: who
// is signed in when the broker ends has to give the token again. Only hashes of
// the cookies' values are kept. It may be used by many goroutines at once.
type sessions struct {
	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*session
}

func newSessions() *sessions { return &sessions{byHash: map[[sha256.Size]byte]*session{}} }

// begin makes a session for the token of that name, and returns the value of
// its cookie.
func (s *sessions) begin(name string) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.forget(now)
	s.byHash[sha256.Sum256([]byte(id))] = &session{name: name, used: now}
	return id
}

// forget makes room for one more session.
func (s *sessions) forget(now time.Time) {
	var oldest [sha256.Size]byte
	var used time.Time
	for hash, one := range s.byHash {
		if now.Sub(one.used) > sessionIdle {
			delete(s.byHash, hash)
			continue
		}
		if used.IsZero() || one.used.Before(used) {
			oldest, used = hash, one.used
		}
	}
	if len(s.byHash) >= maxSessions {
		delete(s.byHash, oldest)
	}
}

// check returns the name of the token that the call's session was begun with,
// and whether there is one.
func (s *sessions) check(r *http.Request) (string, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byHash[sha256.Sum256([]byte(cookie.Value))]
	now := time.Now()
	if one == nil || now.Sub(one.used) > sessionIdle {
		return "", false
	}
	one.used = now
	return one.name, true
}

func (s *sessions) end(r *http.Request) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, sha256.Sum256([]byte(cookie.Value)))
}

// setCookie hands a session's value to the browser; an empty one takes it away.
func setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: isTLS(r),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// isTLS reports whether the browser's connection is encrypted, by itself or,
// as they say, by a proxy before us. Who says so falsely only makes their own
// browser keep the cookie back.
func isTLS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// signIn takes the token of the sign-in page's form. A browser whose token is
// wrong goes back there.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	next := pagePath(r.PostFormValue("next"))
	name, ok := s.tokens.Check(strings.TrimSpace(r.PostFormValue("token")))
	if !ok {
		s.log.Warn("sign-in refused", "from", r.RemoteAddr)
		http.Redirect(w, r, signInPath+"?"+url.Values{"wrong": {"1"}, "next": {next}}.Encode(), http.StatusSeeOther)
		return
	}
	s.log.Info("signed in", "token", name, "from", r.RemoteAddr)
	s.sessions.end(r)
	setCookie(w, r, s.sessions.begin(name))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.sessions.end(r)
	setCookie(w, r, "")
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}

// pagePath is the path when it is one of this server's, and / else: who is
// signed in must not be sent anywhere else.
func pagePath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, signInPath) {
		return "/"
	}
	return path
}

// isPage reports whether the path is one of the pages', and not of the API.
func isPage(path string) bool {
	return path != "/api" && !strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/dashboards/")
}

// isOpen reports whether a call needs no token even where there are tokens: it
// is for the page to give one, or what that page is made of.
func (s *Server) isOpen(r *http.Request) bool {
	return s.pages != nil && (r.URL.Path == signInPath || strings.HasPrefix(r.URL.Path, "/assets/"))
}
