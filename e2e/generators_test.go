package e2e_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

// TestGeneratorsShortOfProcessors runs plans under a limit that any generator
// is above.
func TestGeneratorsShortOfProcessors(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	const plan = `
name: NAME
max_cpu_percent: 1
steps:
  - {name: web, container_name: loads/node, additional_command_args: serve, role: target, dns_name: web.test,
     port_mapping: '8000:8000', ready: {port: 8000, timeout: 120}, run_max_time: 300}
  - {name: load, container_name: loads/node, start_after: web, ROLE
     additional_command_args: 'gen --url http://web.test:8000/ --rate 800 --duration 35s'}
`
	for _, tt := range []struct {
		name, role string
		verdict    broker.Verdict
		fault      string
	}{
		{"what makes load may not be busy", "", broker.Invalid, "the processors of load/0 were "},
		{"what is under test may", "role: target,", broker.Pass, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run := d.trigger(strings.NewReplacer("NAME", tt.name, "ROLE", tt.role).Replace(plan))
			d.closeService(t, run)
			r := d.await(run)
			if r.Run.Verdict != tt.verdict || len(r.Run.Instrument) != min(len(tt.fault), 1) {
				t.Fatalf("got %s, %q, instrument %q; want %s", r.Run.Verdict, r.Run.Reason, r.Run.Instrument, tt.verdict)
			}
			if tt.fault == "" {
				return
			}
			if got := r.Run.Instrument[0]; !strings.HasPrefix(got, tt.fault) || !strings.HasSuffix(got, " UTC, 1 % are the limit") {
				t.Errorf("got %q, want %q, and the limit", got, tt.fault)
			}
		})
	}
}

// TestGeneratorShortOfSockets gives a container fewer of them than its users need
// at once. That is no fault of the service's, though its requests fail.
func TestGeneratorShortOfSockets(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger(`
name: short
steps:
  - {name: web, container_name: loads/node, additional_command_args: serve --delay 20s --jitter 0s, dns_name: web.test,
     port_mapping: '8000:8000', ready: {port: 8000, timeout: 120}, run_max_time: 300}
  - name: load
    container_name: loads/node
    start_after: web
    ulimits: {nofile: 60}
    additional_command_args: --max-lag -1s --max-steal -1 --threads 1
    benchmark:
      file: once.yaml
      files:
        once.yaml: |
          name: once
          http: {host: http://web.test:8000, sharedConnections: {core: 0, max: 100}}
          phases: [{main: {atOnce: {users: 100, scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]}}}]
`)
	d.closeService(t, run)
	r := d.await(run)
	if r.Run.Verdict != broker.Invalid || len(r.Run.Instrument) != 1 {
		t.Fatalf("got %s, %q, instrument %q; want INVALID for one reason", r.Run.Verdict, r.Run.Reason, r.Run.Instrument)
	}
	const want = `^load/0: [4-9]\d connections could not be made since this machine had no socket left: raise the limit of open files`
	if got := r.Run.Instrument[0]; !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got %q, want %q", got, want)
	}
	d.clean(r)
}
