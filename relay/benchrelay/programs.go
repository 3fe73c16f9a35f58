//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// program is a receiver of statsd. It counts in one of two ways, or in none.
type program struct {
	name    string
	file    string // in the folder of programs; must be there
	command func(launch) ([]string, error)
	plain   bool // knows no tags: gets lines of the same length without
	preload bool // has no setting for its socket buffer

	ask  func(*running) (float64, error) // while it runs
	read func(*running) (float64, error) // after its end
}

// launch is what a program's command line is made for.
type launch struct {
	dir, own string // folders: of the programs, and of this program's files
	buffer   int    // bytes asked for the socket's buffer; 0 for the default
}

func (p program) installed(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, p.file))
	return err == nil
}

// allPrograms returns what can be measured; the sink is the first, and what
// the others are compared to.
func allPrograms() []program {
	return []program{
		{name: "sink", file: "bench", command: sink()},
		{name: "sink-that-parses", file: "bench", command: sink("parse")},
		{name: "loads", file: "loads-node", command: loadsNode, read: readFrames},
		{name: "collectd", file: "collectd/usr/sbin/collectd", command: collectd, plain: true, preload: true, read: readCollectd},
		{name: "telegraf", file: "telegraf", command: telegraf, read: readTelegraf},
		{name: "statsd_exporter", file: "statsd_exporter", command: exporter, ask: askExporter},
		{name: "gostatsd", file: "gostatsd", command: gostatsd},
		{name: "etsy", file: "etsy/node_modules/statsd/stats.js", command: etsy, plain: true, preload: true, ask: askEtsy},
	}
}

func sink(more ...string) func(launch) ([]string, error) {
	return func(l launch) ([]string, error) {
		args := []string{filepath.Join(l.dir, "bench"), "sink", strconv.Itoa(port), strconv.Itoa(l.buffer)}
		return append(args, more...), nil
	}
}

// defaultBuffer is the system's, of which the kernel has doubled what a
// program asks for.
func defaultBuffer() int {
	text, _ := os.ReadFile("/proc/sys/net/core/rmem_default")
	size, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		size = 212_992
	}
	return size / 2
}

func loadsNode(l launch) ([]string, error) {
	buffer := l.buffer
	if buffer == 0 {
		buffer = defaultBuffer() // or it would raise it by itself
	}
	return []string{
		filepath.Join(l.dir, "loads-node"), "relay", "--listen", fmt.Sprintf("127.0.0.1:%d", port),
		"--read-buffer", strconv.Itoa(buffer),
	}, nil
}

// readFrames adds up the counters of all frames.
func readFrames(r *running) (sum float64, err error) {
	return eachLine(r.output, func(line []byte) float64 {
		var frame struct {
			P []struct {
				T string  `json:"t"`
				X float64 `json:"x"`
			} `json:"p"`
		}
		if json.Unmarshal(line, &frame) != nil {
			return 0 // what it says about itself
		}
		sum := 0.0
		for _, p := range frame.P {
			if p.T == "c" {
				sum += p.X
			}
		}
		return sum
	})
}

func eachLine(file string, value func([]byte) float64) (sum float64, err error) {
	text, err := os.ReadFile(file)
	for line := range bytes.Lines(text) {
		sum += value(line)
	}
	return sum, err
}

func telegraf(l launch) ([]string, error) {
	buffer := ""
	if l.buffer > 0 {
		buffer = fmt.Sprintf("read_buffer_size = %d\n", l.buffer)
	}
	return withConfig(l, []string{filepath.Join(l.dir, "telegraf"), "--config"}, fmt.Sprintf(`
[agent]
  interval = "1s"
  flush_interval = "1s"
  omit_hostname = true
[[inputs.statsd]]
  service_address = "127.0.0.1:%d"
  datadog_extensions = true
  percentiles = [50.0, 95.0, 99.0]
  allowed_pending_messages = 100000
  %s
[[outputs.file]]
  files = ["metrics.out"]
  data_format = "influx"
`, port, buffer))
}

