package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

func TestExitCodeOfVerdict(t *testing.T) {
	want := map[broker.Verdict]int{
		broker.Pass: 0, broker.Fail: 2, broker.Invalid: 3, broker.Errored: 4, broker.Aborted: 5,
	}
	for verdict, code := range want {
		if got := exitCode(verdict); got != code {
			t.Errorf("exit code of %s is %d, want %d", verdict, got, code)
		}
	}
}

func TestErrorsAreSentences(t *testing.T) {
	cause := errors.New("disk full")
	tests := []struct {
		desc string
		err  error
		want string
	}{
		{"a whole sentence stands alone", &broker.Error{Code: broker.EInternal, Message: "Try later.", Err: cause}, "Try later."},
		{"an open one gets its cause", &broker.Error{Code: broker.EUnavailable, Message: "It can't be written", Err: cause}, "It can't be written: disk full."},
		{"what wraps a sentence is left out", fmt.Errorf("start: %w", broker.Errorf(broker.EInvalid, "Give a name.")), "Give a name."},
		{"faults are counted", strategies.Faults{{Field: "a"}, {Field: "b"}}, "2 faults found; correct them and try again."},
		{"any other error is as it is", cause, "disk full"},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			if got := sentenceOf(tt.err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
