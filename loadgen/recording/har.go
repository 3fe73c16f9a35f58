package recording

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
	"time"
)

// maxHAR is the most bytes of a HAR file that are read: with the contents of
// answers they are large.
const maxHAR = 256 << 20

// har is what is used of a HAR file. The format is HAR 1.2, as its authors
// wrote it down (http://www.softwareishard.com/blog/har-12-spec).
type har struct {
	Log *struct {
		Pages   []harPage  `json:"pages"`
		Entries []harEntry `json:"entries"`
	} `json:"log"`
}

type harPage struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Started time.Time `json:"startedDateTime"`
}

type harEntry struct {
	Page    string     `json:"pageref"`
	Started time.Time  `json:"startedDateTime"`
	TimeMS  float64    `json:"time"`
	Request harRequest `json:"request"`
	Answer  struct {
		Content struct {
			MimeType string `json:"mimeType"`
		} `json:"content"`
	} `json:"response"`
}

func (e harEntry) ended() time.Time {
	return e.Started.Add(time.Duration(e.TimeMS * float64(time.Millisecond)))
}

type harRequest struct {
	Method  string `json:"method"`
	URL     string `json:"url"`
	Headers []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"headers"`
	PostData *struct {
		MimeType string `json:"mimeType"`
		Text     string `json:"text"`
		Encoding string `json:"encoding"`
		Params   []struct {
			Name     string `json:"name"`
			Value    string `json:"value"`
			FileName string `json:"fileName"`
		} `json:"params"`
	} `json:"postData"`
}

// A HAROptions says what of a HAR file is taken.
type HAROptions struct {
	// Assets takes in images, styles, scripts and fonts.
	Assets bool
}

// FromHAR reads a HAR file. Requests of one page become one page of the
// recording, in the order in which they began; the pauses between pages are
// those that were recorded. An error names the entry that can't be used.
func FromHAR(file io.Reader, o HAROptions) (Recording, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxHAR+1))
	if err != nil {
		return Recording{}, fmt.Errorf("read the HAR file: %w", err)
	}
	if len(text) > maxHAR {
		return Recording{}, fmt.Errorf("the HAR file has more than %d MiB; save it without contents", maxHAR>>20)
	}
	var h har
	if err := json.Unmarshal(text, &h); err != nil {
		return Recording{}, fmt.Errorf("it is not a HAR file: %w", err)
	}
	if h.Log == nil {
		return Recording{}, errors.New(`it is not a HAR file: it has no "log"`)
	}
	entries := slices.Clone(h.Log.Entries)
	slices.SortStableFunc(entries, func(a, b harEntry) int { return a.Started.Compare(b.Started) })

	titles := map[string]string{}
	for _, p := range h.Log.Pages {
		titles[p.ID] = p.Title
	}
	var r Recording
	var errs []error
	var end time.Time // of all requests so far
	index := map[string]int{}
	for i, e := range entries {
		if !o.Assets && isAsset(e) {
			r.note("Images, styles, scripts and fonts were left out; --assets takes them in.")
			continue
		}
		q, ok, err := r.harRequest(e.Request)
		if err != nil {
			errs = append(errs, fmt.Errorf("entry %d: %w", i, err))
		}
		if !ok {
			continue
		}
		at, seen := index[e.Page]
		if !seen {
			at = len(r.Pages)
			index[e.Page] = at
			r.Pages = append(r.Pages, Page{Title: titles[e.Page], Think: pause(end, e.Started)})
		}
		r.Pages[at].Requests = append(r.Pages[at].Requests, q)
		if e.ended().After(end) {
			end = e.ended()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Recording{}, err
	}
	if len(r.Pages) == 0 {
		return Recording{}, errors.New("the HAR file has no request that could be repeated")
	}
	return r, nil
}

// pause is the time between two pages, in whole seconds.
func pause(end, start time.Time) time.Duration {
	if end.IsZero() || !start.After(end) {
		return 0
	}
	return start.Sub(end).Round(time.Second)
}

var assetTypes = []string{"image/", "font/", "video/", "audio/", "text/css", "text/javascript", "application/javascript", "application/x-javascript", "application/font"}

var assetNames = []string{".css", ".js", ".mjs", ".map", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif", ".ico", ".woff", ".woff2", ".ttf"}

func isAsset(e harEntry) bool {
	if e.Request.Method != "GET" {
		return false
	}
	kind := strings.ToLower(e.Answer.Content.MimeType)
	if slices.ContainsFunc(assetTypes, func(t string) bool { return strings.HasPrefix(kind, t) }) {
		return true
	}
	file, _, _ := strings.Cut(e.Request.URL, "?")
	return slices.Contains(assetNames, strings.ToLower(path.Ext(file)))
}

// harRequest makes a request of an entry's. It is false for one that is not of
// HTTP, such as a data: address.
func (r *Recording) harRequest(h harRequest) (Request, bool, error) {
	scheme, _, _ := strings.Cut(h.URL, ":")
	if s := strings.ToLower(scheme); s != "http" && s != "https" {
		r.note(fmt.Sprintf("Requests to %s: addresses were left out.", s))
		return Request{}, false, nil
	}
	u, err := parseURL(h.URL)
	if err != nil {
		return Request{}, false, err
	}
	q := Request{Method: strings.ToUpper(h.Method), URL: u}
	for _, head := range h.Headers {
		q.Headers = r.keep(q.Headers, head.Name, head.Value)
	}
	p := h.PostData
	if p == nil {
		return q, true, nil
	}
	q.Body = p.Text
	if p.Encoding == "base64" {
		raw, err := base64.StdEncoding.DecodeString(p.Text)
		if err != nil {
			return Request{}, false, fmt.Errorf("body of %s: %w", h.URL, err)
		}
		q.Body = string(raw)
	}
	kind, _, _ := mime.ParseMediaType(p.MimeType)
	if kind == "multipart/form-data" && p.Text == "" {
		r.note(fmt.Sprintf("%s %s was left out: the HAR file does not have its body.", q.Method, u))
		return Request{}, false, nil
	}
	if kind == "application/x-www-form-urlencoded" && len(p.Params) > 0 && p.Text == "" {
		for _, f := range p.Params {
			q.Form = append(q.Form, Field{f.Name, f.Value})
		}
	}
	return q, true, nil
}
