package engine

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
)

// jar holds the cookies of one user.
type jar struct {
	cookies []cookie
	version int          // grows with each change
	next    loop.Instant // when the first of them expires, or earlier; 0 is never
}

type cookie struct {
	host, path  string
	subdomains  bool // of host as well
	secure      bool // only over HTTPS
	name, value string
	until       loop.Instant // 0 is the end of the session
}

// Limits of cookies: how many a user keeps, of which the oldest go first, and
// for how long one is kept that may be for ever.
const (
	maxCookies   = 200
	maxCookieAge = 365 * 24 * time.Hour
)

func (j *jar) isEmpty() bool { return len(j.cookies) == 0 }

func (j *jar) reset() {
	if len(j.cookies) > 0 {
		j.cookies = j.cookies[:0]
		j.version++
	}
	j.next = 0
}

// set takes the value of a header Set-Cookie of an answer from a host to a
// request for target. What is not a cookie, or belongs to another host, is left
// out, as browsers do.
func (j *jar) set(host string, target, header []byte, now loop.Instant) {
	parsed, err := http.ParseSetCookie(string(header))
	if err != nil {
		return
	}
	c := cookie{host: strings.ToLower(host), path: parsed.Path, secure: parsed.Secure, name: parsed.Name, value: parsed.Value}
	if domain := strings.ToLower(strings.TrimPrefix(parsed.Domain, ".")); domain != "" && domain != c.host {
		if !isBelow(c.host, domain) {
			return
		}
		c.host, c.subdomains = domain, true
	} else {
		c.subdomains = domain != ""
	}
	if !strings.HasPrefix(c.path, "/") {
		c.path = folder(target)
	}
	j.version++
	for i := range j.cookies {
		if old := &j.cookies[i]; old.name == c.name && old.host == c.host && old.path == c.path {
			j.cookies = append(j.cookies[:i], j.cookies[i+1:]...)
			break
		}
	}
	if !c.lives(parsed, now) {
		return
	}
	if len(j.cookies) >= maxCookies {
		j.cookies = append(j.cookies[:0], j.cookies[1:]...)
	}
	j.cookies = append(j.cookies, c)
	if c.until > 0 && (j.next == 0 || c.until < j.next) {
		j.next = c.until
	}
}

// isBelow reports whether a host belongs to a domain that may have cookies: not
// to a top one, nor to a part of an address.
func isBelow(host, domain string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && strings.Contains(domain, ".") && strings.HasSuffix(host, "."+domain)
}

// folder is where cookies belong that don't say it: to the path of the request
// up to its last slash.
func folder(target []byte) string {
	path, _, _ := bytes.Cut(target, []byte{'?'})
	if last := bytes.LastIndexByte(path, '/'); last > 0 && path[0] == '/' {
		return string(path[:last])
	}
	return "/"
}

// lives sets when the cookie expires, and reports false if it has.
func (c *cookie) lives(parsed *http.Cookie, now loop.Instant) bool {
	left := time.Duration(0)
	switch {
	case parsed.MaxAge < 0: // as the library has an age of 0, too
		return false
	case parsed.MaxAge > 0:
		left = min(time.Duration(parsed.MaxAge), maxCookieAge/time.Second) * time.Second
	case !parsed.Expires.IsZero():
		if left = min(time.Until(parsed.Expires), maxCookieAge); left <= 0 {
			return false
		}
	default:
		return true
	}
	c.until = now.Add(left)
	return true
}

// expire forgets the cookies that are too old.
func (j *jar) expire(now loop.Instant) {
	if j.next == 0 || j.next > now {
		return
	}
	j.next = 0
	kept := j.cookies[:0]
	for _, c := range j.cookies {
		if c.until > 0 && c.until <= now {
			continue
		}
		if c.until > 0 && (j.next == 0 || c.until < j.next) {
			j.next = c.until
		}
		kept = append(kept, c)
	}
	clear(j.cookies[len(kept):])
	j.cookies = kept
	j.version++
}

// append writes the value of the header Cookie for a request, nothing if there
// is no cookie for it.
func (j *jar) append(dst []byte, to *benchmark.Endpoint, target []byte) []byte {
	before := len(dst)
	for i := range j.cookies {
		c := &j.cookies[i]
		if !c.isFor(to, target) {
			continue
		}
		if len(dst) > before {
			dst = append(dst, "; "...)
		}
		dst = append(append(append(dst, c.name...), '='), c.value...)
	}
	return dst
}

func (c *cookie) isFor(to *benchmark.Endpoint, target []byte) bool {
	if !strings.EqualFold(to.Host, c.host) && !(c.subdomains && strings.HasSuffix(strings.ToLower(to.Host), "."+c.host)) {
		return false
	}
	n := len(c.path)
	if c.secure && to.Protocol != "https" || len(target) < n || string(target[:n]) != c.path {
		return false
	}
	return strings.HasSuffix(c.path, "/") || len(target) == n || target[n] == '/' || target[n] == '?'
}