func readTelegraf(r *running) (float64, error) {
	value := regexp.MustCompile(`metric_type=counter\S* value=(\d+)i`)
	return eachLine(filepath.Join(r.dir, "metrics.out"), firstGroup(value))
}

// firstGroup returns what reads the number in the first group.
func firstGroup(re *regexp.Regexp) func([]byte) float64 {
	return func(line []byte) float64 {
		m := re.FindSubmatch(line)
		if m == nil {
			return 0
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	}
}

func exporter(l launch) ([]string, error) {
	args := []string{
		filepath.Join(l.dir, "statsd_exporter"), "--web.listen-address=127.0.0.1:9102",
		fmt.Sprintf("--statsd.listen-udp=127.0.0.1:%d", port), "--statsd.listen-tcp=",
	}
	if l.buffer > 0 {
		args = append(args, fmt.Sprintf("--statsd.read-buffer=%d", l.buffer))
	}
	return args, nil
}

func askExporter(*running) (sum float64, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://127.0.0.1:9102/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	value := firstGroup(regexp.MustCompile(`^shop_orders\d+_placed(?:{\S*})? (\S+)`))
	for line := range bytes.Lines(text) {
		sum += value(line)
	}
	return sum, err
}

func collectd(l launch) ([]string, error) {
	return withConfig(l, []string{filepath.Join(l.dir, "collectd/usr/sbin/collectd"), "-f", "-C"}, fmt.Sprintf(`
Hostname "bench"
BaseDir %q
PIDFile "collectd.pid"
TypesDB %q
PluginDir %q
Interval 1
LoadPlugin statsd
LoadPlugin csv
<Plugin statsd>
  Host "127.0.0.1"
  Port "%d"
  TimerPercentile 50
  TimerPercentile 95
  TimerPercentile 99
</Plugin>
<Plugin csv>
  DataDir "stdout"
</Plugin>
`, l.own, filepath.Join(l.dir, "collectd/usr/share/collectd/types.db"), filepath.Join(l.dir, "collectd/usr/lib/collectd"), port))
}

// readCollectd adds up the last values of the counters, which are totals.
func readCollectd(r *running) (sum float64, err error) {
	value := regexp.MustCompile(`statsd/derive-(\S+) interval=\S+ [\d.]+:(\d+)`)
	last := make(map[string]float64)
	_, err = eachLine(r.output, func(line []byte) float64 {
		if m := value.FindSubmatch(line); m != nil {
			last[string(m[1])], _ = strconv.ParseFloat(string(m[2]), 64)
		}
		return 0
	})
	for _, v := range last {
		sum += v
	}
	return sum, err
}

// gostatsd says nothing of its counts by itself; the kernel's drops stand for
// its losses.
func gostatsd(l launch) ([]string, error) {
	return []string{
		filepath.Join(l.dir, "gostatsd"), "--metrics-addr", fmt.Sprintf("127.0.0.1:%d", port), "--backends", "null",
		"--receive-batch-size", "100",
	}, nil
}

func etsy(l launch) ([]string, error) {
	return withConfig(l, []string{"node", filepath.Join(l.dir, "etsy/node_modules/statsd/stats.js")}, fmt.Sprintf(
		`{port: %d, address: "127.0.0.1", mgmt_address: "127.0.0.1", mgmt_port: 8126, flushInterval: 3600000, backends: []}`, port))
}

// askEtsy asks its management port for the counters since the last flush.
func askEtsy(*running) (sum float64, err error) {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:8126", 5*time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "counters\n"); err != nil {
		return 0, err
	}
	value := firstGroup(regexp.MustCompile(`shop\.orders\d+\.placed'?: (\d+)`))
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "END" {
		sum += value(lines.Bytes())
	}
	return sum, lines.Err()
}

// withConfig writes a configuration and returns the command line with its path.
func withConfig(l launch, args []string, text string) ([]string, error) {
	file := filepath.Join(l.own, "config")
	return append(args, file), os.WriteFile(file, []byte(text), 0o600)
}
