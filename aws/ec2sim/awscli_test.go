package ec2sim_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheCommandLineOfAWS(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil {
		t.Fatalf("awscli is needed; scripts/test-deps.sh installs it: %v", err)
	}
	c := startCloud(t, quick()).serve()
	script, err := filepath.Abs("testdata/awscli.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "URL=" + c.url, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_DEFAULT_REGION=" + virginia, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("awscli.sh: %v\n%s", err, out)
	}
	for kind, tally := range c.sim.State().Receipt {
		if tally.Left != 0 || (tally.Made == 0 && kind != "spot-requests") {
			t.Errorf("%s: %+v", kind, tally)
		}
	}
}
