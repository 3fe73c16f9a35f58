package loadgen

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

const (
	// packetSize is how much goes into one datagram; it fits into one frame of
	// every usual network.
	packetSize = 1400
	// flushInterval is how long a line may wait for its datagram to be full.
	flushInterval = 100 * time.Millisecond
)

// Statsd sends metrics to a statsd receiver, several lines in a packet. Its
// methods may be called by many goroutines at once. A nil *Statsd sends
// nothing.
type Statsd struct {
	conn net.Conn
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	lines []byte // not sent yet
	lost  int    // packets that could not be sent
}

// DialStatsd returns a client for the UDP address, for example
// "172.18.0.1:8125". Close it in the end.
func DialStatsd(address string) (*Statsd, error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return nil, fmt.Errorf("dial statsd at %s: %w", address, err)
	}
	s := &Statsd{conn: conn, stop: make(chan struct{}), lines: make([]byte, 0, packetSize)}
	s.done.Go(s.flushAtIntervals)
	return s, nil
}

// Count adds n to a counter. Tags are written name:value.
func (s *Statsd) Count(name string, n int, tags ...string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(name, tags)
	s.lines = strconv.AppendInt(s.lines, int64(n), 10)
	s.end("|c", tags)
}

// Time adds a duration to a timer, which is in milliseconds.
func (s *Statsd) Time(name string, d time.Duration, tags ...string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(name, tags)
	s.lines = strconv.AppendFloat(s.lines, float64(d)/float64(time.Millisecond), 'f', -1, 64)
	s.end("|ms", tags)
}

// begin writes the name, after making room for the line.
func (s *Statsd) begin(name string, tags []string) {
	const number, marks = 32, 8
	size := len(name) + number + marks
	for _, t := range tags {
		size += len(t) + 1
	}
	if len(s.lines)+size > packetSize {
		s.flush()
	}
	s.lines = append(append(s.lines, name...), ':')
}

func (s *Statsd) end(kind string, tags []string) {
	s.lines = append(s.lines, kind...)
	for i, t := range tags {
		mark := ","
		if i == 0 {
			mark = "|#"
		}
		s.lines = append(append(s.lines, mark...), t...)
	}
	s.lines = append(s.lines, '\n')
}

func (s *Statsd) flush() {
	if len(s.lines) == 0 {
		return
	}
	if _, err := s.conn.Write(s.lines[:len(s.lines)-1]); err != nil {
		s.lost++
	}
	s.lines = s.lines[:0]
}

func (s *Statsd) flushAtIntervals() {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.mu.Lock()
			s.flush()
			s.mu.Unlock()
		}
	}
}

// Close sends what is left. It is an error if packets could not be sent, as
// when nothing listens at the address.
func (s *Statsd) Close() error {
	if s == nil {
		return nil
	}
	close(s.stop)
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close statsd: %w", err)
	}
	if s.lost > 0 {
		return fmt.Errorf("send to statsd at %s: %d packets were refused", s.conn.RemoteAddr(), s.lost)
	}
	return nil
}
