//go:build linux

package h1_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/loadgen/h1"
)

// stats returns the pool's, asked on the loop.
func (b *bench) stats() (s h1.Stats) {
	b.on(func() { s = b.pool.Stats() })
	return s
}

// gate serves hello once for each value that it is given.
func gate(open <-chan struct{}) func(int, *net.TCPConn) {
	return func(_ int, c *net.TCPConn) {
		for readHead(c) {
			if _, ok := <-open; !ok {
				return
			}
			_, _ = io.WriteString(c, hello)
		}
	}
}

func TestExchangesWaitInTheirOrderWhenAllConnectionsAreBusy(t *testing.T) {
	open := make(chan struct{}, 100)
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 2))
	var sent []int
	all := make([]*record, 10)
	for i := range all {
		all[i] = b.exchange()
		all[i].onSent = func() { sent = append(sent, i) }
		all[i].begin()
	}
	waittest.Until(t, "two are under way", patience, func() bool { return b.stats().Busy == 2 })
	if s := b.stats(); s.Waiting != 8 || s.Connections != 2 {
		t.Errorf("while the server waits: %+v", s)
	}
	for range all {
		open <- struct{}{}
	}
	longest := time.Duration(0)
	for i, r := range all {
		if r.wait(); r.end.Err != nil || r.Blocked() <= 0 {
			t.Errorf("exchange %d: %v, blocked for %v", i, r.end.Err, r.Blocked())
		}
		longest = max(longest, r.Blocked())
	}
	if !slices.IsSorted(sent) {
		t.Errorf("sent in the order %v", sent)
	}
	if s := b.stats(); s.Opened != 2 || s.Delayed != 10 || s.LongestWait != longest {
		t.Errorf("in the end %+v; the longest wait was %v", s, longest)
	}
	r := b.exchange().begin()
	open <- struct{}{}
	if r.wait(); r.Blocked() != 0 {
		t.Errorf("with a free connection blocked for %v", r.Blocked())
	}
}

func TestConnectionThatIsClosedAsItIsUsedAgainIsStale(t *testing.T) {
	b := mustPool(t, to(mustServe(t, func(_ int, c *net.TCPConn) {
		answering(hello)(0, c)
		readHead(c) // and no answer
	}), 1))
	if r := b.exchange().begin().wait(); r.end.Err != nil {
		t.Fatal(r.end.Err)
	}
	if r := b.exchange().begin().wait(); r.kind() != h1.Stale || r.sent != 1 {
		t.Errorf("got %v", r.end.Err)
	}
	if r := b.exchange().begin().wait(); r.end.Err != nil {
		t.Errorf("on a new connection: %v", r.end.Err)
	}
	if s := b.stats(); s.Stale != 1 || s.Opened != 2 {
		t.Errorf("counted %+v", s)
	}
}

func TestConnectionThatIsClosedWhileIdleIsNotUsed(t *testing.T) {
	b := mustPool(t, to(mustServe(t, answering(hello)), 1))
	for range 20 {
		if r := b.exchange().begin().wait(); r.end.Err != nil {
			t.Fatal(r.end.Err)
		}
		waittest.Until(t, "the connection is gone", patience, func() bool { return b.stats().Connections == 0 })
	}
}

func TestNobodyListens(t *testing.T) {
	address := netip.MustParseAddrPort(waittest.FreeAddress(t))
	b := mustPool(t, to(address, 3))
	for range 2 {
		all := make([]*record, 20)
		for i := range all {
			all[i] = b.exchange().begin()
		}
		for _, r := range all {
			if r.wait(); r.kind() != h1.Refused || r.sent != 0 || !strings.Contains(r.end.Err.Error(), address.String()) {
				t.Errorf("got %v, sent %d", r.end.Err, r.sent)
			}
		}
	}
	if s := b.stats(); s.Failed != 40 || s.Waiting != 0 {
		t.Errorf("counted %+v", s)
	}
}

// full returns the address of a listener that accepts nothing more.
func full(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", address.String()) // which takes the only place
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return address
}

func TestServerThatDoesNotAcceptIsUnreachable(t *testing.T) {
	cfg := to(full(t), 1)
	cfg.ConnectTimeout = 50 * time.Millisecond
	b := mustPool(t, cfg)
	if r := b.exchange().begin().wait(); r.kind() != h1.Unreachable || r.Blocked() < cfg.ConnectTimeout {
		t.Errorf("got %v, blocked for %v", r.end.Err, r.Blocked())
	}
}

