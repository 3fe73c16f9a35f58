//go:build linux

package initd

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	runDir     = "/run/machine"         // what process 1 keeps while it runs
	socketPath = runDir + "/init.sock"  // where the commands ask it
	configPath = runDir + "/config"     // its Config
	program    = "/usr/lib/loads/initd" // itself, in the machine
	stageTwo   = "init"                 // its name once the root is made
)

// Takeover returns at once, unless this process has been started as a part of
// a machine: then it plays that part and exits. It is to be called before
// anything else in main.
func Takeover() {
	name := filepath.Base(os.Args[0])
	switch {
	case name == Name && len(os.Args) == 2:
		fail("make the machine's root", makeRoot(os.Args[1]))
	case name == stageTwo && os.Getpid() == 1 && exists(configPath):
		code, err := boot()
		if err != nil {
			fail("boot", err)
		}
		os.Exit(code)
	case isCommand(name) && exists(socketPath):
		os.Exit(ask(name, os.Args[1:], os.Stdout, os.Stderr))
	}
}

func fail(doing string, err error) {
	fmt.Fprintf(os.Stderr, "init: %s: %v\n", doing, err)
	os.Exit(1)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
