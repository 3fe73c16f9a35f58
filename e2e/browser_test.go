package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// shots is where pictures of the pages go, for people to look at.
var shots = flag.String("shots", "", "folder for pictures of the pages")

// A browser is a tab of a Chromium of its own.
type browser struct {
	*testing.T
	ctx context.Context
	url string
}

// openBrowser starts a Chromium that shows the pages of the server at url. A
// fault of a script, or a breach of the page's policy, fails the test.
func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(browserLimit),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	b := &browser{T: t, ctx: ctx, url: url}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("a script failed: %+v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			// The forms with mistakes are answered with 400, as they should be. Pages
			// ask again what was cut off.
			if string(e.Entry.Level) == "error" && !strings.Contains(e.Entry.Text, "status of 400") && !strings.Contains(e.Entry.Text, networkChanged) {
				t.Errorf("the browser complains: %s (%s)", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatalf("start chromium (Debian's package of that name): %v", err)
	}
	return b
}

// networkChanged is how Chromium says that it has cut a request off since the
// computer has another network, as with each machine that a test makes.
const networkChanged = "net::ERR_NETWORK_CHANGED"

// browserLimit is how long Chromium may take for what is asked of it, on a busy
// computer.
const browserLimit = 3 * time.Minute

// do runs the actions, within browserLimit.
func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.picture("fault")
		b.Fatalf("%s: %v", what, err)
	}
}

// value runs an action, within browserLimit, and returns what it gives.
func value[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	return v
}

// script evaluates an expression on the page.
func script[T any](b *browser, expression string) T {
	b.Helper()
	return value(b, "evaluate "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// open shows a page of the server.
func (b *browser) open(path string) {
	b.Helper()
	until(b.T, "Chromium opens "+path, browserLimit, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
		defer cancel()
		err := chromedp.Do(ctx, chromedp.Navigate(b.url+path))
		if err != nil && !strings.Contains(err.Error(), networkChanged) {
			b.Fatalf("open %s: %v", path, err)
		}
		return err == nil
	})
	b.do("read "+path, chromedp.WaitReady(chromedp.CSS("main")))
}

// at waits until a page is shown whose path begins so, and returns its path.
func (b *browser) at(prefix string) string {
	b.Helper()
	var path string
	until(b.T, "the page "+prefix+"… is shown", browserLimit, func() bool {
		path = script[string](b, "document.readyState === 'complete' ? location.pathname : ''")
		return strings.HasPrefix(path, prefix)
	})
	return path
}

// text returns what the page shows within the selected element.
func (b *browser) text(selector string) string {
	b.Helper()
	return script[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// sees waits until the page shows the text within the selected element.
func (b *browser) sees(selector, text string) {
	b.Helper()
	until(b.T, fmt.Sprintf("%s shows %q", selector, text), browserLimit, func() bool {
		return strings.Contains(b.text(selector), text)
	})
}

// tabTo presses Tab until the focus is on an element that the condition, of
// element e, is true for.
func (b *browser) tabTo(condition string) {
	b.Helper()
	for range 100 {
		b.press(kb.Tab)
		if script[bool](b, "(e => "+condition+")(document.activeElement)") {
			return
		}
	}
	b.Fatalf("a hundred times Tab did not come to where %s", condition)
}

func (b *browser) press(keys string) {
	b.Helper()
	b.do("press "+keys, chromedp.KeyEvent(keys))
}

// viewport makes the tab as large as a screen, in a scheme of colours.
func (b *browser) viewport(width, height int64, scheme string) {
	b.Helper()
	b.do("set viewport", command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1,
	}), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))
}

// command is an action that sends a command of the browser's protocol.
func command[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

// picture keeps a picture of the whole page where -shots says.
func (b *browser) picture(name string) {
	if *shots == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, browserLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o600)
	}
	if err != nil {
		b.Logf("picture %s: %v", name, err)
	}
}

// accessible fails the test for each rule of accessibility that the page breaks.
func (b *browser) accessible(what string) {
	b.Helper()
	axe, err := os.ReadFile("../.build/pages/node_modules/axe-core/axe.min.js")
	if err != nil {
		b.Fatalf("run scripts/pages.sh first: %v", err)
	}
	b.do("load the rules", chromedp.Evaluate[chromedp.Void](string(axe)+"; 0"))
	const check = `axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.length + " elements, the first " + v.nodes[0].html))`
	for _, fault := range script[[]string](b, check) {
		b.Errorf("%s: %s", what, fault)
	}
}