func TestDescriptorsRunOut(t *testing.T) {
	address := mustServe(t, forever(hello))
	b := mustPool(t, to(address, 1))
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	r := b.exchange()
	b.on(func() {
		none := unix.Rlimit{Cur: 0, Max: limit.Max}
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &none, nil); err != nil {
			t.Error(err)
		}
		b.pool.Do(&r.Exchange)
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Error(err)
		}
	})
	if r.wait(); r.kind() != h1.Exhausted {
		t.Errorf("got %v", r.end.Err)
	}
	if r := b.exchange().begin().wait(); r.end.Err != nil {
		t.Errorf("afterwards: %v", r.end.Err)
	}
}

func TestTimeoutCountsFromSending(t *testing.T) {
	open := make(chan struct{}, 1)
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 1))
	short := func(r *record) { r.Timeout = 100 * time.Millisecond }
	first, second := b.exchange(short).begin(), b.exchange(short).begin()
	if first.wait(); first.kind() != h1.Timeout {
		t.Errorf("the first: %v", first.end.Err)
	}
	if second.wait(); second.kind() != h1.Timeout || second.Blocked() <= 0 {
		t.Errorf("the second: %v, blocked for %v", second.end.Err, second.Blocked())
	}
	if s := b.stats(); s.Opened != 2 || s.Closed != 2 {
		t.Errorf("a timeout does not close its connection: %+v", s)
	}
}

func TestTimeoutsOfEarlierExchangesDoNotEndLaterOnes(t *testing.T) {
	open := make(chan struct{}, 1)
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 1))
	open <- struct{}{}
	if r := b.exchange(func(r *record) { r.Timeout = time.Minute }).begin().wait(); r.end.Err != nil {
		t.Fatal(r.end.Err)
	}
	short := b.exchange(func(r *record) { r.Timeout = 20 * time.Millisecond }).begin().wait() // earlier than the one before
	if short.kind() != h1.Timeout {
		t.Errorf("got %v", short.end.Err)
	}
}

func TestCancel(t *testing.T) {
	open := make(chan struct{}, 10)
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 1))
	sent, waits, fine := b.exchange().begin(), b.exchange().begin(), b.exchange().begin()
	waittest.Until(t, "the first is sent", patience, func() bool { return b.stats().Busy == 1 })
	b.on(func() {
		for _, r := range []*record{waits, sent} {
			b.pool.Cancel(&r.Exchange)
			if r.kind() != h1.Cancelled {
				t.Errorf("cancelled: %v", r.end.Err)
			}
			b.pool.Cancel(&r.Exchange) // is over
		}
	})
	open <- struct{}{} // for the connection that is gone
	open <- struct{}{}
	if fine.wait(); fine.end.Err != nil || fine.body.String() != "hello" {
		t.Errorf("the other: %v", fine.end.Err)
	}
	inside := b.exchange()
	inside.onBody = func() { b.pool.Cancel(&inside.Exchange) }
	open <- struct{}{}
	if inside.begin().wait(); inside.kind() != h1.Cancelled {
		t.Errorf("cancelled within the body: %v", inside.end.Err)
	}
}

func TestCloseEndsAll(t *testing.T) {
	open := make(chan struct{})
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 2))
	all := make([]*record, 5)
	for i := range all {
		all[i] = b.exchange().begin()
	}
	waittest.Until(t, "two are under way", patience, func() bool { return b.stats().Busy == 2 })
	b.on(b.pool.Close)
	all = append(all, b.exchange().begin())
	for _, r := range all {
		if r.wait(); r.kind() != h1.Cancelled {
			t.Errorf("got %v", r.end.Err)
		}
	}
	if s := b.stats(); s.Connections+s.Busy+s.Waiting != 0 {
		t.Errorf("left %+v", s)
	}
}

func TestOpenMakesAndKeepsConnections(t *testing.T) {
	kill := make(chan struct{})
	b := mustPool(t, h1.Config{
		Addresses: []netip.AddrPort{mustServe(t, func(n int, c *net.TCPConn) {
			if n == 0 {
				<-kill
				return
			}
			forever(hello)(n, c)
		})},
		Min: 3, Max: 5, Spare: 1,
	})
	ready := make(chan error, 1)
	b.on(func() { b.pool.Open(func(err error) { ready <- err }) })
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	if s := b.stats(); s.Connections != 3 {
		t.Errorf("ready with %+v", s)
	}
	close(kill)
	waittest.Until(t, "a lost connection is replaced", patience, func() bool {
		s := b.stats()
		return s.Opened == 4 && s.Connections == 3
	})
	if r := b.exchange().begin().wait(); r.end.Err != nil || r.Blocked() != 0 {
		t.Errorf("got %v, blocked for %v", r.end.Err, r.Blocked())
	}
}

