package engine

import (
	"net/http"
	"strings"
	"time"
)

// jar holds the cookies of one user.
type jar struct {
	cookies []cookie
	version int // grows with each change
}

type cookie struct {
	host, path  string
	subdomains  bool // of host as well
	name, value string
}

// maxCookies is how many cookies a user keeps; the oldest go first.
const maxCookies = 200

func (j *jar) isEmpty() bool { return len(j.cookies) == 0 }

func (j *jar) reset() {
	if len(j.cookies) > 0 {
		j.cookies = j.cookies[:0]
		j.version++
	}
}

// set takes the value of a header Set-Cookie from a host. What is not a cookie,
// or belongs to another host, is left out, as browsers do.
func (j *jar) set(host string, header []byte) {
	parsed, err := http.ParseSetCookie(string(header))
	if err != nil {
		return
	}
	c := cookie{host: strings.ToLower(host), path: parsed.Path, name: parsed.Name, value: parsed.Value}
	if domain := strings.ToLower(strings.TrimPrefix(parsed.Domain, ".")); domain != "" {
		if domain != c.host && !strings.HasSuffix(c.host, "."+domain) {
			return
		}
		c.host, c.subdomains = domain, true
	}
	if !strings.HasPrefix(c.path, "/") {
		c.path = "/"
	}
	j.version++
	for i := range j.cookies {
		if old := &j.cookies[i]; old.name == c.name && old.host == c.host && old.path == c.path {
			j.cookies = append(j.cookies[:i], j.cookies[i+1:]...)
			break
		}
	}
	if parsed.MaxAge < 0 || parsed.MaxAge == 0 && !parsed.Expires.IsZero() && parsed.Expires.Before(time.Now()) {
		return
	}
	if len(j.cookies) >= maxCookies {
		j.cookies = append(j.cookies[:0], j.cookies[1:]...)
	}
	j.cookies = append(j.cookies, c)
}

// append writes the value of the header Cookie for a request, nothing if there
// is no cookie for it.
func (j *jar) append(dst []byte, host string, target []byte) []byte {
	before := len(dst)
	for i := range j.cookies {
		c := &j.cookies[i]
		if !c.isFor(host, target) {
			continue
		}
		if len(dst) > before {
			dst = append(dst, "; "...)
		}
		dst = append(append(append(dst, c.name...), '='), c.value...)
	}
	return dst
}

func (c *cookie) isFor(host string, target []byte) bool {
	if !strings.EqualFold(host, c.host) && !(c.subdomains && strings.HasSuffix(strings.ToLower(host), "."+c.host)) {
		return false
	}
	n := len(c.path)
	if len(target) < n || string(target[:n]) != c.path {
		return false
	}
	return strings.HasSuffix(c.path, "/") || len(target) == n || target[n] == '/' || target[n] == '?'
}
