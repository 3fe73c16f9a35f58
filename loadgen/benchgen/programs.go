//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A program is a load generator.
type program struct {
	name   string
	binary string
	// args returns the arguments for a load, nil when the program can't make
	// it. It may put files into its own folder.
	args func(at load, own string) []string
	read func(result, *outcome) error
}

// result is what a program has left.
type result struct {
	dir    string // of the programs
	own    string // of this measurement
	output []byte
}

// path returns where the program is: in the folder, in the system, or this one.
func (p program) path(dir string) (string, error) {
	if p.binary == "" {
		return os.Executable()
	}
	path := filepath.Join(dir, p.binary)
	if _, err := os.Stat(path); err == nil {
		return filepath.Abs(path)
	}
	return exec.LookPath(p.binary)
}

// allPrograms returns what can be measured: first the ways of decision 42.
func allPrograms() []program {
	return []program{
		{name: "wrk", binary: "wrk", args: wrk, read: readWrk},
		{name: "loads", binary: "loads-node", args: loads, read: readLoads},
		{name: "loads-h1", args: wayArgs("epoll", true), read: readWay},
		{name: "net.Conn", args: wayArgs("conn", false), read: readWay},
		{name: "SyscallConn", args: wayArgs("raw", false), read: readWay},
		{name: "wrk2", binary: "wrk2", args: wrk2, read: readWrk},
		{name: "bombardier", binary: "bombardier", args: bombardier, read: readBombardier},
		{name: "fortio", binary: "fortio", args: fortio, read: readFortio},
		{name: "hey", binary: "hey", args: hey, read: readHey},
		{name: "vegeta", binary: "vegeta", args: vegeta, read: readVegeta},
		{name: "k6", binary: "k6", args: k6, read: readK6},
	}
}

func (l load) length() string { return fmt.Sprintf("%ds", l.seconds) }

func (l load) count() string { return strconv.Itoa(l.connections) }

func wayArgs(name string, open bool) func(load, string) []string {
	return func(at load, _ string) []string {
		if at.rate > 0 && !open {
			return nil
		}
		return []string{
			"way", name, "-address", at.address.String(), "-connections", at.count(),
			"-threads", strconv.Itoa(at.threads), "-rate", fmt.Sprint(at.rate), "-duration", at.length(), "-grain", at.grain.String(),
		}
	}
}

func readWay(r result, o *outcome) error {
	_, err := fmt.Sscan(string(r.output), &o.requests, &o.failed, &o.p50, &o.p99)
	return err
}

func loads(at load, _ string) []string {
	args := []string{
		"gen", "--json", "--quiet", "--url", at.url(), "--connections", at.count(), "--duration", at.length(),
		"--threads", strconv.Itoa(at.threads),
	}
	if at.rate > 0 {
		args = append(args, "--rate", fmt.Sprint(at.rate), "--grain", at.grain.String())
	}
	return args
}

// readLoads adds up what there is of metrics, which is one.
func readLoads(r result, o *outcome) error {
	var of struct {
		Metrics []struct {
			Requests float64
			Statuses []struct{ Status, Count float64 }
			Latency  struct{ P50, P99 float64 }
		}
	}
	if err := json.Unmarshal(r.output, &of); err != nil {
		return err
	}
	for _, m := range of.Metrics {
		o.p50, o.p99 = m.Latency.P50, m.Latency.P99
		o.failed += m.Requests
		for _, s := range m.Statuses {
			if s.Status == 200 {
				o.requests += s.Count
				o.failed -= s.Count
			}
		}
	}
	return nil
}

func wrk(at load, _ string) []string {
	if at.rate > 0 {
		return nil
	}
	return []string{"-t", strconv.Itoa(at.threads), "-c", at.count(), "-d", at.length(), "--latency", at.url()}
}

func wrk2(at load, _ string) []string {
	if at.rate == 0 {
		return nil
	}
	return []string{"-t", strconv.Itoa(at.threads), "-c", at.count(), "-d", at.length(), "-R", fmt.Sprint(at.rate), "--latency", at.url()}
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkLatency  = regexp.MustCompile(`(?m)^\s+(50|99)(?:\.000)?%\s+([\d.]+)(us|ms|s|m)\b`)
)

