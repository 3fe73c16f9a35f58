package boot

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

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
