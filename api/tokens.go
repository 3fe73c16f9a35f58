package api

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/loads/loads/broker"
)

// tokenBytes is the entropy of a token: 256 bits.
const tokenBytes = 32

// tokenPrefix makes a token that leaked into a repository easy to find.
const tokenPrefix = "loads_"

// Tokens are the bearer tokens that a server accepts, by their hashes. They do
// not change, so many goroutines may use them at once.
//
// A plain SHA-256 is enough here. Slow, salted hashes protect secrets that
// people choose, because those can be guessed; a token of 256 random bits can't
// be, however fast the hash. Tokens must therefore be made by NewToken or in a
// way as good.
type Tokens struct {
	entries []tokenEntry
}

type tokenEntry struct {
	name string
	hash [sha256.Size]byte
}

// NewToken makes a token for its holder, and the line of the tokens file that
// lets the broker know it. The name tells the lines apart and is shown in logs.
func NewToken(name string) (token, line string, err error) {
	if !tokenName().MatchString(name) {
		return "", "", broker.Errorf(broker.EInvalid,
			"%q can't name a token; give 1 to 64 letters, digits, dots, hyphens, underscores or @.", name)
	}
	secret := make([]byte, tokenBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", "", fmt.Errorf("make token: %w", err)
	}
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	return token, name + ":" + hex.EncodeToString(hash[:]), nil
}

func tokenName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`) }

// LoadTokens reads a tokens file: one name:sha256hex a line; empty lines and
// lines that begin with # say nothing. A file without any token is an error.
func LoadTokens(path string) (*Tokens, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "The file of tokens can't be read: %v.", err)
	}
	t, err := ParseTokens(data)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "The file of tokens %s can't be used: %v.", path, err)
	}
	return t, nil
}

// ParseTokens reads the text of a tokens file. Its errors name the line and
// never its content.
func ParseTokens(data []byte) (*Tokens, error) {
	t := &Tokens{}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseToken(line)
		if err != nil {
			return nil, broker.Errorf(broker.EInvalid, "line %d: %v", n, err)
		}
		if seen[e.name] {
			return nil, broker.Errorf(broker.EInvalid, "line %d: the name %s is there twice", n, e.name)
		}
		seen[e.name] = true
		t.entries = append(t.entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if len(t.entries) == 0 {
		return nil, broker.Errorf(broker.EInvalid, "no token is in it; make one with loads token NAME")
	}
	return t, nil
}

func parseToken(line string) (tokenEntry, error) {
	name, text, _ := strings.Cut(line, ":")
	e := tokenEntry{name: name}
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != len(e.hash) || !tokenName().MatchString(name) {
		return e, broker.Errorf(broker.EInvalid, "not NAME:SHA256, with 64 hexadecimal digits; make one with loads token NAME")
	}
	copy(e.hash[:], hash)
	return e, nil
}

// Check returns the name of the token, and whether it is one of these. It
// compares with all of them, in a time that does not depend on the token.
func (t *Tokens) Check(token string) (string, bool) {
	hash := sha256.Sum256([]byte(token))
	found := -1
	for i, e := range t.entries {
		if subtle.ConstantTimeCompare(hash[:], e.hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return "", false
	}
	return t.entries[found].name, true
}

// CheckListen refuses an address to listen on that other machines could reach,
// unless there are tokens. An address is host:port; a host that is neither
// localhost nor a loopback address counts as reachable.
func CheckListen(addr string, tokens *Tokens) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return broker.Errorf(broker.EInvalid, "%q is not an address to listen on; give HOST:PORT, for example 127.0.0.1:8080.", addr)
	}
	if tokens != nil || isLoopback(host) {
		return nil
	}
	return broker.Errorf(broker.EInvalid,
		"%s can be reached from other machines, and without tokens anybody there could start runs; "+
			"listen on 127.0.0.1, or make a token with loads token NAME and give its file by --tokens.", addr)
}

// isLoopback reports whether the host names this machine to itself only.
func isLoopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}
