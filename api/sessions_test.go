package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// signIn posts the form, and returns the answer with the cookie in it.
func signIn(b *bench, token, next string, header ...string) (exchange, *http.Cookie) {
	b.Helper()
	form := url.Values{"token": {token}, "next": {next}}.Encode()
	got := b.do("POST", "/login", form, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		return got, c
	}
	return got, nil
}

func TestASessionStandsForItsToken(t *testing.T) {
	token, tokens := mustToken(t)
	b := mustServe(t, tokens)
	b.server.pages = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })

	got, cookie := signIn(b, token, "/run/x?metric=a")
	if got.status != 303 || got.header.Get("Location") != "/run/x?metric=a" || cookie == nil {
		t.Fatalf("got %d to %q, cookie %v, want 303 to the run with a cookie", got.status, got.header.Get("Location"), cookie)
	}
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.MaxAge != 0 || cookie.Path != "/" {
		t.Errorf("got cookie %+v, want one of the session, for HTTP and this site only", cookie)
	}
	if strings.Contains(cookie.Value, token) {
		t.Error("the cookie holds the token")
	}
	with := []string{"Cookie", cookie.Name + "=" + cookie.Value}
	for _, c := range []struct {
		what, method, path string
		header             []string
		status             int
	}{
		{"A page is shown.", "GET", "/", with, 200},
		{"The API is answered.", "GET", "/api", with, 200},
		{"Another cookie is none.", "GET", "/api", []string{"Cookie", cookie.Name + "=x"}, 401},
		{"A page sends to the sign-in without it.", "GET", "/", nil, 303},
		{"What the sign-in page is made of needs none.", "GET", "/assets/style.css", nil, 200},
		{"Another site's page may not use it.", "POST", "/api/project", append(with, "Sec-Fetch-Site", "cross-site"), 403},
		{"This site's may.", "POST", "/api/project", append(with, "Sec-Fetch-Site", "same-origin"), 400},
		{"A token needs no such check.", "POST", "/api/project", []string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "cross-site"}, 400},
		{"Another site's page may not sign in.", "POST", "/login", []string{"Sec-Fetch-Site", "cross-site"}, 403},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := b.do(c.method, c.path, "", c.header...); got.status != c.status {
				t.Errorf("got %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
	if got := b.do("POST", "/logout", "", with...); got.status != 303 || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("sign out: got %d, %q, want 303 that takes the cookie away", got.status, got.header.Get("Set-Cookie"))
	}
	if got := b.do("GET", "/api", "", with...); got.status != 401 {
		t.Errorf("with a cookie that was signed out: got %d, want 401", got.status)
	}
	if log := b.log.String(); strings.Contains(log, token) || strings.Contains(log, cookie.Value) {
		t.Error("the token or the cookie is in the log")
	}
}

func TestSigningInIsRefusedOrSentHomeOnly(t *testing.T) {
	token, tokens := mustToken(t)
	b := mustServe(t, tokens)
	b.server.pages = http.NotFoundHandler()
	got, cookie := signIn(b, token+"x", "/import")
	if cookie != nil || got.header.Get("Location") != "/login?next=%2Fimport&wrong=1" {
		t.Errorf("a wrong token: got %q and cookie %v, want the form again", got.header.Get("Location"), cookie)
	}
	if _, cookie = signIn(b, token, "/", "X-Forwarded-Proto", "https"); cookie == nil || !cookie.Secure {
		t.Errorf("behind TLS: got cookie %v, want a secure one", cookie)
	}
	for _, next := range []string{"", "https://evil.example.org/", "//evil.example.org", `/\evil.example.org`, "/\t/evil.example.org", "javascript:1", "login", "/login"} {
		if got, _ := signIn(b, token, next); got.header.Get("Location") != "/" {
			t.Errorf("to %q: got %q, want /", next, got.header.Get("Location"))
		}
	}
}

func TestSessionsEndAndMakeRoom(t *testing.T) {
	s := newSessions()
	call := func(id string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id})
		return r
	}
	old := s.begin("ann")
	for _, one := range s.byHash {
		one.used = time.Now().Add(-sessionIdle - time.Second)
	}
	if _, ok := s.check(call(old)); ok {
		t.Error("a session that was not used for a day still stands")
	}
	first := s.begin("ann")
	for _, one := range s.byHash {
		one.used = one.used.Add(-time.Minute)
	}
	last := ""
	for range maxSessions {
		last = s.begin("bob")
	}
	if len(s.byHash) > maxSessions {
		t.Errorf("got %d sessions, want %d at most", len(s.byHash), maxSessions)
	}
	if _, ok := s.check(call(first)); ok {
		t.Error("the session that was unused for longest made no room")
	}
	if name, ok := s.check(call(last)); !ok || name != "bob" {
		t.Errorf("the last session: got %q, %v, want bob", name, ok)
	}
}
