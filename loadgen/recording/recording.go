// Package recording makes benchmark files of what people have at hand: a HAR
// file, as browsers save it, or a command line of curl. It is pure: texts go in
// and come out.
package recording

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Recording is requests that somebody made, in their order.
type Recording struct {
	Pages []Page
	// Notes are sentences on what was left out, and what has to be given.
	Notes []string
}

// A Page is the requests of one page, or of one curl command.
type Page struct {
	Title    string
	Think    time.Duration // the pause before it, whole seconds
	Requests []Request
}

// A Request is one request, as it will be sent.
type Request struct {
	Method  string
	URL     *url.URL
	Headers []Header
	Body    string
	// Form are the fields of a form; then there is no Body.
	Form []Field
	// Redirects and Compressed are what curl was told with -L and
	// --compressed.
	Redirects, Compressed bool
}

// A Header is one header of a request. Param is set in place of Value where
// the value is a secret: it is the name of the parameter that gives it.
type Header struct{ Name, Value, Param string }

// A Field is a field of a form.
type Field struct{ Name, Value string }

// Origin is the scheme, host and port that the request goes to.
func (r Request) Origin() string { return originOf(r.URL) }

func originOf(u *url.URL) string {
	port := u.Port()
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n) // 080 is 80
	} else {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + ":" + port
}

// unsent are headers that the generator sets itself, that belong to one
// connection, or that a session gets anew from the server.
var unsent = []string{
	"host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "content-length",
	"cookie", "accept-encoding", "if-modified-since", "if-none-match", "expect", "priority",
}

// secrets are headers whose value must not be in a file.
var secrets = []string{"authorization", "proxy-authorization", "x-api-key", "x-auth-token", "x-csrf-token"}

// keep adds a header to those that are sent, if it is one, and notes it when
// it is left out for a reason that the user should know.
func (r *Recording) keep(headers []Header, name, value string) []Header {
	lower := strings.ToLower(name)
	switch {
	case lower == "cookie":
		r.note("Cookies were left out: sessions keep those that the server gives them.")
		return headers
	case name == "" || strings.HasPrefix(name, ":") || slices.Contains(unsent, lower):
		return headers
	case slices.Contains(secrets, lower):
		param := paramName(name)
		r.note(fmt.Sprintf("The value of %s is not in the file, since it may be a secret: give it with --param %s=VALUE.", textproto.CanonicalMIMEHeaderKey(name), param))
		return append(headers, Header{Name: name, Param: param})
	}
	return append(headers, Header{Name: name, Value: value})
}

// paramName makes the name of a header that of a parameter.
func paramName(header string) string {
	return strings.ToUpper(strings.ReplaceAll(header, "-", "_"))
}

// note adds a note once.
func (r *Recording) note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// parseURL takes an absolute address of HTTP.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("address %q can't be read: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("address %q is not one of HTTP; it must begin with http:// or https://", text)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !hostName.MatchString(u.Hostname()) {
		return nil, fmt.Errorf("address %q has no valid host", text)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("address %q has no valid port", text)
		}
	}
	return u, nil
}

// Only keeps the requests that go to the given hosts. Without any these are
// those of the first request: what a page gets from elsewhere, such as from
// somebody's statistics, is not what the user has come to put under load.
func (r *Recording) Only(hosts []string) error {
	first := ""
	left := map[string]int{}
	kept := 0
	for i, p := range r.Pages {
		var requests []Request
		for _, q := range p.Requests {
			first = cmp.Or(first, q.URL.Hostname())
			if slices.Contains(hosts, q.URL.Hostname()) || len(hosts) == 0 && q.URL.Hostname() == first {
				requests = append(requests, q)
				kept++
			} else {
				left[q.URL.Hostname()]++
			}
		}
		r.Pages[i].Requests = requests
	}
	r.Pages = slices.DeleteFunc(r.Pages, func(p Page) bool { return len(p.Requests) == 0 })
	for _, host := range sortedKeys(left) {
		r.note(fmt.Sprintf("%d requests to %s were left out; --host %s takes them in.", left[host], host, host))
	}
	if kept == 0 {
		return errors.New("there is no request to the given hosts")
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
