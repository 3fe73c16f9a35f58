package drills_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/light"
	"github.com/loads/loads/aws/ec2sim/nshost"
)

// A cloud is a simulated EC2 in this process.
type cloud struct {
	*ec2sim.Sim
	env []string // for whoever uses it
}

func startCloud(t *testing.T, drill ec2sim.Drill, host ec2sim.Host) *cloud {
	t.Helper()
	sim, err := ec2sim.New(ec2sim.Config{
		Host: host, Drill: drill, Dir: t.TempDir(),
		Keys: map[string]ec2sim.Key{"AKIADRILLS0000000000": {Secret: "a secret of drills", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return &cloud{Sim: sim, env: []string{
		"AWS_ENDPOINT_URL=" + server.URL, "AWS_ACCESS_KEY_ID=AKIADRILLS0000000000", "AWS_SECRET_ACCESS_KEY=a secret of drills",
		"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
	}}
}

func lightHost(t *testing.T) ec2sim.Host {
	t.Helper()
	host, err := light.New(light.Options{Metrics: 3})
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// emptyNode returns a folder with a node program of no use: light machines run
// none, and megabytes for each of them would take this computer longer than all
// the rest.
func emptyNode(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(dir, "loads-node-linux-"+arch), []byte("nothing"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func realHost(t *testing.T) ec2sim.Host {
	t.Helper()
	host, err := nshost.New(t.Context(), nshost.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return host
}
