package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// urlFlags describe a load of one request, without a file.
type urlFlags struct {
	url, rate, duration, connections, timeout string
}

// benchmark writes the benchmark file that the flags stand for, and returns all
// that is wrong with them. With a rate, requests leave on a timetable; without,
// each connection sends one as soon as it has the answer to the one before.
func (f urlFlags) benchmark() ([]byte, error) {
	u, err := url.Parse(f.url)
	var errs []error
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, fmt.Errorf("url is %q, want http://… or https://…", f.url))
	}
	duration, err := time.ParseDuration(f.duration)
	if err != nil || duration < time.Millisecond {
		errs = append(errs, fmt.Errorf("duration is %q, want a time such as 10s", f.duration))
	}
	timeout, err := time.ParseDuration(f.timeout)
	if err != nil || timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout is %q, want a time such as 5s", f.timeout))
	}
	connections, err := strconv.Atoi(f.connections)
	if err != nil || connections < 1 {
		errs = append(errs, fmt.Errorf("connections are %q, want a number above 0", f.connections))
	}
	rate := 0.0
	if f.rate != "" {
		if rate, err = strconv.ParseFloat(f.rate, 64); err != nil || !(rate > 0) {
			errs = append(errs, fmt.Errorf("rate is %q, want requests a second", f.rate))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	type object = map[string]any
	request := object{"GET": strings.ReplaceAll(u.RequestURI(), "${", "$${"), "sla": object{"blockedRatio": 1}}
	phase := object{
		"duration": inMS(duration),
		// Users who then still wait for a connection never start. Requests of the last users have
		// timed out before, and are not cut off in the same moment.
		"maxDuration": inMS(duration + timeout + time.Second),
		"scenario":    []object{{"request": []object{{"httpRequest": request}}}},
	}
	kind := "always"
	if rate > 0 {
		kind = "constantRate"
		phase["usersPerSec"], phase["variance"] = rate, false
	} else {
		phase["users"] = connections
	}
	return json.Marshal(object{
		"name":       u.Host,
		"http":       object{"host": u.Scheme + "://" + u.Host, "sharedConnections": connections, "requestTimeout": inMS(timeout)},
		"ergonomics": object{"userAgentFromSession": false, "repeatCookies": false},
		"phases":     []object{{"main": object{kind: phase}}},
	})
}

func inMS(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }
