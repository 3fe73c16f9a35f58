package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/loads/loads/broker"
)

// callTimeout bounds each call that is neither a stream nor a wait.
const callTimeout = time.Minute

// maxAnswer bounds what the client reads of one answer, in bytes.
const maxAnswer = 256 << 20

// Client calls a broker over HTTP. Its methods may be called by many
// goroutines at once; its fields must not change meanwhile.
//
// Errors that the broker answered are *broker.Error with the same code,
// sentence and faults as on its side. A broker that can't be reached gives
// EUnavailable.
type Client struct {
	// BaseURL is where the broker listens, for example http://127.0.0.1:8080.
	BaseURL string
	// Token is sent with every call unless it is empty.
	Token string
	// HTTP makes the calls; nil is http.DefaultClient. It must not have a
	// Timeout, which would cut streams.
	HTTP *http.Client
	// Retrying, when not nil, is told by Events and Logs that the stream broke and how
	// long it waits before it asks again.
	Retrying func(err error, wait time.Duration)
}

// request is one call.
type request struct {
	method  string
	path    string // escaped, from /
	query   url.Values
	header  http.Header
	body    []byte // nil is none
	forever bool   // not bounded by callTimeout
}

// call makes the request and reads the JSON answer into out, unless out is nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	if !r.forever {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	resp, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return c.unreadable(ctx, err)
	}
	return nil
}

// open makes the request and returns an answer of status 2xx, whose body the
// caller closes.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.build(ctx, r)
	if err != nil {
		return nil, err
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, readFailure(resp)
	}
	return resp, nil
}

func (c *Client) build(ctx context.Context, r request) (*http.Request, error) {
	target := strings.TrimRight(c.BaseURL, "/") + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil || req.URL.Host == "" {
		return nil, &broker.Error{
			Code:    broker.EInvalid,
			Message: fmt.Sprintf("%q is not the address of a broker; give one such as http://127.0.0.1:8080.", c.BaseURL),
			Err:     err,
		}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return req, nil
}

// unreachable makes an error of a call that got no answer. The caller's own
// end of the context stays what it is.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("call broker: %w", context.Canceled)
	}
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return &broker.Error{
		Code:    broker.EUnavailable,
		Message: fmt.Sprintf("The broker at %s can't be reached; see that it runs and that the address is right", c.BaseURL),
		Err:     err,
	}
}

// unreadable makes an error of an answer that broke off or is not ours.
func (c *Client) unreadable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("read answer: %w", context.Canceled)
	}
	return &broker.Error{
		Code:    broker.EUnavailable,
		Message: fmt.Sprintf("The answer of %s can't be read; is it a broker?", c.BaseURL),
		Err:     err,
	}
}

// readFailure makes a broker.Error of an answer that is not 2xx.
func readFailure(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	var f Failure
	if err != nil || json.Unmarshal(text, &f) != nil || f.Message == "" {
		return broker.Errorf(codeOf(resp.StatusCode), "The server answered %s, which is not a broker's answer.", resp.Status)
	}
	return failureError(resp.StatusCode, f)
}

func failureError(status int, f Failure) error {
	return &broker.Error{Code: codeOf(status), Message: f.Message, Faults: f.Faults}
}

func get(path string, query url.Values) request {
	return request{method: http.MethodGet, path: path, query: query}
}

// jsonRequest makes a request whose body is v in JSON.
func jsonRequest(method, path string, v any) (request, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return request{}, fmt.Errorf("write request: %w", err)
	}
	return request{
		method: method, path: path, body: body,
		header: http.Header{"Content-Type": {"application/json"}},
	}, nil
}

// text makes a request whose body is a file, in YAML or JSON.
func textRequest(method, path string, query url.Values, data []byte) request {
	return request{
		method: method, path: path, query: query, body: data,
		header: http.Header{"Content-Type": {"application/yaml"}},
	}
}
