package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEC2SimServesUntilItIsTold(t *testing.T) {
	i := newInvocation(t)
	env := filepath.Join(t.TempDir(), "cloud.env")
	drill := writeFile(t, "drill.yaml", "delays: {pending: 3s}\nfaults: [{fault: throttled, rate: 0.1}]\n")
	code := make(chan int, 1)
	go func() {
		code <- i.run(t, "ec2sim", "--env", env, "--faults", drill, "--seed", "7", "--machines", "light")
	}()
	settings := map[string]string{}
	eventually(t, "the settings are written", 5*time.Minute, func() bool {
		data, err := os.ReadFile(env)
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
			settings[name] = value
		}
		return err == nil
	})
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "LOADS_EC2SIM_TOKEN"} {
		if settings[name] == "" {
			t.Errorf("%s isn't told", name)
		}
	}
	get := func(path, token string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, settings["AWS_ENDPOINT_URL"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	answer := get("/_sim/faults", settings["LOADS_EC2SIM_TOKEN"])
	var faults []struct {
		Fault string
		Rate  float64
	}
	if err := json.NewDecoder(answer.Body).Decode(&faults); err != nil || len(faults) != 1 || faults[0].Fault != "throttled" {
		t.Errorf("faults %+v, error %v", faults, err)
	}
	answer.Body.Close()
	answer = get("/?Action=DescribeInstances", "")
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a call without a key has status %d", answer.StatusCode)
	}
	i.signals <- os.Interrupt
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, i.stderr.String())
	}
	if _, err := os.Stat(env); err == nil {
		t.Error("the settings are left behind")
	}
}

func TestEC2SimSaysWhatIsWrong(t *testing.T) {
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"a kind of machines that there isn't", []string{"--machines", "paper"}, `--machines is "paper"; give one of`},
		{"a file that isn't there", []string{"--faults", "/nowhere/drill.yaml"}, "/nowhere/drill.yaml"},
		{"all faults of a file", []string{"--faults", writeFile(t, "drill.yaml", "faults: [{fault: flood}, {fault: dies, rate: 2}]")}, "rate 2"},
		{"an address that can't be listened on", []string{"--listen", "192.0.2.1:1"}, "192.0.2.1:1 can't be listened on; give another address with --listen."},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			code, _, stderr := invoke(t, append([]string{"ec2sim"}, tt.args...)...)
			if code != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, %q; want 1 and %q", code, stderr, tt.want)
			}
		})
	}
}
