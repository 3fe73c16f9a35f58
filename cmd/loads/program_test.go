package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/loads/loads/internal/waittest"
)

// TestMain makes this test program behave as loads itself when it is started
// with a command: by a test that wants a process, and by loads, which starts
// itself as a broker that is left running.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		main()
		return
	}
	code := m.Run()
	if nodeBuilt.Load() {
		dir, _ := buildNode()
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// invocation is one carrying out of Main, with an environment of its own.
type invocation struct {
	stdin   string
	env     map[string]string
	signals chan os.Signal
	stdout  waittest.Buffer
	stderr  waittest.Buffer
}

// newInvocation has a home folder of its own, and no broker but those that the
// test names.
func newInvocation(t *testing.T) *invocation {
	t.Helper()
	return &invocation{
		env:     map[string]string{"HOME": t.TempDir(), "LOADS_BROKER": "http://127.0.0.1:1"},
		signals: make(chan os.Signal, 4),
	}
}

// run carries the command line out. It ends by signals, not with the test's
// context, which is done before clean-ups are.
func (i *invocation) run(t *testing.T, args ...string) int {
	t.Helper()
	m := Main{
		Args: args, Stdin: strings.NewReader(i.stdin), Stdout: &i.stdout, Stderr: &i.stderr,
		Getenv: func(name string) string { return i.env[name] }, Signals: i.signals, Version: "v1-test",
	}
	return m.Run(context.WithoutCancel(t.Context()))
}

// invoke runs the program once and returns all it answered.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	i := newInvocation(t)
	code = i.run(t, args...)
	return code, i.stdout.String(), i.stderr.String()
}

// eventually polls until the condition holds, and fails the test after a while.
func eventually(t *testing.T, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	waittest.Until(t, what, limit, holds)
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"an unknown command near a known one names it", []string{"chek"}, `There is no command "chek"; did you mean check? See loads --help.`},
		{"an unknown command far from all names the help", []string{"frobnicate"}, `there is no command "frobnicate"; see loads --help.`},
		{"an unknown flag names the command's help", []string{"run", "--nope"}, "unknown flag: --nope; see loads run --help."},
		{"a missing argument is named", []string{"wait"}, "loads wait needs one run; see loads wait --help."},
		{"one argument too many is named", []string{"logs", "a", "b"}, `loads logs takes one run only, but got "b" as well; see loads logs --help.`},
		{"an argument where there is none is named", []string{"info", "x"}, `loads info takes no arguments, but got "x"; see loads info --help.`},
		{"an empty argument means nothing", []string{"abort", ""}, "loads abort got an argument that is empty; see loads abort --help."},
		{"a sum that is none is shown", []string{"budget", "p", "NaN"}, `the sum is "NaN"; give USD, such as 50 or 12.5, or 0 for no limit; see loads budget --help.`},
		{"a limit that is none is shown", []string{"broker", "--db", "x", "--max-cost", "Inf"}, "--max-cost is +Inf; give USD, or 0 for no limit."},
		{"a machine below zero is shown", []string{"logs", "last", "--machine", "-2"}, "--machine is -2; give the number of a machine, from 0; see loads logs --help."},
		{"run needs a file or a plan", []string{"run"}, "give either a plan file or --plan-id; see loads run --help."},
		{"run takes either a file or a plan", []string{"run", "f", "--plan-id", "p"}, "give either a plan file or --plan-id; see loads run --help."},
		{"run takes either its own database or a broker", []string{"run", "f", "--db", "x", "--broker", "http://h"}, "--db is for a broker inside, --broker for another; give one of them; see loads run --help."},
		{"fork takes either a plan or a run", []string{"fork"}, "give either a plan or --run; see loads fork --help."},
		{"ending every machine must be said", []string{"instances", "--delete"}, "--delete needs the id of one machine, or --all; see loads instances --help."},
		{"a plan file that is not there is named", []string{"check", "/nowhere/p.yaml"}, "The plan file can't be read: open /nowhere/p.yaml: no such file or directory."},
		{"an edit without value is shown", []string{"fork", "p", "--set", "x"}, `--set "x" is no path=value; write, for example, --set steps.web.instance_count=2.`},
		{"a variable without name is shown", []string{"check", "-e", "=3", "x"}, `The variable "=3" has no name; write NAME=VALUE.`},
		{"an environment file that is not there is named", []string{"check", "--env-file", "/nowhere/e", "x"}, "The environment file can't be read: open /nowhere/e: no such file or directory."},
		{"a broker that does not answer is named", []string{"runs"}, "The broker at http://127.0.0.1:1 can't be reached; see that it runs and that the address is right: dial tcp 127.0.0.1:1: connect: connection refused."},
		{"a broker that is no URL is shown", []string{"runs", "--broker", "nonsense"}, `"nonsense" is not the address of a broker; give one such as http://127.0.0.1:8080.`},
		{"a token file that is not there is named", []string{"runs", "--token-file", "/nowhere/t"}, "The token file can't be read: open /nowhere/t: no such file or directory."},
		{"a log format that is unknown is shown", []string{"broker", "--log-format", "xml"}, `--log-format is "xml"; give text or json; see loads broker --help.`},
		{"other machines are let in with tokens only", []string{"broker", "--listen", "0.0.0.0:0"}, "0.0.0.0:0 can be reached from other machines, and without tokens anybody there could start runs; listen on 127.0.0.1, or make a token with loads token NAME and give its file by --tokens."},
		{"a timeout below zero is shown", []string{"wait", "last", "--timeout", "-1s"}, "--timeout is -1s; give a time of 0 or more; see loads wait --help."},
		{"a name that can't be a token's is shown", []string{"token", "a b"}, `"a b" can't name a token; give 1 to 64 letters, digits, dots, hyphens, underscores or @.`},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			code, stdout, stderr := invoke(t, tt.args...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if want := "loads: " + tt.want + "\n"; stderr != want {
				t.Errorf("standard error\n got %q\nwant %q", stderr, want)
			}
			if stdout != "" {
				t.Errorf("standard output has %q, want nothing", stdout)
			}
		})
	}
}

