//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/metrics"
)

// A way is a client on one of the ways that Go has to many sockets: a closed loop, or
// with a rate a uniform timetable. All ask for the same, and put the latency of
// each request into a sketch. See decision 42.
type way struct {
	address     netip.AddrPort
	connections int
	loops       int // threads, or for goroutines GOMAXPROCS
	rate        float64
	grain       time.Duration // see engine.Config
	duration    time.Duration
}

// tally is what a way, or a part of it, has counted.
type tally struct {
	requests, failed int
	latency          *metrics.Sketch
}

func (t *tally) add(from, to loop.Instant, err error) {
	t.requests++
	if err != nil {
		t.failed++
		return
	}
	t.latency.Add(float64(to-from)/1e6, 1)
}

// runWay is the command "benchgen way NAME".
func runWay(ctx context.Context, name string, args []string) error {
	ways := map[string]func(way, context.Context) ([]*tally, error){
		"epoll": way.epoll,
		"conn":  func(w way, ctx context.Context) ([]*tally, error) { return w.goroutines(ctx, connExchange) },
		"raw":   func(w way, ctx context.Context) ([]*tally, error) { return w.goroutines(ctx, rawExchange) },
	}
	run, ok := ways[name]
	if !ok {
		return fmt.Errorf("the ways are epoll, conn and raw; there is no %q", name)
	}
	var w way
	f := flag.NewFlagSet("way "+name, flag.ExitOnError)
	f.TextVar(&w.address, "address", netip.MustParseAddrPort("127.0.0.1:80"), "of the server")
	f.IntVar(&w.connections, "connections", 64, "how many")
	f.IntVar(&w.loops, "threads", 2, "how many")
	f.Float64Var(&w.rate, "rate", 0, "requests a second; 0 is as many as go")
	f.DurationVar(&w.grain, "grain", engine.DefaultGrain, "how far apart requests may be due that leave together")
	f.DurationVar(&w.duration, "duration", 3*time.Second, "of the load")
	if err := f.Parse(args); err != nil {
		return err
	}
	tallies, err := run(w, ctx)
	if err != nil {
		return err
	}
	sum := tally{latency: metrics.NewSketch()}
	for _, t := range tallies {
		sum.requests += t.requests
		sum.failed += t.failed
		if err := sum.latency.Merge(t.latency); err != nil {
			return err
		}
	}
	q := sum.latency.Quantiles(0.5, 0.99)
	fmt.Printf("%d %d %g %g\n", sum.requests, sum.failed, q[0], q[1])
	return nil
}

// request is what all ways send.
func (w way) request() []byte {
	return []byte("GET / HTTP/1.1\r\nHost: " + w.address.String() + "\r\n\r\n")
}

// goroutines is a closed loop with a goroutine for each connection.
func (w way) goroutines(ctx context.Context, exchange func(*net.TCPConn) (func(request, buffer []byte) error, error)) ([]*tally, error) {
	if w.rate > 0 {
		return nil, errors.New("only the way epoll has a timetable")
	}
	runtime.GOMAXPROCS(w.loops)
	end := loop.Now().Add(w.duration)
	tallies, errs := make([]*tally, w.connections), make([]error, w.connections)
	var users sync.WaitGroup
	for i := range tallies {
		t := &tally{latency: metrics.NewSketch()}
		tallies[i] = t
		users.Go(func() {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.address.String())
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			do, err := exchange(c.(*net.TCPConn))
			if err != nil {
				errs[i] = err
				return
			}
			request, buffer := w.request(), make([]byte, 4096)
			for now := loop.Now(); now < end; {
				err := do(request, buffer)
				then := loop.Now()
				if t.add(now, then, err); err != nil {
					return
				}
				now = then
			}
		})
	}
	users.Wait()
	return tallies, errors.Join(errs...)
}

// connExchange uses Write and Read of net.Conn.
func connExchange(c *net.TCPConn) (func(request, buffer []byte) error, error) {
	return func(request, buffer []byte) error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		for n := 0; !isWhole(buffer[:n]); {
			more, err := c.Read(buffer[n:])
			if err != nil {
				return err
			}
			n += more
		}
		return nil
	}, nil
}

// rawExchange makes the system calls by itself, without telling the runtime, and
// uses the runtime's poller to wait only.
func rawExchange(c *net.TCPConn) (func(request, buffer []byte) error, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var buffer []byte
	var n int
	var fault error
	read := func(fd uintptr) bool {
		more, errno := receive(int(fd), buffer[n:])
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			fault = errno
		case more == 0:
			fault = net.ErrClosed
		}
		n += more
		return true
	}
	var request []byte
	write := func(fd uintptr) bool {
		if sent, errno := send(int(fd), request); errno != 0 || sent < len(request) {
			fault = errors.Join(errno, errors.New("the request was not sent in one piece"))
		}
		return true
	}
	return func(req, buf []byte) error {
		request, buffer, n, fault = req, buf, 0, nil
		if err := raw.Write(write); err != nil {
			return err
		}
		for fault == nil && !isWhole(buffer[:n]) {
			if err := raw.Read(read); err != nil {
				return err
			}
		}
		return fault
	}, nil
}

// isWhole reports whether an answer with a Content-Length is there in full.
func isWhole(b []byte) bool {
	const name = "Content-Length: "
	head := bytes.Index(b, []byte("\r\n\r\n"))
	at := bytes.Index(b, []byte(name))
	if head < 0 || at < 0 {
		return false
	}
	line, _, _ := bytes.Cut(b[at+len(name):], []byte("\r\n"))
	length, err := strconv.Atoi(string(line))
	return err == nil && len(b) >= head+4+length
}
