package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

const defaultHost = "unix:///var/run/docker.sock"

// An engine is a Docker engine, spoken to over HTTP.
type engine struct {
	host string // as in DOCKER_HOST
	base string // URL in front of every path
	http *http.Client
	out  io.Writer // gets what the verbs answer
}

// A request is one call of the engine's API. Its path carries no version,
// which means the engine's own: what is asked here is the same in all of them.
type request struct {
	method, path string
	query        url.Values
	kind         string // content type of the body
	body         io.Reader
}

// dial returns the engine at host, without connecting.
func dial(host string) (*engine, error) {
	if host == "" {
		host = defaultHost
	}
	scheme, address, _ := strings.Cut(host, "://")
	switch scheme {
	case "unix":
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address)
		}}
		return &engine{host: host, base: "http://docker", http: &http.Client{Transport: t}}, nil
	case "tcp":
		config, err := tlsConfig(os.Getenv("DOCKER_CERT_PATH"))
		if err != nil {
			return nil, err
		}
		if config == nil {
			return &engine{host: host, base: "http://" + address, http: &http.Client{}}, nil
		}
		t := &http.Transport{TLSClientConfig: config}
		return &engine{host: host, base: "https://" + address, http: &http.Client{Transport: t}}, nil
	}
	return nil, fmt.Errorf("DOCKER_HOST is %s; the scripts speak to unix:// and tcp:// only", host)
}

// tlsConfig reads docker's ca.pem, cert.pem and key.pem in the folder; it is
// nil when no folder is given.
func tlsConfig(folder string) (*tls.Config, error) {
	if folder == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read client certificate: %w", err)
	}
	pem, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}, nil
}

// A statusError is an answer of the engine that is not a success.
type statusError struct {
	Status  int
	Message string `json:"message"`
}

func (e *statusError) Error() string {
	return fmt.Sprintf("engine answers %d: %s", e.Status, e.Message)
}

// call sends a request and returns the answer's body, which the caller closes.
func (e *engine) call(ctx context.Context, r request) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, e.base+r.path+"?"+r.query.Encode(), r.body)
	if err != nil {
		return nil, err
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	res, err := e.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the Docker engine at %s: %w", e.host, errors.Unwrap(err))
	}
	if res.StatusCode < 400 {
		return res.Body, nil
	}
	defer res.Body.Close()
	fault := &statusError{Status: res.StatusCode}
	if err := json.NewDecoder(res.Body).Decode(fault); err != nil {
		fault.Message = res.Status
	}
	return nil, fault
}

// get decodes the JSON at a path into out.
func (e *engine) get(ctx context.Context, path string, query url.Values, out any) error {
	answer, err := e.call(ctx, request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	defer answer.Close()
	return json.NewDecoder(answer).Decode(out)
}

// post sends in as JSON and decodes the answer into out, each unless it is nil.
func (e *engine) post(ctx context.Context, path string, in, out any) error {
	r := request{method: http.MethodPost, path: path}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.kind, r.body = "application/json", bytes.NewReader(body)
	}
	answer, err := e.call(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(answer).Decode(out)
}

// version returns the engine's version.
func (e *engine) version(ctx context.Context) (string, error) {
	var answer struct{ Version string }
	err := e.get(ctx, "/version", nil, &answer)
	return answer.Version, err
}

// labelled writes a line for each container and each network with the label.
func (e *engine) labelled(ctx context.Context, label string) error {
	filter, err := json.Marshal(map[string][]string{"label": {label}})
	if err != nil {
		return err
	}
	query := url.Values{"filters": {string(filter)}, "all": {"1"}}
	var containers []struct {
		ID    string `json:"Id"`
		Names []string
		State string
	}
	if err := e.get(ctx, "/containers/json", query, &containers); err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers {
		fmt.Fprintf(e.out, "container %.12s %s %s\n", c.ID, strings.Join(c.Names, " "), c.State)
	}
	query.Del("all")
	var networks []struct{ ID, Name string }
	if err := e.get(ctx, "/networks", query, &networks); err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks {
		fmt.Fprintf(e.out, "network %.12s %s\n", n.ID, n.Name)
	}
	return nil
}
