package loadgen

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// linkTimeout is how long a Link waits for a connection, and for the relay to
// take what is sent.
const linkTimeout = 5 * time.Second

// A Link sends lines to the machine's relay over TCP, which loses none on the
// way. It connects when there is something to send, and again when the
// connection broke. What could not be sent is not sent again, as the relay may
// have some of it: it is counted as lost. One goroutine uses it.
type Link struct {
	address string
	conn    net.Conn
	lost    int // writes
	last    error
}

// NewLink returns a link to a relay's TCP address.
func NewLink(address string) *Link { return &Link{address: address} }

// Write sends whole lines, each ending in a newline.
func (l *Link) Write(lines []byte) (int, error) {
	if err := l.send(lines); err != nil {
		l.lost++
		l.last = err
		if l.conn != nil {
			// What is wrong with it is known.
			_ = l.conn.Close()
			l.conn = nil
		}
		return 0, err
	}
	return len(lines), nil
}

func (l *Link) send(lines []byte) error {
	if l.conn == nil {
		conn, err := net.DialTimeout("tcp", l.address, linkTimeout)
		if err != nil {
			return fmt.Errorf("connect to the relay: %w", err)
		}
		l.conn = conn
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(linkTimeout)); err != nil {
		return fmt.Errorf("send to the relay: %w", err)
	}
	if _, err := l.conn.Write(lines); err != nil {
		return fmt.Errorf("send to the relay: %w", err)
	}
	return nil
}

// Close ends the connection. It is an error if something was lost.
func (l *Link) Close() error {
	var err error
	if l.conn != nil {
		err = l.conn.Close()
	}
	if l.lost > 0 {
		err = errors.Join(err, fmt.Errorf("statistics were lost %d times, the last time: %w", l.lost, l.last))
	}
	return err
}
