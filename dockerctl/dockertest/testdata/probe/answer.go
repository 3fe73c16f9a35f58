package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// answer serves HTTP until it has answered so many requests. How long it takes
// for an answer is the distribution's, such as 10x70,40x30: 70 of 100 requests
// in a row take 10 ms, mixed with 30 that take 40. It prints of each request
// when it came, how long it took, in microseconds, and who asked, in which phase.
func answer(addr, count, distribution string) error {
	total, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	times, err := mixed(distribution)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var mu sync.Mutex
	came, answered := 0, 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		mu.Lock()
		wait := times[came%len(times)]
		came++
		mu.Unlock()
		time.Sleep(wait)
		took := time.Since(at)
		fmt.Fprintln(w, "hello")
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(os.Stdout, "request", at.UnixMicro(), took.Microseconds(), r.FormValue("machine"), r.FormValue("phase"))
		if answered++; answered == total {
			stop()
		}
	})}
	go server.Serve(ln)
	<-ctx.Done()
	limited, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return server.Shutdown(limited)
}

// mixed reads a distribution of 100 times, and puts them into an order in which
// equal ones are not beside each other.
func mixed(distribution string) ([]time.Duration, error) {
	var sorted []time.Duration
	for part := range strings.SplitSeq(distribution, ",") {
		var ms, n int
		if _, err := fmt.Sscanf(part, "%dx%d", &ms, &n); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		for range n {
			sorted = append(sorted, time.Duration(ms)*time.Millisecond)
		}
	}
	const all, stride = 100, 37 // which have no common divisor
	if len(sorted) != all {
		return nil, fmt.Errorf("%s are %d times, want %d", distribution, len(sorted), all)
	}
	order := make([]time.Duration, all)
	for i := range order {
		order[i] = sorted[i*stride%all]
	}
	return order, nil
}