func TestOpenTellsThatNobodyListens(t *testing.T) {
	address := waittest.FreeAddress(t)
	b := mustPool(t, h1.Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort(address)}, Min: 2, Max: 2})
	ready := make(chan error, 2)
	b.on(func() { b.pool.Open(func(err error) { ready <- err }) })
	if err := <-ready; h1.KindOf(err) != h1.Refused {
		t.Errorf("ready: %v", err)
	}
	serveOn(t, address, forever(hello))
	waittest.Until(t, "the connections are made later", patience, func() bool { return b.stats().Connections == 2 })
	if len(ready) != 0 {
		t.Error("ready is called twice")
	}
}

func TestIdleConnectionsAboveMinAreClosed(t *testing.T) {
	open := make(chan struct{}, 10)
	defer close(open)
	cfg := to(mustServe(t, gate(open)), 4)
	cfg.Min, cfg.IdleTimeout = 1, 20*time.Millisecond
	b := mustPool(t, cfg)
	for range 4 {
		b.exchange().begin()
	}
	waittest.Until(t, "all are under way", patience, func() bool { return b.stats().Busy == 4 })
	for range 5 {
		open <- struct{}{}
	}
	waittest.Until(t, "one is left", patience, func() bool {
		s := b.stats()
		return s.Opened == 4 && s.Connections == 1 && s.Busy == 0
	})
	if r := b.exchange().begin().wait(); r.end.Err != nil || r.Blocked() != 0 {
		t.Errorf("got %v, blocked for %v", r.end.Err, r.Blocked())
	}
}

func TestHoldsKeepTheirConnection(t *testing.T) {
	b := mustPool(t, to(mustServe(t, func(n int, c *net.TCPConn) {
		forever(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n))(n, c)
	}), 2))
	var holds [2]h1.Hold
	ask := func(h *h1.Hold) string {
		r := b.exchange(func(r *record) { r.Hold = h }).begin().wait()
		return r.body.String() + fmt.Sprint(r.kind())
	}
	got := make([]string, 6)
	for i := range got {
		got[i] = ask(&holds[i%2])
	}
	if want := []string{"0none", "1none", "0none", "1none", "0none", "1none"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	waits := b.exchange().begin() // both are held
	if s := b.stats(); s.Waiting != 1 {
		t.Errorf("with all held: %+v", s)
	}
	b.on(func() { b.pool.Release(&holds[1], false) })
	if waits.wait(); waits.body.String() != "1" {
		t.Errorf("got %q by the connection that was given back", waits.body.String())
	}
	b.on(func() { b.pool.Release(&holds[0], true) })
	if s := b.stats(); s.Connections != 1 || s.Closed != 1 {
		t.Errorf("after a release that closes: %+v", s)
	}
}

func TestHoldIsServedByItsOwnConnectionFirst(t *testing.T) {
	open := make(chan struct{}, 10)
	defer close(open)
	b := mustPool(t, to(mustServe(t, gate(open)), 1))
	var h h1.Hold
	held := func(r *record) { r.Hold = &h }
	first, other, second := b.exchange(held).begin(), b.exchange().begin(), b.exchange(held).begin()
	open <- struct{}{}
	open <- struct{}{}
	first.wait()
	if second.wait(); second.end.Err != nil {
		t.Error(second.end.Err)
	}
	if s := b.stats(); s.Waiting != 1 {
		t.Errorf("the other does not wait: %+v", s)
	}
	b.on(func() { b.pool.Release(&h, false) })
	open <- struct{}{}
	if other.wait(); other.end.Err != nil {
		t.Error(other.end.Err)
	}
}

