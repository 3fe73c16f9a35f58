package influx

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/loads/loads/broker"
)

// Names of what SetUp makes: the organization and bucket of InfluxDB 2, or the
// database of 1.8.
const (
	freshOrg    = "loads"
	freshBucket = "loads"
)

// A Login is how to use a server that SetUp has made ready.
type Login struct{ Token, Org, Bucket string }

// SetUp makes a server that nobody has used yet ready: with a first user, whose
// password is also the token of InfluxDB 2, and a place for points. Which version
// it is, the server says. It may be called again with the same user and
// password. EUnavailable says that the server does not answer, or not yet.
func SetUp(ctx context.Context, address, user, password string, trusted *tls.Config) (Login, error) {
	s := &setup{base: strings.TrimRight(address, "/"), user: user, password: password}
	transport := &http.Transport{TLSClientConfig: trusted, DisableKeepAlives: true}
	s.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	res, _, err := s.ask(ctx, http.MethodGet, "/api/v2/setup", nil, nil)
	switch {
	case err != nil:
		return Login{}, err
	case res.StatusCode == http.StatusNotFound: // 1.8 has no such thing
		return s.one(ctx)
	case res.StatusCode == http.StatusOK:
		return s.two(ctx)
	}
	return Login{}, unready(res)
}

type setup struct {
	base, user, password string
	client               *http.Client
}

// one makes a server of version 1.8 ready. The first user can be made without
// one, and nothing else can.
func (s *setup) one(ctx context.Context) (Login, error) {
	anyone := func(*http.Request) {}
	known := func(r *http.Request) { r.SetBasicAuth(s.user, s.password) }
	makeUser := fmt.Sprintf(`CREATE USER %q WITH PASSWORD '%s' WITH ALL PRIVILEGES`, s.user, s.password)
	makeDatabase := fmt.Sprintf(`CREATE DATABASE %q`, freshBucket)
	res, _, err := s.query(ctx, makeUser, anyone)
	if err == nil && res.StatusCode/100 == 5 {
		err = unready(res)
	}
	if err != nil {
		return Login{}, err
	}
	// Refused, when the user has been made before: then it is known.
	res, text, err := s.query(ctx, makeDatabase, known)
	if err != nil {
		return Login{}, err
	}
	var answer struct {
		Error   string
		Results []struct{ Error string }
	}
	_ = json.Unmarshal(text, &answer) // what can't be read has a status that says enough
	if res.StatusCode != http.StatusOK || answer.Error != "" || len(answer.Results) != 1 || answer.Results[0].Error != "" {
		return Login{}, unready(res)
	}
	return Login{Token: s.user + ":" + s.password, Bucket: freshBucket + "/autogen"}, nil
}

func (s *setup) query(ctx context.Context, q string, as func(*http.Request)) (*http.Response, []byte, error) {
	form := url.Values{"q": {q}}.Encode()
	return s.ask(ctx, http.MethodPost, "/query", []byte(form), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		as(r)
	})
}

// two makes a server of version 2 ready.
func (s *setup) two(ctx context.Context) (Login, error) {
	login := Login{Token: s.password, Org: freshOrg, Bucket: freshBucket}
	body, err := json.Marshal(map[string]any{
		"username": s.user, "password": s.password, "token": s.password,
		"org": freshOrg, "bucket": freshBucket, "retentionPeriodSeconds": 0,
	})
	if err != nil {
		return Login{}, fmt.Errorf("write request: %w", err)
	}
	res, _, err := s.ask(ctx, http.MethodPost, "/api/v2/setup", body, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
	})
	if err != nil {
		return Login{}, err
	}
	if res.StatusCode == http.StatusCreated {
		return login, nil
	}
	// Refused, when that was done before: then the token is known.
	res, _, err = s.ask(ctx, http.MethodGet, "/api/v2/buckets?name="+freshBucket, nil, func(r *http.Request) {
		r.Header.Set("Authorization", "Token "+s.password)
	})
	if err != nil {
		return Login{}, err
	}
	if res.StatusCode != http.StatusOK {
		return Login{}, unready(res)
	}
	return login, nil
}

// unready tells of an answer by its status only: what a server says may repeat
// what it was sent.
func unready(res *http.Response) error {
	return broker.Errorf(broker.EUnavailable, "InfluxDB is not ready, it answers %s to %s", res.Status, res.Request.URL.Path)
}

func (s *setup) ask(ctx context.Context, method, path string, body []byte, change func(*http.Request)) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("make request: %w", err)
	}
	if change != nil {
		change(req)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, nil, &broker.Error{Code: broker.EUnavailable, Message: "InfluxDB does not answer", Err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, nil, &broker.Error{Code: broker.EUnavailable, Message: "InfluxDB does not answer", Err: err}
	}
	return res, text, nil
}
