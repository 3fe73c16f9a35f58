package grafana

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/broker"
)

const (
	// DataSourceUID is the uid of the data source that a Client makes.
	DataSourceUID = "loads-influxdb"

	requestTimeout = 20 * time.Second
	maxAnswer      = 32 << 20
	maxAnnotations = 5000
)

// A DataSource is the InfluxDB that Grafana is to read.
type DataSource struct {
	URL   string // as Grafana reaches it
	Token string // as the broker has it; it is kept among Grafana's secrets
	// Database is the bucket of InfluxDB 2, or the database of 1.8.
	Database string
	// CA, when not empty, is the certificate that an https URL is known by, as
	// PEM, and ServerName the name in it.
	CA, ServerName string
}

// A Client publishes by Grafana's HTTP API. It may be used by many goroutines
// at once.
type Client struct {
	base   string
	public string // where people find it
	token  string
	http   *http.Client
}

// NewClient makes a client of the Grafana at the address base, with the token
// of a service account that may edit dashboards and data sources, or
// user:password. People reach it at public, when that is not empty, else at
// base. It gives EInvalid for what is no address.
func NewClient(base, public, token string) (*Client, error) {
	for _, address := range []string{base, cmp.Or(public, base)} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, broker.Errorf(broker.EInvalid, "The address of Grafana is wrong; give one such as http://127.0.0.1:3000, without a user.")
		}
	}
	return &Client{
		base: strings.TrimRight(base, "/"), public: strings.TrimRight(cmp.Or(public, base), "/"),
		token: token, http: &http.Client{Timeout: requestTimeout},
	}, nil
}

// Trust says by which certificates an https address is known. It is for before
// the client is used.
func (c *Client) Trust(certificates *tls.Config) {
	c.http.Transport = &http.Transport{TLSClientConfig: certificates, IdleConnTimeout: time.Minute}
}

// Answers reports whether Grafana says that it is well.
func (c *Client) Answers(ctx context.Context) bool {
	return c.call(ctx, http.MethodGet, "/api/health", nil, nil) == nil
}

// A statusError is an answer that is no success.
type statusError struct {
	status  int
	message string
}

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("%s (%d): %s", http.StatusText(e.status), e.status, e.message)
}

func hasStatus(err error, statuses ...int) bool {
	var e *statusError
	if !errors.As(err, &e) {
		return false
	}
	for _, s := range statuses {
		if e.status == s {
			return true
		}
	}
	return false
}

