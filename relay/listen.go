package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// bothTries is how many ports are tried, where any will do, until one is free for
// UDP and for TCP: connections to elsewhere have ports of TCP, too.
const bothTries = 50

// listenBoth listens on one port for UDP and for TCP. The errors say which.
func listenBoth(ctx context.Context, address string) (net.PacketConn, *net.TCPListener, error) {
	var lc net.ListenConfig
	_, port, _ := net.SplitHostPort(address) // listening says what is wrong with it
	for try := 1; ; try++ {
		udp, err := lc.ListenPacket(ctx, "udp", address)
		if err != nil {
			return nil, nil, err
		}
		tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp.(*net.TCPListener), nil // as the network is "tcp"
		}
		err = errors.Join(fmt.Errorf("on TCP as well: %w", err), udp.Close())
		if port != "0" || !errors.Is(err, syscall.EADDRINUSE) || try >= bothTries {
			return nil, nil, err
		}
	}
}
