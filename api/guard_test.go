package api

import (
	"bufio"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

func mustToken(t *testing.T) (string, *Tokens) {
	t.Helper()
	token, line, err := NewToken("ann")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := ParseTokens([]byte("# who may call\n\n" + line + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return token, tokens
}

func TestTokenIsDemandedEverywhere(t *testing.T) {
	token, tokens := mustToken(t)
	b := mustServe(t, tokens)
	for path, item := range b.server.api.OpenAPI().Paths {
		for method := range operationsOf(item) {
			got := b.do(method, strings.NewReplacer("{uuid}", "x", "{id}", "x").Replace(path), "")
			if got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s without a token: got %d, WWW-Authenticate %q, want 401 and some",
					method, path, got.status, got.header.Get("WWW-Authenticate"))
			}
		}
	}
	for _, c := range []struct {
		what   string
		header string
		status int
	}{
		{"The token is good.", "Bearer " + token, 200},
		{"The scheme's case does not matter.", "bearer " + token, 200},
		{"Another scheme is refused.", "Basic " + token, 401},
		{"A token that is cut short is refused.", "Bearer " + token[:len(token)-1], 401},
		{"An empty token is refused.", "Bearer ", 401},
		{"The hash itself is refused.", "Bearer " + hashOf(t, tokens), 401},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := b.do("GET", "/api", "", "Authorization", c.header); got.status != c.status {
				t.Errorf("got %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
	if got := b.do("GET", "/api", "", "Authorization", "Bearer "+token, "Host", "loads.example.org"); got.status != 200 {
		t.Errorf("with a token under another name: got %d, want 200", got.status)
	}
	if log := b.log.String(); strings.Contains(log, token) {
		t.Error("the token is in the log")
	}
	if _, err := (&Client{BaseURL: b.url, Token: token}).Info(t.Context(), 0, 0); err != nil {
		t.Errorf("client with a token: %v", err)
	}
	if _, err := b.client().Info(t.Context(), 0, 0); broker.CodeOf(err) != broker.EUnauthorized {
		t.Errorf("client without a token: got %v, want EUnauthorized", err)
	}
}

func hashOf(t *testing.T, tokens *Tokens) string {
	t.Helper()
	return hex.EncodeToString(tokens.entries[0].hash[:])
}

func TestStrangersAreRefusedWithoutTokens(t *testing.T) {
	b := mustServe(t, nil)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		method string
		header []string
		status int
	}{
		{"A program of this machine may read.", "GET", nil, 200},
		{"It may use the name localhost.", "GET", []string{"Host", "localhost:" + port}, 200},
		{"It may use IPv6.", "GET", []string{"Host", "[::1]:" + port}, 200},
		{"A name that was made to point here is refused.", "GET", []string{"Host", "evil.example.org:" + port}, 403},
		{"An address that is not loopback is refused.", "GET", []string{"Host", "192.0.2.1"}, 403},
		{"A name that begins like ours is refused.", "GET", []string{"Host", "127.0.0.1.example.org"}, 403},
		{"A page of another site may not post.", "POST", []string{"Origin", "https://evil.example.org"}, 403},
		{"Nor when the browser only says cross-site.", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"A page of this server may post.", "POST", []string{"Sec-Fetch-Site", "same-origin"}, 400},
		{"A program may post.", "POST", nil, 400},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := b.do(c.method, "/api/project", "", c.header...)
			if got.status != c.status {
				t.Fatalf("got %d, want %d: %s", got.status, c.status, got.body)
			}
			if answer := got.object(t); c.status >= 400 && answer["message"] == "" {
				t.Error("got no message")
			}
		})
	}
}

func TestCheckListen(t *testing.T) {
	_, tokens := mustToken(t)
	for _, c := range []struct {
		addr   string
		tokens *Tokens
		want   string // part of the error; empty is none
	}{
		{"127.0.0.1:8080", nil, ""},
		{"127.8.9.1:0", nil, ""},
		{"[::1]:8080", nil, ""},
		{"localhost:8080", nil, ""},
		{"0.0.0.0:8080", nil, "loads token NAME"},
		{":8080", nil, "can be reached from other machines"},
		{"[::]:8080", nil, "can be reached"},
		{"10.0.0.5:8080", nil, "can be reached"},
		{"loads.example.org:8080", nil, "can be reached"},
		{"localhost.example.org:8080", nil, "can be reached"},
		{"0.0.0.0:8080", tokens, ""},
		{":8080", tokens, ""},
		{"8080", tokens, "HOST:PORT"},
		{"", nil, "HOST:PORT"},
	} {
		err := CheckListen(c.addr, c.tokens)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("CheckListen(%q, tokens %v): got %v, want %q", c.addr, c.tokens != nil, err, c.want)
		}
		if err != nil && broker.CodeOf(err) != broker.EInvalid {
			t.Errorf("CheckListen(%q): got code %s, want invalid", c.addr, broker.CodeOf(err))
		}
	}
}

func TestTokensFile(t *testing.T) {
	token, line, err := NewToken("ann")
	if err != nil {
		t.Fatal(err)
	}
	other, otherLine, err := NewToken("bob@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if token == other || len(token) < 40 || strings.Contains(line, token) {
		t.Fatalf("tokens %q and %q, line %q: want two long ones that differ, and no token in the line", token, other, line)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line+"\r\n#\n  "+otherLine), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]string{token: "ann", other: "bob@example.org", "loads_x": "", "": ""} {
		if name, ok := tokens.Check(secret); name != want || ok != (want != "") {
			t.Errorf("Check(%q): got %q, %v, want %q", secret, name, ok, want)
		}
	}
	hash := strings.TrimPrefix(line, "ann:")
	for what, text := range map[string]string{
		"it is empty":        "",
		"it has no token":    "# nobody\n",
		"a hash is missing":  "ann\n",
		"a hash is short":    "ann:abcd\n",
		"a hash is not hex":  "ann:" + strings.Repeat("z", 64),
		"a name is missing":  ":" + hash,
		"a name is odd":      "a n n:" + hash,
		"a name comes twice": line + "\n" + line,
	} {
		_, err := ParseTokens([]byte(text))
		if broker.CodeOf(err) != broker.EInvalid || strings.Contains(err.Error(), hash) {
			t.Errorf("when %s: got %v, want EInvalid without the hash", what, err)
		}
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none")); broker.CodeOf(err) != broker.EInvalid {
		t.Errorf("a file that is not there: got %v, want EInvalid", err)
	}
	if err := os.WriteFile(file, []byte(line+"\nbob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "The file of tokens " + file + " can't be used: line 2: not NAME:SHA256, with 64 hexadecimal digits; make one with loads token NAME."
	if _, err := LoadTokens(file); err == nil || err.Error() != want {
		t.Errorf("a file with a fault: got %v, want %s", err, want)
	}
	if _, _, err := NewToken("a:b"); broker.CodeOf(err) != broker.EInvalid {
		t.Errorf("a token with an odd name: got %v, want EInvalid", err)
	}
}

// A body of unknown length is cut at the limit as well.
func TestChunkedBodyIsLimited(t *testing.T) {
	b := mustServe(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // ends when the server has closed the connection, or all is written
		head := "POST /api/project HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
		_, err := conn.Write([]byte(head))
		chunk := "10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n"
		for n := 0; err == nil && n < maxBody/0x10000+1; n++ {
			_, err = conn.Write([]byte(chunk))
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %s, want 413", resp.Status)
	}
}
