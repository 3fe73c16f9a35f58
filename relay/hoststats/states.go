package hoststats

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/metrics"
)

// countShare bounds what counting connections costs: after a count that took
// so long, there is none for countShare times as long.
const countShare = 50

// countPatience is how long Read waits for a count. One that takes longer, as with
// very many connections or a busy machine, is in what a later Read returns: frames
// must not be late for it.
const countPatience = 100 * time.Millisecond

// stateFields are the fields of TCP states by their number in the kernel
// (include/net/tcp_states.h). State 12 is a connection that is half made.
var stateFields = [...]string{
	1: "tcp_established", 2: "tcp_syn_sent", 3: "tcp_syn_recv", 4: "tcp_fin_wait1", 5: "tcp_fin_wait2",
	6: "tcp_time_wait", 7: "tcp_close", 8: "tcp_close_wait", 9: "tcp_last_ack", 10: "tcp_listen", 11: "tcp_closing",
	12: "tcp_syn_recv",
}

// A count is one of connections.
type count struct {
	states map[string]float64
	err    error
	took   time.Duration
}

// readStates counts the TCP connections of the network namespace by state. A
// generator may have very many of them, which takes the kernel time to list;
// then the last count stands for a while. The library is not used for it, as it
// looks through the files of every process to tell whose each connection is.
func (r *Reader) readStates(ctx context.Context) ([]metrics.HostPoint, error) {
	if r.counting == nil && !time.Now().Before(r.tcpFrom) {
		done := make(chan count, 1) // so that it ends whether Read waits or not
		r.counting = done
		r.counts.Go(func() {
			begin := time.Now()
			states, err := countStates(r.ended, "/proc/net/tcp", "/proc/net/tcp6")
			done <- count{states, err, time.Since(begin)}
		})
	}
	if r.counting != nil {
		patience := time.NewTimer(r.patience)
		defer patience.Stop()
		select {
		case c := <-r.counting:
			r.counting, r.tcpFrom = nil, time.Now().Add((countShare-1)*c.took)
			if c.err != nil {
				return nil, c.err
			}
			r.tcp = c.states
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	if r.tcp == nil {
		return nil, nil
	}
	return []metrics.HostPoint{{Name: "netstat", Fields: maps.Clone(r.tcp)}}, nil
}

// countStates counts the connections in the tables. One that is not there, for
// want of IPv6, has none; but one of them has to be. It stops when ctx ends.
func countStates(ctx context.Context, tables ...string) (map[string]float64, error) {
	counts := make(map[string]float64)
	for _, field := range stateFields[1:] {
		counts[field] = 0
	}
	var read int
	for _, path := range tables {
		table, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = countTable(ctx, table, counts)
		_ = table.Close() // was only read
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		read++
	}
	if read == 0 {
		return nil, fmt.Errorf("none of the tables of connections is there: %s", strings.Join(tables, ", "))
	}
	return counts, nil
}

// countTable adds up the states in a table as proc(5) describes /proc/net/tcp:
// a heading, then a line for each connection, whose fourth word is the state in
// hexadecimal.
func countTable(ctx context.Context, table io.Reader, counts map[string]float64) error {
	lines := bufio.NewScanner(table)
	lines.Scan()
	for ctx.Err() == nil && lines.Scan() {
		words := bytes.Fields(lines.Bytes())
		if len(words) < 4 {
			continue
		}
		state, err := strconv.ParseUint(string(words[3]), 16, 8)
		if err != nil || state == 0 || state >= uint64(len(stateFields)) {
			continue
		}
		counts[stateFields[state]]++
	}
	return errors.Join(ctx.Err(), lines.Err())
}
