package relay_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/relay"
)

// mustServe starts a name server and returns its address.
func mustServe(t *testing.T, cfg relay.DNSConfig) string {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.2:0"
	}
	ready := make(chan string, 1)
	cfg.Ready = func(a net.Addr) { ready <- a.String() }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- relay.ServeDNS(ctx, cfg) }()
	select {
	case address := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		return address
	case err := <-ended:
		cancel()
		t.Fatal(err)
		return ""
	}
}

func namesFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "names.json")
	writeFile(t, file, text)
	return file
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// resolver asks the server only, over the given protocol.
func resolver(address, network string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
}

func lookup(t *testing.T, r *net.Resolver, name string) []string {
	t.Helper()
	addresses, err := r.LookupHost(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return addresses
}

func TestDNSResolvesNamesOfTheFileInAnyCase(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{
		NamesFile: namesFile(t, `{"Web": ["172.18.0.1", "172.19.0.1"], "db.loads.": ["172.20.0.1"]}`), Upstreams: []string{},
	})
	for _, network := range []string{"udp", "tcp"} {
		r := resolver(address, network)
		for name, want := range map[string][]string{
			"web.":      {"172.18.0.1", "172.19.0.1"},
			"WEB.":      {"172.18.0.1", "172.19.0.1"},
			"db.loads.": {"172.20.0.1"},
		} {
			got := lookup(t, r, name)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s over %s: got %v, want %v", name, network, got, want)
			}
		}
	}
}

func TestDNSTurnsTheAddressesRound(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{
		NamesFile: namesFile(t, `{"web": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}`), Upstreams: []string{},
	})
	var firsts []string
	for range 6 {
		answer := exchange(t, address, "udp", query("web.", dnsmessage.TypeA, 0))
		firsts = append(firsts, addressesOf(t, answer)[0])
	}
	want := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.3"}
	if !slices.Equal(firsts, want) {
		t.Errorf("got first addresses %v, want %v", firsts, want)
	}
}

func TestDNSAnswersOtherTypesOfItsNamesWithNothing(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"web": ["10.0.0.1"]}`), Upstreams: []string{}})
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeTXT, dnsmessage.TypeSRV} {
		answer := exchange(t, address, "udp", query("web.", kind, 0))
		if answer.RCode != dnsmessage.RCodeSuccess || len(answer.Answers) != 0 {
			t.Errorf("%s: got %s with %d answers, want success with none", kind, answer.RCode, len(answer.Answers))
		}
	}
	answer := exchange(t, address, "udp", query("web.", dnsmessage.TypeA, 0))
	if h := answer.Answers[0].Header; h.TTL != 1 || !answer.Authoritative {
		t.Errorf("got TTL %d, authoritative %v, want 1, true", h.TTL, answer.Authoritative)
	}
}

func TestDNSReadsNamesAgainWhenTheyChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "names.json")
	address := mustServe(t, relay.DNSConfig{NamesFile: file, Upstreams: []string{}})
	r := resolver(address, "udp")
	if got, err := r.LookupHost(t.Context(), "web."); err == nil {
		t.Errorf("got %v without a file, want an error", got)
	}
	for _, want := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		writeFile(t, file, fmt.Sprintf(`{"web": [%q]}`, want))
		stamp := time.Unix(1_700_000_000, 0) // so that the change shows in neither time nor size
		if err := os.Chtimes(file, stamp, stamp); err != nil {
			t.Fatal(err)
		}
		until(t, "new address", func() bool {
			got, err := r.LookupHost(t.Context(), "web.")
			return err == nil && slices.Equal(got, []string{want})
		})
	}
	for _, broken := range []string{`{"web": [`, `{"web": ["nonsense"]}`, `{"web": ["::1"]}`, `[]`} {
		writeFile(t, file, broken)
		if got := lookup(t, r, "web."); !slices.Equal(got, []string{"10.0.0.3"}) {
			t.Errorf("with the file %q: got %v, want the names as they were", broken, got)
		}
	}
}

func TestDNSGivesAsManyAddressesAsFit(t *testing.T) {
	var list []string
	for i := range 200 {
		list = append(list, fmt.Sprintf(`"10.0.%d.%d"`, i/100, i%100))
	}
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"fleet": [`+strings.Join(list, ",")+`]}`), Upstreams: []string{}})
	for _, c := range []struct {
		name, network string
		edns          int
		want          int
	}{
		{"plain UDP", "udp", 0, 30},
		{"EDNS", "udp", 1232, 75},
		{"EDNS that asks for more than networks carry", "udp", 4096, 75},
		{"TCP", "tcp", 0, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := exchange(t, address, c.network, query("fleet.", dnsmessage.TypeA, c.edns))
			if got := len(answer.Answers); got != c.want || answer.Truncated {
				t.Errorf("got %d addresses, truncated %v, want %d whole", got, answer.Truncated, c.want)
			}
		})
	}
}

func TestDNSForwardsAllOtherNames(t *testing.T) {
	upstream := mustServe(t, relay.DNSConfig{Listen: "127.0.0.3:0", NamesFile: namesFile(t, `{"example.org": ["192.0.2.7"], "web": ["192.0.2.8"]}`), Upstreams: []string{}})
	nobody := closedAddress
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"web": ["10.0.0.1"]}`), Upstreams: []string{nobody, upstream}})
	for _, network := range []string{"udp", "tcp"} {
		r := resolver(address, network)
		for name, want := range map[string]string{"example.org.": "192.0.2.7", "web.": "10.0.0.1"} {
			if got := lookup(t, r, name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s over %s: got %v, want %s", name, network, got, want)
			}
		}
	}
}

func TestDNSFailsWhenNoUpstreamAnswers(t *testing.T) {
	for name, upstreams := range map[string][]string{"none": {}, "one that is closed": {closedAddress}} {
		t.Run(name, func(t *testing.T) {
			address := mustServe(t, relay.DNSConfig{Upstreams: upstreams})
			for _, network := range []string{"udp", "tcp"} {
				if answer := exchange(t, address, network, query("example.org.", dnsmessage.TypeA, 0)); answer.RCode != dnsmessage.RCodeServerFailure {
					t.Errorf("over %s: got %s, want SERVFAIL", network, answer.RCode)
				}
			}
		})
	}
}

func TestDNSDoesNotForwardToItself(t *testing.T) {
	address := waittest.FreeAddress(t)
	mustServe(t, relay.DNSConfig{Listen: address, Upstreams: []string{address}})
	atOnce := func() bool { // and not when it has given up waiting for itself, after 2 s
		start := time.Now()
		if answer := exchange(t, address, "udp", query("example.org.", dnsmessage.TypeA, 0)); answer.RCode != dnsmessage.RCodeServerFailure {
			t.Errorf("got %s, want SERVFAIL", answer.RCode)
		}
		return time.Since(start) < time.Second
	}
	waittest.Until(t, "the answer comes at once", 5*time.Minute, atOnce)
}

func TestDNSAnswersItsNamesWhileUpstreamsAreSlow(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.4:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"web": ["10.0.0.1"]}`), Upstreams: []string{silent.LocalAddr().String()}})
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	atOnce := func() bool { // and not when upstreams have been given up, after 2 s
		for range 400 { // more than may wait at once
			if _, err := conn.Write(query("example.org.", dnsmessage.TypeA, 0)); err != nil {
				t.Fatal(err)
			}
		}
		// Of so many at once some may be dropped; who asks does so again then.
		_, err := ask(address, "udp", query("web.", dnsmessage.TypeA, 0), time.Second)
		return err == nil
	}
	waittest.Until(t, "its own name is answered at once", 5*time.Minute, atOnce)
}

func TestDNSLeavesGarbageUnanswered(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"web": ["10.0.0.1"]}`), Upstreams: []string{}})
	send(t, address, "", "x", strings.Repeat("\xff", 500), strings.Repeat("\x00", 12))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\x05hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("got %d bytes for garbage over TCP, want the end", n)
	}
	exchange(t, address, "udp", query("web.", dnsmessage.TypeA, 0))
}

func TestDNSNamesTheAddressItCannotBind(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{Upstreams: []string{}})
	err := relay.ServeDNS(t.Context(), relay.DNSConfig{Listen: address})
	if err == nil || !strings.Contains(err.Error(), "listen for name queries on "+address) {
		t.Errorf("got %v, want an error that names %s", err, address)
	}
}

func TestDNSServesManyAtOnce(t *testing.T) {
	address := mustServe(t, relay.DNSConfig{NamesFile: namesFile(t, `{"web": ["10.0.0.1", "10.0.0.2"]}`), Upstreams: []string{}})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := resolver(address, []string{"udp", "tcp"}[i%2])
			for range 10 {
				if got, err := r.LookupHost(context.Background(), "web."); err != nil || len(got) != 2 {
					t.Errorf("got %v, %v, want two addresses", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// closedAddress is one on which nothing answers.
const closedAddress = "127.0.0.5:1"

func query(name string, kind dnsmessage.Type, edns int) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if edns > 0 {
		m.Additionals = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeOPT, Class: dnsmessage.Class(edns)},
			Body:   &dnsmessage.OPTResource{},
		}}
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// exchange asks the server and returns its answer.
func exchange(t *testing.T, address, network string, query []byte) dnsmessage.Message {
	t.Helper()
	m, err := ask(address, network, query, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != 4711 || !m.Response {
		t.Fatalf("got id %d, response %v, want 4711, true", m.ID, m.Response)
	}
	return m
}

// ask is exchange that waits no longer than the limit.
func ask(address, network string, query []byte, limit time.Duration) (m dnsmessage.Message, err error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return m, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return m, err
	}
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	if _, err := conn.Write(query); err != nil {
		return m, err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if network == "tcp" && err == nil {
		size := int(binary.BigEndian.Uint16(buf))
		_, err = io.ReadFull(conn, buf[n:2+size])
		buf, n = buf[2:], size
	}
	if err != nil {
		return m, err
	}
	return m, m.Unpack(buf[:n])
}

func addressesOf(t *testing.T, m dnsmessage.Message) []string {
	t.Helper()
	var addresses []string
	for _, a := range m.Answers {
		addresses = append(addresses, net.IP(a.Body.(*dnsmessage.AResource).A[:]).String())
	}
	if len(addresses) == 0 {
		t.Fatal("got no address")
	}
	return addresses
}
