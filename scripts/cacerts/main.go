// Command cacerts writes the root certificates that Loads is built with as
// PEM to standard output, for an image that has no system to bring them. They
// come from the module golang.org/x/crypto/x509roots, so the image is the same
// wherever it is built.
package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	for root := range bundle.Roots() {
		// A root with a constraint holds for some hosts only, which PEM can't
		// say, so it is left out.
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			fail(err)
		}
	}
	if err := out.Flush(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "cacerts: %v\n", err)
	os.Exit(1)
}
