package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/images"
	"github.com/loads/loads/images/order"
)

// runImages spreads images: serve gives what is in the store to other machines
// and to the machine's own engine, get brings something into it.
func runImages(ctx context.Context, p program, args []string) error {
	fs := p.flags("images")
	dir := fs.String("store", order.Store, "`folder` of the images' parts")
	path := fs.String("order", order.Path, "`file` that says what to get")
	address := fs.String("address", "", "`address` of the machine, for others")
	seed := fs.String("seed", "", "`digest` of the node image's layer, for engines that have nothing yet")
	positional, err := p.parse(fs, args, 1)
	if err != nil {
		return err
	}
	store, err := images.NewStore(*dir)
	if err != nil {
		return err
	}
	switch positional[0] {
	case "serve":
		return serveImages(ctx, store, *address, *seed)
	case "get":
		return p.getImage(ctx, store, *path)
	}
	return fmt.Errorf("it is serve or get, not %q", positional[0])
}

func (p program) getImage(ctx context.Context, store *images.Store, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var o order.Order
	if err := json.Unmarshal(raw, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	f := images.Fetcher{Store: store, Files: images.DefaultFiles(), Root: "/"}
	result, err := f.Get(ctx, o)
	if images.IsLocal(err) {
		fmt.Fprintf(p.stderr, "loads-node images: %v\n", err)
		return exitError(order.LocalFault)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(p.stdout).Encode(result)
}

// serveImages serves until it is told to end.
func serveImages(ctx context.Context, store *images.Store, address, seed string) error {
	if net.ParseIP(address) == nil || seed == "" {
		return errors.New("--address or --seed is missing")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		host    string
		port    int
		tls     *tls.Config
		handler http.Handler
	}{
		{address, order.PeerPort, images.PeerTLS(images.DefaultFiles()), store.Peers()},
		{address, order.SeedPort, nil, store.Seed(seed)},
		{"127.0.0.1", order.LocalPort, nil, store.Registry()},
	} {
		at := net.JoinHostPort(s.host, fmt.Sprint(s.port))
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", at)
		if err != nil {
			cancel()
			return errors.Join(fmt.Errorf("listen on %s: %w", at, err), group.Wait())
		}
		if s.tls != nil {
			listener = tls.NewListener(listener, s.tls)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", at, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			return server.Close()
		})
	}
	return group.Wait()
}