func TestErrorsAreJSONWhenAsked(t *testing.T) {
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"an error of a call", []string{"runs", "--json"}, `{"error":{"code":"unavailable","message":"The broker at http://127.0.0.1:1 can't be reached; see that it runs and that the address is right: dial tcp 127.0.0.1:1: connect: connection refused."}}`},
		{"an error in the flags, before --json is read", []string{"runs", "--nope", "--json"}, `{"error":{"code":"invalid","message":"unknown flag: --nope; see loads runs --help."}}`},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			code, _, stderr := invoke(t, tt.args...)
			if code != exitUsage || stderr != tt.want+"\n" {
				t.Errorf("got code %d and %q, want %d and %q", code, stderr, exitUsage, tt.want)
			}
		})
	}
}

func TestEveryCommandIsExplained(t *testing.T) {
	p := &program{Main: Main{Getenv: func(string) string { return "" }}}
	root := p.root()
	for _, cmd := range append(root.Commands(), root) {
		t.Run(cmd.Name(), func(t *testing.T) {
			if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
				t.Errorf("Short %q, Long %q, Example %q: want all of them", cmd.Short, cmd.Long, cmd.Example)
			}
			for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Example, "\n") {
				if len(line) > 100 {
					t.Errorf("line of %d characters, want at most 100: %s", len(line), line)
				}
			}
		})
	}
}

func TestHelpNamesTheExitCodes(t *testing.T) {
	for _, name := range []string{"run", "wait"} {
		t.Run(name, func(t *testing.T) {
			code, stdout, _ := invoke(t, name, "--help")
			for _, want := range []string{"0  PASS", "1  wrong usage", "2  FAIL", "3  INVALID", "4  ERROR", "5  ABORTED"} {
				if code != 0 || !strings.Contains(stdout, want) {
					t.Errorf("exit code %d; help lacks %q", code, want)
				}
			}
		})
	}
}

func TestCompletionScriptsAreThere(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, stdout, _ := invoke(t, "completion", shell)
		if code != 0 || !strings.Contains(stdout, "loads") {
			t.Errorf("%s: exit code %d and %d bytes, want 0 and a script", shell, code, len(stdout))
		}
	}
}

func TestCompletionWithoutABrokerOffersNothing(t *testing.T) {
	code, stdout, _ := invoke(t, cobra.ShellCompNoDescRequestCmd, "wait", "")
	if code != 0 || stdout != ":4\n" {
		t.Errorf("exit code %d, output %q; want 0 and no offers", code, stdout)
	}
}
