package light

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/trust"
)

// deaf is how long a connection outlives the network it was on: after that, the
// keep-alive of whoever is at its other end would have found out. The kernel
// answers it here, and can't be kept from that.
const deaf = time.Minute

// A listener marks the connections that it accepts as the machine's.
type listener struct {
	net.Listener
	machine *Machine
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.machine.link(conn), nil
}

// A link is a connection to a machine. It stands still while the machine is
// cut off the network, and for good if the machine's rules don't admit it.
type link struct {
	net.Conn
	machine *Machine
	barred  bool

	once   sync.Once
	closed chan struct{}
}

// link notes a connection to the machine.
func (m *Machine) link(conn net.Conn) *link {
	l := &link{Conn: conn, machine: m, closed: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.barred = !m.admits(conn.RemoteAddr())
	m.links[l] = true
	return l
}

// admits reports whether a rule admits a peer to Docker's port. Other machines
// of the host never are a peer: nothing runs on them.
func (m *Machine) admits(from net.Addr) bool {
	peer, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return false
	}
	for _, r := range m.rules {
		if !r.Egress && r.Group == "" && onDockersPort(r) && r.Peer.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}

func onDockersPort(r ec2sim.Rule) bool {
	return r.Protocol == "-1" || r.Protocol == "tcp" && r.FromPort <= trust.Port && trust.Port <= r.ToPort
}

// Read implements net.Conn. What came while the machine was cut off is
// delivered when it is no more: the other end has sent it again.
func (l *link) Read(p []byte) (int, error) {
	if err := l.stand(); err != nil {
		return 0, err
	}
	n, err := l.Conn.Read(p)
	if standing := l.stand(); standing != nil {
		return 0, standing
	}
	return n, err
}

// Write implements net.Conn.
func (l *link) Write(p []byte) (int, error) {
	if err := l.stand(); err != nil {
		return 0, err
	}
	return l.Conn.Write(p)
}

// stand returns when nothing is in the connection's way, or it is closed.
func (l *link) stand() error {
	var limit <-chan time.Time
	for {
		l.machine.mu.Lock()
		cut := l.machine.cut
		l.machine.mu.Unlock()
		if cut == nil && !l.barred {
			return nil
		}
		if limit == nil {
			timer := time.NewTimer(deaf)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-cut:
		case <-limit:
			_ = l.Close()
			return net.ErrClosed
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.machine.mu.Lock()
		delete(l.machine.links, l)
		l.machine.mu.Unlock()
	})
	return l.Conn.Close()
}

// closeLinks ends all connections, as the machine's end or a long silence would.
func (m *Machine) closeLinks() {
	m.mu.Lock()
	var all []*link
	for l := range m.links {
		all = append(all, l)
	}
	m.mu.Unlock()
	for _, l := range all {
		if tcp, ok := l.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // nobody is there to say goodbye
		}
		_ = l.Close()
	}
}

// Cut implements ec2sim.Machine.
func (m *Machine) Cut(cut bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case cut == (m.cut != nil):
	case cut:
		cutOff := make(chan struct{})
		m.cut = cutOff
		m.silence = time.AfterFunc(deaf, func() { m.silenced(cutOff) })
	default:
		close(m.cut)
		m.cut = nil
		m.silence.Stop()
	}
	return nil
}

// silenced ends all connections unless the machine is back since.
func (m *Machine) silenced(since chan struct{}) {
	m.mu.Lock()
	still := m.cut == since
	m.mu.Unlock()
	if still {
		m.closeLinks()
	}
}
