// Command loads runs load tests: it is the broker, and the command line that
// asks a broker for runs and shows them.
//
// Main is the whole program as a value, so that tests drive what ships. Each
// command is a small struct in a file of its own.
package main

import (
	"context"
	"os"

	"github.com/loads/loads/aws/ec2sim/nshost/initd"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	initd.Takeover() // the simulated EC2's machines run this program as their process 1
	m := Main{
		Args:    os.Args[1:],
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Getenv:  os.Getenv,
		Version: programVersion(version),
	}
	os.Exit(m.Run(context.Background()))
}
