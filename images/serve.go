package images

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/loads/loads/images/order"
)

// Peers answers other machines: GET /blobs/DIGEST. Who asks was checked by TLS.
func (s *Store) Peers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, r.PathValue("digest"), "application/octet-stream")
	})
	return mux
}

// Seed answers engines that have no node program yet, and so no certificate,
// with one blob: the layer of the node image, which is no secret. Who lets an
// engine fetch it checks what it got.
func (s *Store) Seed(layer string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+layer, func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, layer, "application/x-tar")
	})
	return mux
}

// Registry answers the machine's own engine, as a registry from which images
// can be pulled by digest, under any name.
func (s *Store) Registry() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		parts := strings.Split(r.PathValue("rest"), "/")
		if n := len(parts); n >= 3 && parts[n-2] == "blobs" {
			s.serve(w, r, parts[n-1], "application/octet-stream")
			return
		} else if n >= 3 && parts[n-2] == "manifests" {
			m, _, err := s.manifest(parts[n-1])
			if err != nil {
				http.NotFound(w, r)
				return
			}
			s.serve(w, r, parts[n-1], m.MediaType)
			return
		}
		if r.PathValue("rest") != "" {
			http.NotFound(w, r)
		}
	})
	return mux
}

// serve answers with a blob, or the part of it that is asked for.
func (s *Store) serve(w http.ResponseWriter, r *http.Request, digest, mediaType string) {
	f, err := s.Open(digest)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Etag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// PeerTLS is how a machine proves that it is the run's, and has others prove
// it, with the certificates in the files. They are read anew for each
// connection: a broker that is started again replaces them.
func PeerTLS(files Files) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, pool, err := files.load()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"http/1.1"},
			}, nil
		},
	}
}

// Files are the paths of a machine's certificates, PEM.
type Files struct{ CA, Cert, Key string }

// DefaultFiles are those that the broker puts into containers.
func DefaultFiles() Files { return Files{order.CAFile, order.CertFile, order.KeyFile} }

func (f Files) load() (tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return pair, nil, fmt.Errorf("read the certificate for spreading images: %w", err)
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return pair, nil, fmt.Errorf("read the certificate for spreading images: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return pair, nil, errors.New("read the certificate for spreading images: the authority's is none")
	}
	return pair, pool, nil
}
