package main

import (
	"errors"
	"fmt"
	"io"
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
  1  wrong usage, a plan with faults, or no broker could be reached
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
	body := errorBody{Code: broker.CodeOf(err), Message: err.Error(), Faults: faultsOf(err)}
	var e *broker.Error
	if errors.As(err, &e) {
		body.Message = e.Message
	}
	return map[string]errorBody{"error": body}
}

func writeError(w io.Writer, err error) {
	faults := faultsOf(err)
	for _, f := range faults {
		fmt.Fprintln(w, f.String())
	}
	message := err.Error()
	var e *broker.Error
	switch {
	case errors.As(err, &e) && (e.Code != broker.EInternal || e.Err == nil):
		message = e.Message
	case len(faults) > 0:
		message = countOf(len(faults), "fault") + " in the plan; correct it and try again."
	}
	fmt.Fprintln(w, "loads: "+strings.TrimSpace(message))
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
	return broker.Errorf(broker.EInvalid, "%s; see %s --help.", fmt.Sprintf(format, args...), cmd.CommandPath())
}

// between accepts min to max arguments (max -1: any number), which what names.
func between(min, max int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
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
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
		return broker.Errorf(broker.EInvalid, "There is no command %q%s", args[0], hint)
	}
	return usagef(cmd, "there is no command %q", args[0])
}