func TestNoReuseTakesANewConnectionEachTime(t *testing.T) {
	cfg := to(mustServe(t, forever(hello)), 2)
	cfg.NoReuse = true
	b := mustPool(t, cfg)
	for range 5 {
		if r := b.exchange().begin().wait(); r.end.Err != nil {
			t.Error(r.end.Err)
		}
	}
	if s := b.stats(); s.Opened != 5 || s.Connections != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestConnectionsAreDividedAmongAddresses(t *testing.T) {
	name := func(name string) func(int, *net.TCPConn) {
		return forever("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)
	}
	cfg := h1.Config{Addresses: []netip.AddrPort{mustServe(t, name("a")), mustServe(t, name("b"))}, Max: 4, NoReuse: true}
	b := mustPool(t, cfg)
	var got string
	for range 4 {
		got += b.exchange().begin().wait().body.String()
	}
	b.on(func() { b.pool.SetAddresses(cfg.Addresses[1:]) })
	for range 2 {
		got += b.exchange().begin().wait().body.String()
	}
	if got != "ababbb" {
		t.Errorf("served by %s", got)
	}
}

func TestLargeBodiesAreSentInFull(t *testing.T) {
	got := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		got <- fmt.Sprintf("%s %d %v %x", r.Method, n, err, sum.Sum(nil))
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	b := mustPool(t, to(netip.MustParseAddrPort(listener.Addr().String()), 1))
	for _, size := range []int{0, 1, 16 << 10, 16<<10 + 1, 20 << 20} {
		body := bytes.Repeat([]byte("loads!"), size/6+1)[:size]
		r := b.exchange(func(r *record) { r.Request = mustRequest(t, "POST", body) }).begin().wait()
		if r.end.Err != nil || r.status != 200 || r.end.BytesOut != int64(r.Request.Size()) {
			t.Errorf("%d bytes: status %d, %v, %d out", size, r.status, r.end.Err, r.end.BytesOut)
		}
		if want, g := fmt.Sprintf("POST %d <nil> %x", size, sha256.Sum256(body)), <-got; g != want {
			t.Errorf("the server got %s, want %s", g, want)
		}
	}
	if s := b.stats(); s.Opened != 1 {
		t.Errorf("took %d connections", s.Opened)
	}
}

func TestAnswerBeforeTheRequestIsSentInFull(t *testing.T) {
	over := make(chan struct{})
	b := mustPool(t, to(mustServe(t, func(_ int, c *net.TCPConn) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		<-over // what is not read can't be sent in full
	}), 1))
	defer close(over)
	r := b.exchange(func(r *record) { r.Request = mustRequest(t, "POST", make([]byte, 20<<20)) }).begin().wait()
	if r.end.Err != nil || r.status != 413 {
		t.Errorf("got %d, %v", r.status, r.end.Err)
	}
	if s := b.stats(); s.Connections != 0 {
		t.Errorf("the connection, in the middle of a request, is kept: %+v", s)
	}
}

func TestAGigabyteIsCountedInFullAndNotKept(t *testing.T) {
	const size = 1 << 30
	address := mustServe(t, func(_ int, c *net.TCPConn) {
		piece := make([]byte, 1<<20)
		for readHead(c) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			for range size / len(piece) {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}
	})
	b := mustPool(t, to(address, 2))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	big := b.exchange(func(r *record) { r.discard = true }).begin()
	big.wait()
	runtime.ReadMemStats(&after)
	if big.end.Err != nil || big.bytes != size {
		t.Errorf("got %d bytes, %v", big.bytes, big.end.Err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("took %d bytes of memory", grown)
	}
}

func TestIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6, so its refusal is looked at: %v", err)
		b := mustPool(t, to(netip.MustParseAddrPort("[::1]:1"), 1))
		if r := b.exchange().begin().wait(); r.end.Err == nil {
			t.Error("connected without IPv6")
		}
		return
	}
	_ = listener.Close()
	b := mustPool(t, to(serveOn(t, "[::1]:0", forever(hello)), 1))
	if r := b.exchange().begin().wait(); r.end.Err != nil {
		t.Error(r.end.Err)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	b := mustPool(t, to(mustServe(t, func(_ int, c *net.TCPConn) {
		head, answer := make([]byte, 4096), []byte(hello)
		for { // allocates nothing either
			if n, err := c.Read(head); err != nil || !bytes.HasSuffix(head[:n], []byte("\r\n\r\n")) {
				return
			}
			_, _ = c.Write(answer)
		}
	}), 4))
	u := &busyUser{pool: b.pool, target: []byte("/some/where?a=b"), accept: []byte("*/*")}
	u.Exchange = h1.Exchange{Request: mustRequest(t, "GET", nil), Handler: u, Timeout: patience, Headers: true}
	run := func(n int) uint64 {
		var before, after runtime.MemStats
		u.left, u.done = n, make(chan struct{})
		runtime.ReadMemStats(&before)
		b.loop.Post(u.next)
		<-u.done
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	const n = 5000
	for _, patient := range []bool{false, true} {
		u.Patient = patient
		run(100)
		// What the runtime does by itself, and starting, is a handful.
		if got := run(n); got > n/50 || u.err != nil {
			t.Errorf("%d requests, patient: %v, allocated %d times; %v", n, patient, got, u.err)
		}
	}
}

// busyUser asks again as soon as it has its answer.
type busyUser struct {
	h1.Exchange
	quiet
	pool           *h1.Pool
	target, accept []byte
	left           int
	err            error
	done           chan struct{}
}

func (u *busyUser) next() { u.pool.Do(&u.Exchange) }

func (u *busyUser) OnEnd(e h1.End) {
	if e.Err != nil {
		u.err = e.Err
	}
	if u.left--; u.left <= 0 {
		close(u.done)
		return
	}
	u.Request.Begin("GET", u.target, "server.test") // as sessions do whose requests differ
	u.Request.Header("Accept", u.accept)
	_ = u.Request.End(nil)
	u.next()
}
