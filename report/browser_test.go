package report

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// chromium opens a page from a file, where no name can be resolved, and
// returns its standard output.
func chromium(t *testing.T, page string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir=" + t.TempDir(),
	}, flags...)
	cmd := exec.CommandContext(ctx, "chromium", append(args, "file://"+page)...)
	// Its own children are ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run chromium (Debian's package of that name): %v", err)
	}
	return string(out)
}

// colours counts the colours of a picture.
func colours(picture image.Image) int {
	seen := map[color.Color]bool{}
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			seen[picture.At(x, y)] = true
		}
	}
	return len(seen)
}

func TestABrowserShowsThePageWithoutANetwork(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	text := mustWrite(t, HTML, dossierOf(load{seed: 1, seconds: 300, latency: 30, rate: 40}))
	if err := os.WriteFile(page, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dom := chromium(t, page, "--dump-dom")
	for _, want := range []string{"<h2>Criteria</h2>", "<path class=\"c4\"", "listening &lt;/pre&gt;&lt;script&gt;", "NOT balanced"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page as read has no %s", want)
		}
	}
	for name, width := range map[string]int{"desk": 1100, "phone": 500} {
		shot := filepath.Join(dir, name+".png")
		chromium(t, page, "--screenshot="+shot, fmt.Sprintf("--window-size=%d,1600", width))
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		picture, err := png.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		if picture.Bounds().Dx() != width || colours(picture) < 50 {
			t.Errorf("%s: %v with %d colours, want %d pixels across and a page in them", name, picture.Bounds(), colours(picture), width)
		}
	}
}
