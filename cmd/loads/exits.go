package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// The exit codes of loads. Those of verdicts are given by run and wait only.
const (
	exitPass    = 0
	exitUsage   = 1 // the command line, the plan or the broker is at fault
	exitFail    = 2
	exitInvalid = 3
	exitError   = 4
	exitAborted = 5
)

const exitHelp = `Exit codes:
  0  PASS, or the run goes on (--detach, or left running)
  1  wrong usage, a plan with faults, no broker could be reached, or wait's --timeout is over
  2  FAIL: a criterion failed
  3  INVALID: the instrument was at fault
  4  ERROR: the plan could not be run as planned
  5  ABORTED: somebody stopped the run`

// exitCode is the exit code for a verdict.
func exitCode(v broker.Verdict) int {
	switch v {
	case broker.Pass:
		return exitPass
	case broker.Fail:
		return exitFail
	case broker.Invalid:
		return exitInvalid
	case broker.Aborted:
		return exitAborted
	}
	return exitError
}

// exited ends the program with a code when all has been said already.
type exited int

// Error says the code; nobody is shown it.
func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitWith is an exited, and nil for 0.
func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exited(code)
}

// finish tells the user of the error, if any, and returns the exit code.
func (p *program) finish(err error) int {
	var code exited
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case p.wantsJSON():
		writeJSON(p.Stderr, errorDocument(err))
	default:
		writeError(p.Stderr, err)
	}
	return exitUsage
}

type errorBody struct {
	Code    broker.Code       `json:"code"`
	Message string            `json:"message"`
	Faults  strategies.Faults `json:"faults,omitempty"`
}

func errorDocument(err error) map[string]errorBody {
	return map[string]errorBody{"error": {Code: codeOf(err), Message: sentenceOf(err), Faults: faultsOf(err)}}
}

// codeOf is the error's code; faults of a file are the user's.
func codeOf(err error) broker.Code {
	var faults strategies.Faults
	if errors.As(err, &faults) {
		return broker.EInvalid
	}
	return broker.CodeOf(err)
}

// sentenceOf is what the user reads of an error: its message, and the cause
// when the message leaves that open by having no full stop.
func sentenceOf(err error) string {
	var e *broker.Error
	switch faults := faultsOf(err); {
	case len(faults) > 0:
		return faultsFound(len(faults))
	case errors.As(err, &e) && strings.HasSuffix(e.Message, "."):
		return e.Message
	case errors.As(err, &e):
		return strings.TrimSuffix(e.Error(), ".") + "."
	}
	return err.Error()
}

func writeError(w io.Writer, err error) {
	for _, f := range faultsOf(err) {
		fmt.Fprintln(w, f.String())
	}
	fmt.Fprintln(w, "loads: "+sentenceOf(err))
}

// faultsFound is what is said after so many faults.
func faultsFound(n int) string {
	if n == 1 {
		return "1 fault found; correct it and try again."
	}
	return fmt.Sprintf("%d faults found; correct them and try again.", n)
}

// faultsOf returns the faults that err carries, whichever way.
func faultsOf(err error) strategies.Faults {
	var faults strategies.Faults
	if errors.As(err, &faults) {
		return faults
	}
	var e *broker.Error
	if errors.As(err, &e) {
		return e.Faults
	}
	return nil
}

// usagef is an error in the command line; it names where to read more.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return broker.Errorf(broker.EInvalid, "%s; see %s --help.", strings.TrimSuffix(fmt.Sprintf(format, args...), "."), cmd.CommandPath())
}

// between accepts min to max arguments (max -1: any number), which what names. An
// empty one, as of a variable that a shell does not know, would mean whatever
// there is.
func between(min, max int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case slices.Contains(args, ""):
			return usagef(cmd, "%s got an argument that is empty", cmd.CommandPath())
		case len(args) < min:
			return usagef(cmd, "%s needs %s", cmd.CommandPath(), what)
		case max >= 0 && len(args) > max && max == 0:
			return usagef(cmd, "%s takes no arguments, but got %q", cmd.CommandPath(), args[0])
		case max >= 0 && len(args) > max:
			return usagef(cmd, "%s takes %s only, but got %q as well", cmd.CommandPath(), what, args[max])
		}
		return nil
	}
}

// noCommand refuses what follows loads and is no command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return broker.Errorf(broker.EInvalid, "There is no command %q; did you mean %s? See loads --help.", args[0], near[0])
	}
	return usagef(cmd, "there is no command %q", args[0])
}
