package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/aws"
)

func TestEC2Options_SayAllThatIsWrong(t *testing.T) {
	for _, row := range []struct {
		name string
		with ec2Options
		says []string // nothing: it is right
	}{
		{"nothing kept", ec2Options{}, nil},
		{"all of it", ec2Options{idle: time.Hour, standby: []string{"us-east-1/c7i.large=2", "us-east-1/m7g.large=1"}}, nil},
		{"short times", ec2Options{lease: time.Second, idle: time.Second}, []string{"--ec2-lease is 1s", "--ec2-idle is 1s"}},
		{"no time to boot", ec2Options{boot: time.Second}, []string{"--ec2-boot-limit is 1s"}},
		{"less than no time", ec2Options{idle: -time.Hour}, []string{"--ec2-idle is -1h0m0s"}},
		{"no number", ec2Options{standby: []string{"us-east-1/c7i.large"}}, []string{"--ec2-standby", "us-east-1/c7i.large=2"}},
		{"none", ec2Options{standby: []string{"us-east-1/c7i.large=0"}}, []string{"--ec2-standby"}},
		{"a slip of the keyboard", ec2Options{standby: []string{"us-east-1/c7i.large=2000"}}, []string{"up to 100"}},
		{"no region", ec2Options{standby: []string{"c7i.large=2"}}, []string{"--ec2-standby"}},
		{"the same twice", ec2Options{standby: []string{"a/b=1", "a/b=2"}}, []string{`"a/b=2"`, "each type once"}},
		{"no address", ec2Options{from: []string{"here"}, idle: 1}, []string{"--ec2-from", "--ec2-idle"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.with.on = true
			if row.with.lease == 0 {
				row.with.lease = time.Minute
			}
			if row.with.boot == 0 {
				row.with.boot = time.Minute
			}
			err := row.with.complete()
			if (err != nil) != (row.says != nil) {
				t.Fatalf("got %v, want %q", err, row.says)
			}
			for _, words := range row.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("got %v, want %q in it", err, words)
				}
			}
		})
	}
}

func TestEC2Options_ReadsWhatStandsBy(t *testing.T) {
	o := ec2Options{standby: []string{"us-east-1/c7i.large=2", "eu-west-1/c7i.large=1"}}
	want := []aws.Standby{{Region: "us-east-1", Type: "c7i.large", Count: 2}, {Region: "eu-west-1", Type: "c7i.large", Count: 1}}
	if got, err := o.standbys(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
