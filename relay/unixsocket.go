package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// openUnixSocket opens a datagram socket that everybody may write to, in place
// of one that an earlier process has left.
func openUnixSocket(ctx context.Context, path string) (*net.UnixConn, error) {
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "unixgram", path)
	if err != nil {
		return nil, err
	}
	// Containers write to it under any user, as they do to a port.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket to all: %w", err), conn.Close())
	}
	return conn.(*net.UnixConn), nil // as the network is "unixgram"
}

// removeSocket removes a socket, but no file of another kind.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("replace socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("replace socket: there is a file that is none")
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replace socket: %w", err)
	}
	return nil
}
