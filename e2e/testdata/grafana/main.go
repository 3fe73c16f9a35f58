// Command grafana is the stand-in of package grafanatest as a program, which is
// told by the variables of Grafana's own image what it is to be.
package main

import (
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/loads/loads/grafana/grafanatest"
)

func main() {
	password, err := os.ReadFile(os.Getenv("GF_SECURITY_ADMIN_PASSWORD__FILE"))
	if err != nil {
		log.Fatal(err)
	}
	if os.Getenv("GF_SERVER_PROTOCOL") != "https" {
		log.Fatal("GF_SERVER_PROTOCOL is not https")
	}
	server := grafanatest.New(os.Getenv("GF_SECURITY_ADMIN_USER") + ":" + strings.TrimSpace(string(password)))
	log.Fatal(http.ListenAndServeTLS(":3000", os.Getenv("GF_SERVER_CERT_FILE"), os.Getenv("GF_SERVER_CERT_KEY"), server))
}
