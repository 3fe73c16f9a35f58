package boot

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"github.com/loads/loads/aws/trust"
)

// What Parse looks for.
var (
	caPattern    = regexp.MustCompile(`(?s)put 0600 /etc/loads/ca\.pem <<'LOADS-END'\n(.*?)LOADS-END\n`)
	rowsPattern  = regexp.MustCompile(`(?s)\ndone <<'LOADS-END'\n(.*?)LOADS-END\n`)
	statePattern = regexp.MustCompile(`\nloads-state 0 0 (\d+) 0 (\d+) (\d+) \.\n`)
	unitPattern  = regexp.MustCompile(`\nExecStart=/bin/bash \S+ (\d+) (\d+) \d+\n`)
)

// longest bounds what compressed user data may become.
const longest = 1 << 20

// Parse reads back what the machine with the launch index is told by this user
// data, for who plays machines without running it: of Servers it has the machine's
// own alone. The server's Until is not in it.
func Parse(data []byte, index int) (Params, error) {
	p, err := parse(data, index)
	if err != nil {
		return Params{}, fmt.Errorf("read a machine's user data: %w", err)
	}
	return p, nil
}

func parse(data []byte, index int) (Params, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		zipped, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return Params{}, err
		}
		if data, err = io.ReadAll(io.LimitReader(zipped, longest)); err != nil {
			return Params{}, err
		}
	}
	state, unit, ca, rows := statePattern.FindSubmatch(data), unitPattern.FindSubmatch(data), caPattern.FindSubmatch(data), rowsPattern.FindSubmatch(data)
	if state == nil || unit == nil || ca == nil || rows == nil {
		return Params{}, errors.New("it is not what UserData makes")
	}
	var p Params
	var faults []error
	number := func(text []byte) uint64 {
		n, err := strconv.ParseUint(string(text), 10, 50)
		faults = append(faults, err)
		return n
	}
	p.Term = number(state[1])
	p.Lease, p.End = time.Duration(number(state[2]))*time.Second, time.Duration(number(state[3]))*time.Second
	p.Tick, p.Orderly = time.Duration(number(unit[1]))*time.Second, time.Duration(number(unit[2]))*time.Second
	lines := bytes.Split(bytes.TrimSuffix(rows[1], []byte("\n")), []byte("\n"))
	if index < 0 || index >= len(lines) {
		return Params{}, fmt.Errorf("it is for %d machines, and has nothing for number %d", len(lines), index)
	}
	server := trust.Server{CA: ca[1]}
	cert, key, _ := bytes.Cut(lines[index], []byte(" "))
	for _, part := range []struct {
		kind string
		text []byte
		into *[]byte
	}{{"CERTIFICATE", cert, &server.Cert}, {"EC PRIVATE KEY", key, &server.Key}} {
		der, err := base64.StdEncoding.DecodeString(string(part.text))
		faults = append(faults, err)
		*part.into = pem.EncodeToMemory(&pem.Block{Type: part.kind, Bytes: der})
	}
	p.Servers = []trust.Server{server}
	return p, errors.Join(append(faults, checkServer(server))...)
}

// renewalPattern is what the watchdog takes for a renewal: single blanks
// between the words or more, and numbers as it reads them.
var renewalPattern = regexp.MustCompile(
	`^[ \t]*loads-lease[ \t]+(0|[1-9]\d{0,14})[ \t]+(0|[1-9]\d{0,14})[ \t]+(0|[1-9]\d{0,14})[ \t]+(0|[1-9]\d{0,14})[ \t]+\.[ \t]*(?:\n|$)`)

// ParseRenewal reads what is in LeaseFile, as the watchdog on a machine does,
// for who plays machines without running it. What is not a whole renewal is an
// error, and the watchdog passes over it.
func ParseRenewal(data []byte) (Renewal, error) {
	found := renewalPattern.FindSubmatch(data)
	if found == nil {
		return Renewal{}, fmt.Errorf("read a lease's renewal: %.60q is not a whole one", data)
	}
	var n [4]uint64
	for i := range n {
		n[i], _ = strconv.ParseUint(string(found[i+1]), 10, 64) // 15 digits fit
	}
	return Renewal{Term: n[0], Seq: n[1], Lease: duration(n[2]), End: duration(n[3])}, nil
}

// duration is so many seconds, or as many as there can be: much longer than a
// machine lives.
func duration(seconds uint64) time.Duration {
	return time.Duration(min(seconds, 10*maxSeconds)) * time.Second
}