// readWrk reads what wrk and wrk2 print.
func readWrk(r result, o *outcome) error {
	found := wrkRequests.FindSubmatch(r.output)
	if found == nil {
		return errors.New("there is no number of requests")
	}
	o.requests, _ = strconv.ParseFloat(string(found[1]), 64)
	if errs := wrkErrors.FindSubmatch(r.output); errs != nil {
		for _, n := range errs[1:] {
			count, _ := strconv.ParseFloat(string(n), 64)
			o.failed += count
		}
	}
	unit := map[string]float64{"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}
	for _, line := range wrkLatency.FindAllSubmatch(r.output, -1) {
		value, _ := strconv.ParseFloat(string(line[2]), 64)
		value *= unit[string(line[3])]
		if string(line[1]) == "50" {
			o.p50 = value
		} else {
			o.p99 = value
		}
	}
	return nil
}

func bombardier(at load, _ string) []string {
	args := []string{"-c", at.count(), "-d", at.length(), "-l", "-o", "json", "-p", "r"}
	if at.rate > 0 {
		args = append(args, "-r", fmt.Sprint(at.rate))
	}
	return append(args, at.url())
}

func readBombardier(r result, o *outcome) error {
	var of struct {
		Result struct {
			Req1xx, Req2xx, Req3xx, Req4xx, Req5xx, Others float64
			Latency                                        struct{ Percentiles map[string]float64 } // µs
		}
	}
	err := json.Unmarshal(r.output, &of)
	o.requests = of.Result.Req2xx
	o.failed = of.Result.Req1xx + of.Result.Req3xx + of.Result.Req4xx + of.Result.Req5xx + of.Result.Others
	o.p50, o.p99 = of.Result.Latency.Percentiles["50"]/1000, of.Result.Latency.Percentiles["99"]/1000
	return err
}

func fortio(at load, own string) []string {
	return []string{
		"load", "-qps", fmt.Sprint(at.rate), "-uniform", "-c", at.count(), "-t", at.length(), "-p", "50,99",
		"-r", "0.0001", "-json", filepath.Join(own, "result"), "-loglevel", "error", at.url(),
	}
}

func readFortio(r result, o *outcome) error {
	text, err := os.ReadFile(filepath.Join(r.own, "result"))
	if err != nil {
		return err
	}
	var of struct {
		DurationHistogram struct {
			Count       float64
			Percentiles []struct{ Value float64 } // s
		}
		RetCodes map[string]float64
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return err
	}
	o.requests = of.RetCodes["200"]
	o.failed = of.DurationHistogram.Count - o.requests
	if p := of.DurationHistogram.Percentiles; len(p) == 2 {
		o.p50, o.p99 = 1000*p[0].Value, 1000*p[1].Value
	}
	return nil
}

func hey(at load, _ string) []string {
	args := []string{"-cpus", strconv.Itoa(at.threads), "-c", at.count(), "-z", at.length()}
	if at.rate > 0 {
		args = append(args, "-q", fmt.Sprint(at.rate/float64(at.connections)))
	}
	return append(args, at.url())
}

var (
	heyStatus  = regexp.MustCompile(`\[(\d+)\]\s+(\d+) responses`)
	heyLatency = regexp.MustCompile(`(50|99)% in ([\d.]+) secs`)
)

func readHey(r result, o *outcome) error {
	for _, line := range heyStatus.FindAllSubmatch(r.output, -1) {
		count, _ := strconv.ParseFloat(string(line[2]), 64)
		if string(line[1]) == "200" {
			o.requests += count
		} else {
			o.failed += count
		}
	}
	for _, line := range heyLatency.FindAllSubmatch(r.output, -1) {
		value, _ := strconv.ParseFloat(string(line[2]), 64)
		if string(line[1]) == "50" {
			o.p50 = 1000 * value
		} else {
			o.p99 = 1000 * value
		}
	}
	return nil
}

func vegeta(at load, own string) []string {
	targets := filepath.Join(own, "targets")
	if own != "" {
		_ = os.WriteFile(targets, []byte("GET "+at.url()+"\n"), 0o600) // without it, vegeta says so
	}
	args := []string{"attack", "-targets", targets, "-duration", at.length(), "-output", filepath.Join(own, "result")}
	if at.rate > 0 {
		return append(args, "-rate", fmt.Sprintf("%.0f/1s", at.rate), "-connections", at.count())
	}
	return append(args, "-rate", "0", "-max-workers", at.count(), "-connections", at.count())
}

// readVegeta has vegeta itself sum up its results.
func readVegeta(r result, o *outcome) error {
	path, err := program{binary: "vegeta"}.path(r.dir)
	if err != nil {
		return err
	}
	text, err := exec.Command(path, "report", "-type", "json", filepath.Join(r.own, "result")).Output()
	if err != nil {
		return err
	}
	var of struct {
		Requests  float64
		Codes     map[string]float64 `json:"status_codes"`
		Latencies map[string]float64 // ns
	}
	err = json.Unmarshal(text, &of)
	o.requests = of.Codes["200"]
	o.failed = of.Requests - o.requests
	o.p50, o.p99 = of.Latencies["50th"]/1e6, of.Latencies["99th"]/1e6
	return err
}

func k6(at load, own string) []string {
	scenario := fmt.Sprintf(`{executor: "constant-vus", vus: %d, duration: "%s"}`, at.connections, at.length())
	if at.rate > 0 {
		scenario = fmt.Sprintf(`{executor: "constant-arrival-rate", rate: %.0f, timeUnit: "1s", duration: "%s", preAllocatedVUs: 200, maxVUs: 2000}`, at.rate, at.length())
	}
	script := filepath.Join(own, "script.js")
	if own != "" {
		_ = os.WriteFile(script, []byte(strings.NewReplacer("SCENARIO", scenario, "URL", at.url()).Replace(k6Script)), 0o600) // without it, k6 says so
	}
	return []string{"run", "--quiet", "--no-usage-report", script}
}

const k6Script = `
import http from 'k6/http';
export const options = {scenarios: {all: SCENARIO}, discardResponseBodies: true, summaryTrendStats: ['med', 'p(99)']};
export default function () { http.get('URL'); }
export function handleSummary(d) {
	const of = name => (d.metrics[name] || {values: {}}).values;
	const took = of('http_req_duration');
	return {stdout: [of('http_reqs').count, of('http_req_failed').passes || 0, took['med'], took['p(99)']].join(' ') + '\n'};
}
`

func readK6(r result, o *outcome) error {
	err := readWay(r, o)
	o.requests -= o.failed
	return err
}
