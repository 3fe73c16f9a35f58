package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// namesMaxAge is how long the names are trusted though the file's time and
// size are the same: a file replaced within the clock's grain looks unchanged.
const namesMaxAge = time.Second

// nameTable is what the names file says, and whose turn it is.
type nameTable struct {
	file string
	log  *slog.Logger

	mu     sync.Mutex
	read   time.Time   // when the file was last looked into
	stat   os.FileInfo // of that time; nil when there was no file
	names  map[string][][4]byte
	turns  map[string]int // answers given, by name
	failed string         // the last fault logged
}

// answer returns the answer to the question if its name is in the file. It
// gives no more addresses than fit in size bytes.
func (t *nameTable) answer(q question, size int) ([]byte, bool) {
	if q.Class != dnsmessage.ClassINET {
		return nil, false
	}
	name := normalName(q.Name.String())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh()
	addresses, known := t.names[name]
	if !known {
		return nil, false
	}
	if q.Type != dnsmessage.TypeA {
		return q.answerWith(dnsmessage.RCodeSuccess, nil), true
	}
	turn := t.turns[name]
	t.turns[name] = turn + 1
	return q.answerWith(dnsmessage.RCodeSuccess, rotated(addresses, turn, q.room(size))), true
}

// room returns how many A records an answer of that size can hold. Each takes
// 16 bytes, as its name is a pointer to the question's.
func (q question) room(size int) int {
	const header, record = 12, 16
	return max(0, (size-header-len(q.Name.String())-1-4)/record)
}

// rotated returns at most n addresses, beginning with the one whose turn it is.
func rotated(addresses [][4]byte, turn, n int) [][4]byte {
	out := make([][4]byte, 0, len(addresses))
	for i := range min(n, len(addresses)) {
		out = append(out, addresses[(turn+i)%len(addresses)])
	}
	return out
}

// refresh reads the file if it may have changed. A file that can't be read
// leaves the names as they are, since it may be in the middle of its writing;
// one that is gone has none.
func (t *nameTable) refresh() {
	stat, err := os.Stat(t.file)
	if errors.Is(err, fs.ErrNotExist) || t.file == "" {
		t.names, t.stat = nil, nil
		return
	}
	if err == nil && t.unchanged(stat) && time.Since(t.read) < namesMaxAge {
		return
	}
	names, err := readNames(t.file)
	if err != nil {
		if err.Error() != t.failed {
			t.failed = err.Error()
			t.log.Warn("names stay as they are", "error", err)
		}
		return
	}
	t.names, t.stat, t.read, t.failed = names, stat, time.Now(), ""
	if t.turns == nil || len(t.turns) > len(names) {
		t.turns = make(map[string]int, len(names))
	}
}

func (t *nameTable) unchanged(stat os.FileInfo) bool {
	return t.stat != nil && os.SameFile(t.stat, stat) &&
		t.stat.ModTime().Equal(stat.ModTime()) && t.stat.Size() == stat.Size()
}

func readNames(file string) (map[string][][4]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	var listed map[string][]string
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, fmt.Errorf("read names of %s: %w", file, err)
	}
	names := make(map[string][][4]byte, len(listed))
	for name, addresses := range listed {
		parsed := make([][4]byte, 0, len(addresses))
		for _, text := range addresses {
			address, err := netip.ParseAddr(text)
			if err != nil || !address.Unmap().Is4() {
				return nil, fmt.Errorf("read names of %s: %s: %q is no IPv4 address", file, name, text)
			}
			parsed = append(parsed, address.Unmap().As4())
		}
		names[normalName(name)] = parsed
	}
	return names, nil
}

// normalName returns the name in lower case, without the dot at its end.
func normalName(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// upstreamsOf returns the name servers to forward to, without ourselves.
func upstreamsOf(cfg DNSConfig, self string) []string {
	listed := cfg.Upstreams
	if listed == nil {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			cfg.Log.Warn("other names can't be resolved", "error", err)
		}
		listed = resolvConfServers(string(text))
	}
	var upstreams []string
	for _, server := range listed {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
		}
		if server != self {
			upstreams = append(upstreams, server)
		}
	}
	return upstreams
}

// resolvConfServers returns the name servers that a resolv.conf lists.
func resolvConfServers(text string) []string {
	var servers []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	return servers
}
