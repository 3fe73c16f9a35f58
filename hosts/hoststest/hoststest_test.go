package hoststest_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/hosts/hoststest"
)

func TestStartEngines_AnswerAndLeaveNothing(t *testing.T) {
	var places []string
	t.Run("engines answer their own client only", func(t *testing.T) {
		for _, h := range hoststest.StartEngines(t, 2) {
			places = append(places, strings.TrimSuffix(strings.TrimPrefix(h.Socket, "unix://"), "/docker.sock"))
			e := mustOpen(t, h.Endpoint)
			info, err := e.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.Version == "" {
				t.Errorf("%s has no version", h.Name)
			}
			_, err = mustOpen(t, h.Stranger).Info(t.Context())
			if got := broker.CodeOf(err); got != broker.EUnavailable {
				t.Errorf("a stranger's certificate: got %v, want a refusal", err)
			}
		}
	})
	for what, command := range map[string][]string{
		"processes": {"ps", "ax", "-o", "args"},
		"mounts":    {"cat", "/proc/mounts"},
	} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
		for _, p := range places {
			if strings.Contains(string(out), p) {
				t.Errorf("%s of %s are left:\n%s", what, p, out)
			}
		}
	}
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", p, err)
		}
	}
}

func mustOpen(t *testing.T, ep broker.Endpoint) *dockerctl.Engine {
	t.Helper()
	e, err := dockerctl.Open(ep, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}