// call makes one request; in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("write request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	// The token of a service account has no colon.
	if user, password, ok := strings.Cut(c.token, ":"); ok {
		req.SetBasicAuth(user, password)
	} else {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return &statusError{status: res.StatusCode, message: messageOf(text)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

// messageOf is the reason in an error's answer, of bounded length.
func messageOf(text []byte) string {
	var answer struct{ Message string }
	message := string(text)
	if json.Unmarshal(text, &answer) == nil && answer.Message != "" {
		message = answer.Message
	}
	return strings.ToValidUTF8(message[:min(len(message), 300)], "")
}

// EnsureDataSource makes the data source, or brings it to what is given. Its
// token can't be read back, so a changed one alone is not noticed.
func (c *Client) EnsureDataSource(ctx context.Context, s DataSource) error {
	shown := object{"dbName": s.Database, "httpMode": "POST", "httpHeaderName1": "Authorization"}
	secret := object{"httpHeaderValue1": "Token " + s.Token}
	if s.CA != "" {
		shown["tlsAuthWithCACert"], shown["serverName"], secret["tlsCACert"] = true, s.ServerName, s.CA
	}
	want := object{
		"uid": DataSourceUID, "name": "Loads", "type": "influxdb", "access": "proxy", "url": s.URL, "database": s.Database,
		"jsonData": shown, "secureJsonData": secret,
	}
	var have object
	err := c.call(ctx, http.MethodGet, "/api/datasources/uid/"+DataSourceUID, nil, &have)
	switch {
	case hasStatus(err, http.StatusNotFound):
		err = c.call(ctx, http.MethodPost, "/api/datasources", want, nil)
	case err != nil:
	case have["url"] != want["url"] || have["database"] != want["database"]:
		err = c.call(ctx, http.MethodPut, "/api/datasources/uid/"+DataSourceUID, want, nil)
	}
	if err != nil {
		return fmt.Errorf("make data source: %w", err)
	}
	return nil
}

// EnsureFolder makes the folder of that uid. When another folder has its
// title, the title gets the beginning of the uid.
func (c *Client) EnsureFolder(ctx context.Context, uid, title string) error {
	err := c.call(ctx, http.MethodGet, "/api/folders/"+url.PathEscape(uid), nil, nil)
	if hasStatus(err, http.StatusNotFound) {
		err = c.call(ctx, http.MethodPost, "/api/folders", object{"uid": uid, "title": title}, nil)
	}
	if hasStatus(err, http.StatusConflict) {
		err = c.call(ctx, http.MethodPost, "/api/folders", object{"uid": uid, "title": fmt.Sprintf("%s (%.8s)", title, uid)}, nil)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// PutDashboard brings the dashboard to what is given, in the folder of that
// uid, and returns its address. Nothing is written when it is so already.
func (c *Client) PutDashboard(ctx context.Context, folder string, dashboard []byte) (string, error) {
	var want object
	if err := json.Unmarshal(dashboard, &want); err != nil {
		return "", fmt.Errorf("read dashboard: %w", err)
	}
	var have struct {
		Dashboard object
		Meta      struct{ FolderUID, URL string }
	}
	uid, _ := want["uid"].(string)
	err := c.call(ctx, http.MethodGet, "/api/dashboards/uid/"+url.PathEscape(uid), nil, &have)
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return "", fmt.Errorf("read dashboard: %w", err)
	}
	// These two are Grafana's own.
	delete(have.Dashboard, "id")
	delete(have.Dashboard, "version")
	if err == nil && have.Meta.FolderUID == folder && reflect.DeepEqual(have.Dashboard, want) {
		return c.address(have.Meta.URL), nil
	}
	var saved struct{ URL string }
	err = c.call(ctx, http.MethodPost, "/api/dashboards/db", object{"dashboard": want, "folderUid": folder, "overwrite": true}, &saved)
	if err != nil {
		return "", fmt.Errorf("publish dashboard: %w", err)
	}
	return c.address(saved.URL), nil
}

// address makes a whole address for people of a path as Grafana gives it,
// which has the path of its own address in it when it is served from below one.
func (c *Client) address(path string) string {
	u, err := url.Parse(c.public)
	if err != nil {
		return c.public + path
	}
	if prefix := strings.TrimRight(u.Path, "/"); prefix != "" && strings.HasPrefix(path, prefix+"/") {
		path = strings.TrimPrefix(path, prefix)
	}
	return c.public + path
}

// storedAnnotation is an annotation as Grafana has it.
type storedAnnotation struct {
	ID      int64    `json:"id,omitempty"`
	UID     string   `json:"dashboardUID,omitempty"`
	Time    int64    `json:"time"`
	TimeEnd int64    `json:"timeEnd"`
	Text    string   `json:"text"`
	Tags    []string `json:"tags"`
}

// PutAnnotations brings the annotations of a dashboard to those given, by
// their keys. Others are left alone.
func (c *Client) PutAnnotations(ctx context.Context, dashboard string, marks []Annotation) error {
	var have []storedAnnotation
	q := url.Values{"dashboardUID": {dashboard}, "tags": {"loads"}, "limit": {strconv.Itoa(maxAnnotations)}, "type": {"annotation"}}
	if err := c.call(ctx, http.MethodGet, "/api/annotations?"+q.Encode(), nil, &have); err != nil {
		return fmt.Errorf("read annotations: %w", err)
	}
	byKey := map[string]storedAnnotation{}
	for _, a := range have {
		for _, tag := range a.Tags {
			byKey[tag] = a
		}
	}
	for _, m := range marks {
		want := storedAnnotation{Time: m.From, TimeEnd: m.To, Text: m.Text, Tags: m.Tags}
		old, found := byKey[m.Key]
		method, path := http.MethodPut, "/api/annotations/"+strconv.FormatInt(old.ID, 10)
		switch {
		case !found:
			method, path, want.UID = http.MethodPost, "/api/annotations", dashboard
		case old.Time == want.Time && old.TimeEnd == want.TimeEnd && old.Text == want.Text:
			continue
		}
		if err := c.call(ctx, method, path, want, nil); err != nil {
			return fmt.Errorf("publish annotation %s: %w", m.Key, err)
		}
	}
	return nil
}
