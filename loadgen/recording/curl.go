package recording

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// curlFlags are the options of curl that say what is sent. Their names and
// meanings are those of curl's manual.
type curlFlags struct {
	method, user, agent, referer, url    string
	headers, cookies                     []string
	data, raw, binary, urlencode, asJSON []string
	form                                 []string
	get, head, compressed, location      bool
	maxTime, connectTimeout, output      string
}

func (c *curlFlags) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("curl", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVarP(&c.method, "request", "X", "", "")
	fs.StringArrayVarP(&c.headers, "header", "H", nil, "")
	fs.StringArrayVarP(&c.data, "data", "d", nil, "")
	fs.StringArrayVar(&c.data, "data-ascii", nil, "")
	fs.StringArrayVar(&c.raw, "data-raw", nil, "")
	fs.StringArrayVar(&c.binary, "data-binary", nil, "")
	fs.StringArrayVar(&c.urlencode, "data-urlencode", nil, "")
	fs.StringArrayVar(&c.asJSON, "json", nil, "")
	fs.StringArrayVarP(&c.form, "form", "F", nil, "")
	fs.StringVarP(&c.user, "user", "u", "", "")
	fs.StringVarP(&c.agent, "user-agent", "A", "", "")
	fs.StringVarP(&c.referer, "referer", "e", "", "")
	fs.StringArrayVarP(&c.cookies, "cookie", "b", nil, "")
	fs.StringVar(&c.url, "url", "", "")
	fs.BoolVarP(&c.get, "get", "G", false, "")
	fs.BoolVarP(&c.head, "head", "I", false, "")
	fs.BoolVar(&c.compressed, "compressed", false, "")
	fs.BoolVarP(&c.location, "location", "L", false, "")
	// What follows changes nothing of the request, or what curl prints.
	for name, short := range map[string]string{
		"insecure": "k", "silent": "s", "show-error": "S", "verbose": "v", "include": "i", "fail": "f", "globoff": "g",
		"http1.1": "", "http2": "", "progress-bar": "#", "ipv4": "4", "ipv6": "6", "remote-name": "O", "fail-with-body": "",
	} {
		fs.BoolP(name, short, false, "")
	}
	fs.StringVarP(&c.maxTime, "max-time", "m", "", "")
	fs.StringVar(&c.connectTimeout, "connect-timeout", "", "")
	fs.StringVarP(&c.output, "output", "o", "", "")
	fs.StringP("write-out", "w", "", "")
	return fs
}

// FromCurl reads a command line of curl, as browsers copy it and people write
// it in a shell. Variables in it are empty, files aren't read.
func FromCurl(line string) (Recording, error) {
	words, err := shellWords(line)
	if err != nil {
		return Recording{}, fmt.Errorf("the command can't be read as a shell would: %w", err)
	}
	if len(words) == 0 || words[0] != "curl" && !strings.HasSuffix(words[0], "/curl") {
		return Recording{}, errors.New(`it is not a command of curl: it must begin with "curl"`)
	}
	var c curlFlags
	fs := c.set()
	if err := fs.Parse(words[1:]); err != nil {
		return Recording{}, fmt.Errorf("curl: %w; leave it out if the request is the same without", err)
	}
	addresses := fs.Args()
	if c.url != "" {
		addresses = append(addresses, c.url)
	}
	if len(addresses) == 0 {
		return Recording{}, errors.New("the curl command has no address")
	}
	var r Recording
	page := Page{}
	for _, address := range addresses {
		q, err := c.request(&r, address)
		if err != nil {
			return Recording{}, err
		}
		page.Requests = append(page.Requests, q)
	}
	r.Pages = []Page{page}
	return r, nil
}

// shellWords splits a command line as a shell does, but for braces, which curl
// knows itself and which could make any number of words.
func shellWords(line string) ([]string, error) {
	cfg := &expand.Config{Env: expand.FuncEnviron(func(string) string { return "" })}
	var words []string
	for word, err := range syntax.NewParser().WordsSeq(strings.NewReader(line)) {
		if err != nil {
			return nil, err
		}
		text, err := expand.Literal(cfg, word)
		if err != nil {
			return nil, err
		}
		words = append(words, text)
	}
	return words, nil
}

// request is what the command sends to one address.
func (c *curlFlags) request(r *Recording, address string) (Request, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address // as curl does
	}
	u, err := parseURL(address)
	if err != nil {
		return Request{}, err
	}
	q := Request{Method: "GET", URL: u, Redirects: c.location, Compressed: c.compressed}
	body, kind, err := c.body()
	if err != nil {
		return Request{}, err
	}
	switch {
	case c.get && body != "":
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+body, "&")
		body, kind = "", ""
	case c.head:
		q.Method = "HEAD"
	case kind != "":
		q.Method = "POST"
	}
	if c.method != "" {
		q.Method = strings.ToUpper(c.method)
	}
	q.Body = body
	given := map[string]bool{}
	for _, h := range c.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			continue // "Name;" sends an empty header, "Name" alone nothing
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		given[strings.ToLower(name)] = true
		if value != "" { // without one curl does not send the header
			q.Headers = r.keep(q.Headers, name, value)
		}
	}
	add := func(name, value string) {
		if value != "" && !given[strings.ToLower(name)] {
			q.Headers = r.keep(q.Headers, name, value)
		}
	}
	add("Content-Type", kind)
	if len(c.asJSON) > 0 {
		add("Accept", "application/json")
	}
	add("User-Agent", c.agent)
	add("Referer", c.referer)
	add("Authorization", c.user) // a secret: its value is not kept
	if len(c.cookies) > 0 {
		q.Headers = r.keep(q.Headers, "Cookie", "")
	}
	return q, nil
}

// body puts together what -d and its kin say, and the type of it.
func (c *curlFlags) body() (body, kind string, err error) {
	if len(c.form) > 0 {
		return "", "", errors.New("curl: -F sends a multipart form, which benchmark files can't yet; send the body with --data-binary and a Content-Type")
	}
	var parts []string
	for _, list := range [][]string{c.data, c.binary, c.asJSON} {
		for _, d := range list {
			if strings.HasPrefix(d, "@") {
				return "", "", fmt.Errorf("curl: %s is a file; put its text into the command, or make the body fromFile in the benchmark", d)
			}
		}
		parts = append(parts, list...)
	}
	parts = append(parts, c.raw...)
	for _, d := range c.urlencode {
		name, value, named := strings.Cut(d, "=")
		switch {
		case strings.ContainsRune(d, '@') && !named:
			return "", "", fmt.Errorf("curl: --data-urlencode %s is a file; put its text into the command", d)
		case !named:
			parts = append(parts, url.QueryEscape(d))
		case name == "":
			parts = append(parts, url.QueryEscape(value))
		default:
			parts = append(parts, name+"="+url.QueryEscape(value))
		}
	}
	switch {
	case len(parts) == 0:
		return "", "", nil
	case len(c.asJSON) > 0:
		return strings.Join(parts, ""), "application/json", nil
	}
	return strings.Join(parts, "&"), "application/x-www-form-urlencoded", nil
}
