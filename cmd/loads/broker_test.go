package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/api"
)

// startBroker runs loads broker until the test's end, which waits for it, and
// returns its URL.
func startBroker(t *testing.T, args ...string) (url string, i *invocation) {
	t.Helper()
	i = newInvocation(t)
	args = append([]string{"broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(t.TempDir(), "loads.db")}, args...)
	var serving sync.WaitGroup
	code := -1
	serving.Go(func() { code = i.run(t, args...) })
	t.Cleanup(func() {
		i.signals <- syscall.SIGTERM
		serving.Wait()
		if code != 0 {
			t.Errorf("loads broker ended with %d, want 0; standard error:\n%s", code, i.stderr.String())
		}
	})
	eventually(t, "the broker listens", 5*time.Minute, func() bool {
		_, rest, found := strings.Cut(i.stdout.String(), "loads broker listens on ")
		url = strings.TrimSpace(rest)
		return found && strings.HasSuffix(rest, "\n")
	})
	return url, i
}

// ask runs a command against the broker and fails the test unless it exits 0.
func ask(t *testing.T, url string, args ...string) string {
	t.Helper()
	i := newInvocation(t)
	i.env["LOADS_BROKER"] = url
	if code := i.run(t, args...); code != 0 {
		t.Fatalf("loads %s: exit code %d, want 0:\n%s%s", strings.Join(args, " "), code, i.stdout.String(), i.stderr.String())
	}
	return i.stdout.String()
}

func TestTheBrokerServesTheCommands(t *testing.T) {
	initial := writeFile(t, "initial.yaml", goodPlan)
	url, _ := startBroker(t, "--initial-db", initial, "--dir", t.TempDir())

	t.Run("info names it", func(t *testing.T) {
		if out := ask(t, url, "info"); !strings.Contains(out, url) || !strings.Contains(out, "v1-test") || !strings.Contains(out, "There are no runs.") {
			t.Errorf("got %q, want the URL, the version, and no runs", out)
		}
	})
	t.Run("plans of --initial-db are there", func(t *testing.T) {
		if out := ask(t, url, "plans", "--project", "shop"); !strings.Contains(out, " smoke ") || !strings.Contains(out, " soak ") {
			t.Errorf("got %q, want smoke and soak", out)
		}
		if out := ask(t, url, "plans", "soak"); !strings.Contains(out, "gen ") || !strings.Contains(out, "5s") {
			t.Errorf("got %q, want the steps of soak", out)
		}
	})
	t.Run("import twice changes nothing", func(t *testing.T) {
		if a, b := ask(t, url, "import", initial), ask(t, url, "import", initial); a != b || strings.Count(a, "\n") != 2 {
			t.Errorf("got %q, then %q; want the same two plans", a, b)
		}
	})
	t.Run("fork makes a changed copy", func(t *testing.T) {
		id := strings.TrimSpace(ask(t, url, "fork", "soak", "--name", "soak-3", "--set", "steps.gen.instance_count=3"))
		var got api.Plan
		if err := json.Unmarshal([]byte(ask(t, url, "plans", id[:12], "--json")), &got); err != nil {
			t.Fatal(err)
		}
		if got.UUID != id || got.Name != "soak-3" || got.Parent == "" || got.Steps[1].InstanceCount != 3 {
			t.Errorf("got %+v, want a fork of soak with 3 generators", got)
		}
	})
	t.Run("there are no runs and nothing runs", func(t *testing.T) {
		if runs, status := ask(t, url, "runs"), ask(t, url, "status"); runs != "There are no runs.\n" || !strings.HasPrefix(status, "Nothing runs;") {
			t.Errorf("got %q and %q", runs, status)
		}
		if out := ask(t, url, "runs", "--json", "--state", "active"); out != "" {
			t.Errorf("got %q, want no lines", out)
		}
	})
	t.Run("machines are listed", func(t *testing.T) {
		if out := ask(t, url, "instances"); out != "There are no machines.\n" {
			t.Errorf("got %q, want none", out)
		}
	})
	t.Run("completion offers plans", func(t *testing.T) {
		if out := ask(t, url, cobra.ShellCompNoDescRequestCmd, "run", "--plan-id", ""); strings.Count(out, "\n") < 3 {
			t.Errorf("got %q, want the plans", out)
		}
	})
}

func TestCommandsSayWhatTheBrokerLacks(t *testing.T) {
	url, _ := startBroker(t, "--initial-db", writeFile(t, "p.yaml", goodPlan))
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"no run at all", []string{"status", "last"}, "There is no run yet."},
		{"no run of that prefix", []string{"wait", "1f0c"}, `There is no run "1f0c"; loads runs shows what there is.`},
		{"no plan of that name", []string{"fork", "x"}, `There is no plan "x"; loads plans shows what there is.`},
		{"no project of that name", []string{"runs", "--project", "x"}, `There is no project "x"; loads plans shows what there is.`},
		{"a variable that is not set", []string{"run", "--plan-id", "smoke"}, "1 fault found; correct it and try again."},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			i := newInvocation(t)
			code := i.run(t, append(tt.args, "--broker", url)...)
			if code != 1 || !strings.HasSuffix(i.stderr.String(), "loads: "+tt.want+"\n") {
				t.Errorf("got code %d and %q, want 1 and %q", code, i.stderr.String(), tt.want)
			}
		})
	}
}

