//go:build !linux

package relay

import (
	"fmt"
	"net"
)

// raiseReadBuffer asks for a larger socket buffer; the size it got is unknown.
func raiseReadBuffer(conn *net.UDPConn) (int, error) {
	if err := conn.SetReadBuffer(1 << 20); err != nil {
		return 0, fmt.Errorf("raise socket buffer: %w", err)
	}
	return 0, nil
}
