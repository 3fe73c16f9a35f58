package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// dnsUpstreamTimeout is how long one upstream may take.
	dnsUpstreamTimeout = 2 * time.Second
	// dnsIdleTimeout ends a TCP connection without questions.
	dnsIdleTimeout = 10 * time.Second
	// dnsMaxForwards bounds the questions that wait for an upstream; more get
	// SERVFAIL at once. dnsMaxConns bounds TCP connections; more wait.
	dnsMaxForwards = 256
	dnsMaxConns    = 64
	// dnsMaxSize is more than any message has.
	dnsMaxSize = 64 << 10
)

// DNSConfig says what a name server answers.
type DNSConfig struct {
	// Listen is the address for UDP and TCP, for example "172.18.0.1:53".
	Listen string
	// NamesFile is a JSON object of names and their IPv4 addresses:
	// {"web": ["172.18.0.1", "172.19.0.1"]}. It is read again when it changes,
	// and need not exist.
	NamesFile string
	// Upstreams are the name servers ("1.2.3.4" or "1.2.3.4:53") for all other
	// names, tried in order. Nil takes those of /etc/resolv.conf.
	Upstreams []string
	// Log gets what the server says about itself; nil drops it.
	Log *slog.Logger
	// Ready, when not nil, is called once with the address that is listened on.
	Ready func(net.Addr)
}

// ServeDNS answers questions until ctx is done, and then returns nil. It is an
// error if the address can't be bound.
//
// A name of the file gets its addresses, each answer beginning with the next
// one, as many as the answer has room for; other types of records than A are
// empty for it. All other questions go to the upstreams as they are, over the
// protocol they came with; if none answers, the answer is SERVFAIL.
func ServeDNS(ctx context.Context, cfg DNSConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	udp, tcp, err := listenBoth(ctx, cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for name queries on %s: %w", cfg.Listen, err)
	}
	defer udp.Close()
	defer tcp.Close()
	// A question that is lost is asked again after seconds, which a load
	// generator would measure as the service's.
	withRoom(udp.(*net.UDPConn), cfg.Log) // as the network is "udp"
	s := &nameServer{
		log:       cfg.Log,
		names:     &nameTable{file: cfg.NamesFile, log: cfg.Log},
		upstreams: upstreamsOf(cfg, udp.LocalAddr().String()),
		forwards:  make(chan struct{}, dnsMaxForwards),
		conns:     make(chan struct{}, dnsMaxConns),
	}
	cfg.Log.Info("names are resolved", "address", udp.LocalAddr().String(), "upstreams", s.upstreams)
	if cfg.Ready != nil {
		cfg.Ready(udp.LocalAddr())
	}
	return s.serve(ctx, udp, tcp)
}

// nameServer answers queries. One goroutine reads UDP, one accepts TCP; they
// start one for each question that is forwarded and for each connection.
type nameServer struct {
	log       *slog.Logger
	names     *nameTable
	upstreams []string
	forwards  chan struct{} // holds an entry for each question under way
	conns     chan struct{} // holds an entry for each connection
	wg        sync.WaitGroup
}

// serve runs until ctx is done, and returns when all goroutines have ended.
func (s *nameServer) serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		_ = udp.Close()
		_ = tcp.Close()
	})
	defer stop()
	var err error
	s.wg.Go(func() {
		defer cancel()
		err = s.serveUDP(ctx, udp)
	})
	s.wg.Go(func() { s.serveTCP(ctx, tcp) })
	s.wg.Wait()
	return err
}

func (s *nameServer) serveUDP(ctx context.Context, conn net.PacketConn) error {
	buf := make([]byte, dnsMaxSize)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read name query: %w", err)
		}
		q, ok := parseQuestion(buf[:n])
		if !ok {
			continue
		}
		if answer, known := s.names.answer(q, q.udpSize); known {
			_, _ = conn.WriteTo(answer, from) // a lost answer is asked for again
			continue
		}
		q.raw = append([]byte(nil), q.raw...) // buf is read into again
		s.forwardUDP(ctx, conn, from, q)
	}
}

// forwardUDP answers from an upstream, in a goroutine of its own.
func (s *nameServer) forwardUDP(ctx context.Context, conn net.PacketConn, from net.Addr, q question) {
	select {
	case s.forwards <- struct{}{}:
	default:
		_, _ = conn.WriteTo(q.failure(), from)
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.forwards }()
		_, _ = conn.WriteTo(s.forward(ctx, "udp", q), from)
	})
}

func (s *nameServer) serveTCP(ctx context.Context, listener net.Listener) {
	for {
		select {
		case s.conns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			s.pause(ctx, err) // for example too many open files, which passes
			<-s.conns
			continue
		}
		s.wg.Go(func() {
			defer func() { <-s.conns }()
			s.serveConn(ctx, conn)
		})
	}
}

// pause waits a moment after an error.
func (s *nameServer) pause(ctx context.Context, err error) {
	s.log.Warn("name queries over TCP wait", "error", err)
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}

// serveConn answers the questions of one connection, one after the other. Its
// errors are the client's affair.
func (s *nameServer) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		if conn.SetDeadline(time.Now().Add(dnsIdleTimeout)) != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		q, ok := parseQuestion(query)
		if !ok {
			return
		}
		answer, known := s.names.answer(q, dnsMaxSize-1)
		if !known {
			answer = s.forward(ctx, "tcp", q)
		}
		if writeMessage(conn, answer) != nil {
			return
		}
	}
}

// forward returns the first upstream's answer, or SERVFAIL.
func (s *nameServer) forward(ctx context.Context, network string, q question) []byte {
	var errs []error
	for _, upstream := range s.upstreams {
		answer, err := ask(ctx, network, upstream, q)
		if err == nil {
			return answer
		}
		errs = append(errs, err)
	}
	s.log.Debug("no upstream answers", "name", q.Name.String(), "error", errors.Join(errs...))
	return q.failure()
}

// ask sends the question to a name server and returns its answer.
func ask(ctx context.Context, network, server string, q question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsUpstreamTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, fmt.Errorf("ask name server: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	answer, err := exchange(conn, network, q)
	if err != nil {
		return nil, fmt.Errorf("ask name server %s: %w", server, err)
	}
	return answer, nil
}

func exchange(conn net.Conn, network string, q question) ([]byte, error) {
	if network == "tcp" {
		if err := writeMessage(conn, q.raw); err != nil {
			return nil, err
		}
		return readMessage(conn)
	}
	if _, err := conn.Write(q.raw); err != nil {
		return nil, err
	}
	buf := make([]byte, dnsMaxSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if q.answeredBy(buf[:n]) {
			return buf[:n], nil
		}
	}
}

// readMessage reads a message as it goes over TCP, after its length.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(message)+2), uint16(len(message)))
	_, err := w.Write(append(framed, message...))
	return err
}