func TestABrokerWithTokensWantsOne(t *testing.T) {
	token, line, err := api.NewToken("alice")
	if err != nil {
		t.Fatal(err)
	}
	url, _ := startBroker(t, "--tokens", writeFile(t, "tokens", line+"\n"))
	if out := ask(t, url, "info", "--token-file", writeFile(t, "token", token+"\n")); !strings.Contains(out, url) {
		t.Errorf("with the token in a file: got %q, want the broker's answer", out)
	}
	tests := []struct {
		desc, token string
		code        int
	}{
		{"a token of the environment is accepted", token, 0},
		{"a wrong one is refused", token + "x", 1},
		{"none is refused", "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			i := newInvocation(t)
			i.env["LOADS_BROKER"], i.env["LOADS_TOKEN"] = url, tt.token
			if code := i.run(t, "info"); code != tt.code {
				t.Errorf("exit code %d, want %d; standard error %q", code, tt.code, i.stderr.String())
			}
			if strings.Contains(i.stderr.String()+i.stdout.String(), token) {
				t.Error("the token is shown")
			}
		})
	}
}

func TestOneDatabaseHasOneBroker(t *testing.T) {
	db := filepath.Join(t.TempDir(), "loads.db")
	startBroker(t, "--db", db)
	code, _, stderr := invoke(t, "broker", "--listen", "127.0.0.1:0", "--db", db)
	if code != 1 || !strings.Contains(stderr, "in use by another broker") {
		t.Errorf("got code %d and %q, want 1 and that it is in use", code, stderr)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	url, _ := startBroker(t)
	addr := strings.TrimPrefix(url, "http://")
	code, _, stderr := invoke(t, "broker", "--listen", addr, "--db", filepath.Join(t.TempDir(), "x.db"))
	if code != 1 || !strings.HasPrefix(stderr, "loads: "+addr+" can't be listened on; give another address with --listen") {
		t.Errorf("got code %d and %q, want 1 and the address", code, stderr)
	}
}

func TestTheBrokerOfTheDefaultDatabaseIsFound(t *testing.T) {
	state := t.TempDir()
	url, _ := startBroker(t, "--db", filepath.Join(state, "loads", "loads.db"))
	if resp, err := http.Get(defaultBroker); err == nil {
		resp.Body.Close()
		t.Logf("something answers at %s; it is asked first", defaultBroker)
		return
	}
	i := newInvocation(t)
	delete(i.env, "LOADS_BROKER")
	i.env["XDG_STATE_HOME"] = state
	if code := i.run(t, "info"); code != 0 || !strings.Contains(i.stdout.String(), url) {
		t.Errorf("exit code %d, output %q; want 0 and %s", code, i.stdout.String(), url)
	}
}

func TestABrokerThatStopsLeavesNoURL(t *testing.T) {
	db := filepath.Join(t.TempDir(), "loads.db")
	t.Run("while it runs", func(t *testing.T) {
		url, _ := startBroker(t, "--db", db)
		if got, err := readURL(db); got != url || err != nil {
			t.Errorf("got %q, %v; want %s", got, err, url)
		}
	})
	if _, err := os.Stat(urlFile(db)); !os.IsNotExist(err) {
		t.Errorf("the file of the URL is still there: %v", err)
	}
}

func TestTheSecondSignalQuitsAtOnce(t *testing.T) {
	d, release := &daemon{}, make(chan struct{})
	defer close(release)
	d.clean.add("stuck", func(context.Context) error { <-release; return nil })
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	c := &brokerCommand{program: &program{}}
	if err := c.close(d, signals, nil); err == nil || !strings.HasPrefix(err.Error(), "Quit at once;") {
		t.Errorf("got %v, want that it quit at once", err)
	}
}

func TestASignalEndsWhatComesBeforeTheRun(t *testing.T) {
	for _, row := range []struct {
		name string
		f    func(ctx context.Context, interrupt func()) (int, error)
		made int
	}{
		{"it fails", func(ctx context.Context, interrupt func()) (int, error) {
			interrupt()
			<-ctx.Done()
			return 0, ctx.Err()
		}, 0},
		{"it succeeds nevertheless", func(ctx context.Context, interrupt func()) (int, error) {
			interrupt()
			<-ctx.Done()
			return 7, nil
		}, 7},
		{"it succeeds in the same moment", func(_ context.Context, interrupt func()) (int, error) {
			interrupt()
			return 7, nil
		}, 7},
	} {
		t.Run(row.name, func(t *testing.T) {
			signals := make(chan os.Signal, 1)
			made, err := interruptible(t.Context(), signals, func(ctx context.Context) (int, error) {
				return row.f(ctx, func() { signals <- os.Interrupt })
			})
			if err == nil || err.Error() != "Interrupted before there was a run to watch." || made != row.made {
				t.Errorf("got %d, %v; want %d, and that it was interrupted", made, err, row.made)
			}
		})
	}
}

func TestTheBrokerRefusesAListWithFaults(t *testing.T) {
	file := writeFile(t, "hosts.yaml", "hosts:\n  - name: a\n    endpiont: tcp://10.0.0.1:2376\n")
	code, _, stderr := invoke(t, "broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(t.TempDir(), "x.db"), "--hosts", file)
	if code != 1 || !strings.Contains(stderr, file+":3:5: ") {
		t.Errorf("got code %d and %q, want 1 and the fault with its place", code, stderr)
	}
}

func TestRunsUseTheHostsOfAList(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	file := writeFile(t, "hosts.yaml", "hosts:\n  - name: only\n    endpoint: "+defaultDocker+"\n    address: 127.0.0.1\n")
	i := newInvocation(t)
	code := i.run(t, w.args("run", writeFile(t, "p.yaml", sleepers(1)), "--hosts", file)...)
	if code != exitError || !strings.Contains(i.stdout.String(), "ERROR: Step sleeper can't have its machines: ") {
		t.Errorf("two machines of a list of one: exit code %d, want %d and why:\n%s%s", code, exitError, i.stdout.String(), i.stderr.String())
	}
}
