package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// shopPlan has a criterion that comes to hold and one that fails on the way. It
// goes on for as long as a browser on a busy computer may take to see that.
const shopPlan = `
name: shop
plans:
  - name: visits
    description: Users <b>visit</b> the shop.
    criteria:
      - {name: fast, expr: p95("req.latency") < 60000}
      - {name: few, expr: rate("req.count") < 1, for: 3s}
    steps:
      - name: web
        container_name: loads/node
        additional_command_args: serve --listen :8000
        dns_name: web.pages.test
        port_mapping: 8000:8100
        ready: {port: 8100, timeout: 60}
        run_max_time: 900
        stop_timeout: 1
      - name: users
        instance_count: 2
        container_name: loads/node
        additional_command_args: gen --url http://web.pages.test:8100/ --rate $RATE --duration 600s --timeout 60s
        environment_data: {RATE: 20, DB_PASSWORD: hunter22}
        start_after: web
        stop_timeout: 1
`

// Of a run's page: how many charts are drawn, and how many seconds of how many
// lines are in them.
const (
	charts = `document.querySelectorAll("#plots figure canvas").length`
	drawn  = `Number(document.querySelector("#plots").dataset.points ?? 0)`
	told   = `Number(document.querySelector("#hostplots").dataset.points ?? 0)` // of machines
)

func TestPagesInABrowser(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	p, err := d.Import(t.Context(), "plan.yaml", []byte(shopPlan), true)
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, d.BaseURL)

	b.open("/")
	b.sees("main", "visits")
	b.accessible("the list of runs")
	b.tabTo(`e.getAttribute("href") === "/plan/` + p.Plans[0].UUID + `"`)
	b.press(kb.Enter)
	b.at("/plan/")
	b.sees("main", "<b>visit</b>")
	if text := b.text("main"); strings.Contains(text, "hunter22") {
		t.Error("the plan's page shows a secret")
	}
	b.accessible("the page of a plan")
	b.picture("plan")

	b.tabTo(`e.name === "env.RATE"`)
	b.press("25")
	b.tabTo(`e.name === "owner"`)
	b.press("ann")
	b.tabTo(`e.textContent === "Start"`)
	b.press(kb.Enter)
	run := strings.TrimPrefix(b.at("/run/"), "/run/")
	if !t.Run("live", func(t *testing.T) { b.on(t).watch(d, run) }) {
		return // the rest is about a run that is over
	}
	t.Run("over", func(t *testing.T) { b.on(t).lookBack(d, run) })
	t.Run("fork", func(t *testing.T) { b.on(t).forkPlan(d, p.Plans[0].UUID) })
	t.Run("abort", func(t *testing.T) { b.on(t).abortRun(d) })
	t.Run("phone", func(t *testing.T) { b.on(t).phone(run, p.Plans[0].UUID) })
	t.Run("dark", func(t *testing.T) { b.on(t).dark(run, p.Plans[0].UUID) })
	t.Run("sign in", func(t *testing.T) { b.on(t).signIn() })
	t.Run("without script", func(t *testing.T) { b.on(t).withoutScript(run) })
}

// on is the same tab in a part of the test.
func (b *browser) on(t *testing.T) *browser { return &browser{T: t, ctx: b.ctx, url: b.url} }

// watch sees the run go on, without loading the page again.
func (b *browser) watch(d *daemon, run string) {
	b.do("mark the page", chromedp.Evaluate[chromedp.Void]("window.same = 1"))
	b.sees("#news", "Live.")
	b.sees("h1", "RUNNING")
	until(b.T, "the charts have their curves", 2*time.Minute, func() bool { return script[float64](b, charts) >= 2 })
	before, toldBefore := script[float64](b, drawn), script[float64](b, told)
	until(b.T, "the charts get more points", 2*time.Minute, func() bool { return script[float64](b, drawn) > before })
	until(b.T, "so do those of machines", 2*time.Minute, func() bool { return script[float64](b, told) > toldBefore })
	b.sees("#hostplots", "users/1")
	b.sees("[data-live=machines]", "MB") // of memory
	ends := `Number(document.querySelector("[data-live=metrics] td.number")?.textContent ?? 0)`
	first := script[float64](b, ends)
	until(b.T, "more is counted", 2*time.Minute, func() bool { return script[float64](b, ends) > first })
	b.sees("[data-live=criteria]", "holds")
	b.sees("[data-live=criteria]", "failed")
	b.picture("run-live")
	if was, err := d.Abort(b.Context(), run); err != nil || !was {
		b.Fatalf("abort: was running %v, %v", was, err)
	}
	b.sees("h1", "ABORTED")
	b.sees("#news", "The run is over.")
	b.sees("#events", "ABORTED")
	if script[float64](b, "window.same") != 1 {
		b.Error("the page was loaded again")
	}
	r := d.await(run)
	if r.Run.Owner != "ann" || r.Run.Environment["RATE"] != "25" {
		b.Errorf("the run is of %q with %v, want what the form was given", r.Run.Owner, r.Run.Environment)
	}
	d.clean(r)
}

// lookBack reads a run that is over: its charts by machine, and its logs.
func (b *browser) lookBack(d *daemon, run string) {
	b.open("/run/" + run)
	b.accessible("the page of a run")
	until(b.T, "the charts are drawn", 2*time.Minute, func() bool { return script[float64](b, charts) >= 3 })
	b.picture("run-over")
	b.do("choose", chromedp.Evaluate[chromedp.Void](`{
		const by = document.querySelector("#by"); by.value = "machine"; by.dispatchEvent(new Event("change")) }`))
	b.sees("#plots", "users/1")
	b.do("go to the logs", chromedp.Click(chromedp.CSS(`a[href*="step=web"]`)))
	b.at("/run/" + run + "/logs")
	b.sees("#log", "listening")
	b.accessible("a page of logs")
	b.picture("logs")
}

func (b *browser) forkPlan(d *daemon, plan string) {
	b.open("/plan/" + plan + "/fork")
	text := `document.querySelector("textarea").value`
	b.do("break the plan", chromedp.Evaluate[chromedp.Void](text+" = "+text+`.replace("name: web", "nam: web").replace("start_after", "start_afer")`),
		chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "more visits"), chromedp.Click(chromedp.CSS("button.main")))
	b.sees("#faults", "mistakes")
	if got := b.text("#faults"); !strings.Contains(got, "start_afer") || !strings.Contains(got, "nam") {
		b.Errorf("not all mistakes are shown: %s", got)
	}
	b.accessible("a form with mistakes")
	b.picture("fork")
	b.do("mend it", chromedp.Evaluate[chromedp.Void](text+" = "+text+`.replace("nam: web", "name: web").replace("start_afer", "start_after").replace('RATE: "20"', "RATE: 30")`),
		chromedp.Click(chromedp.CSS("button.main")))
	b.sees("h1", "more visits")
	fork, err := d.Plan(b.Context(), strings.TrimPrefix(b.at("/plan/"), "/plan/"))
	if err != nil {
		b.Fatal(err)
	}
	rate, _ := fork.Steps[1].EnvironmentData.Get("RATE")
	password, _ := fork.Steps[1].EnvironmentData.Get("DB_PASSWORD")
	if fork.Parent != plan || rate != "30" || password != "hunter22" {
		b.Errorf("the fork has parent %q, RATE %q, DB_PASSWORD %q; want %q, 30 and the parent's secret", fork.Parent, rate, password, plan)
	}
}

// idlePlan says something and then does nothing for long.
const idlePlan = `
name: idle
steps:
  - {name: web, container_name: loads/node, additional_command_args: "serve --listen :8000", stop_timeout: 1}
`

// abortRun follows a run's log from before there is any, and aborts the run.
func (b *browser) abortRun(d *daemon) {
	run := d.trigger(idlePlan)
	b.open("/run/" + run + "/logs")
	b.sees("#log", "listening")
	b.sees("#following", "Live.")
	b.open("/run/" + run)
	b.tabTo(`e.textContent === "Abort…"`)
	b.press(kb.Enter)
	b.at("/run/" + run + "/abort")
	b.accessible("the question before an abort")
	b.tabTo(`e.textContent === "Abort the run"`)
	b.press(kb.Enter)
	b.sees("h1", "ABORTED")
	r := d.await(run)
	if r.Run.Verdict != broker.Aborted {
		b.Errorf("verdict %s, want ABORTED", r.Run.Verdict)
	}
	d.clean(r)
}

// phone looks at all sorts of pages on a small screen.
func (b *browser) phone(run, plan string) {
	b.viewport(390, 844, "light")
	for name, path := range map[string]string{
		"home": "/", "plan": "/plan/" + plan, "run": "/run/" + run, "fork": "/plan/" + plan + "/fork",
		"logs": "/run/" + run + "/logs", "import": "/import",
	} {
		b.open(path)
		if name == "run" {
			until(b.T, "the charts are drawn", 2*time.Minute, func() bool { return script[float64](b, charts) >= 3 })
		}
		if over := script[float64](b, "document.documentElement.scrollWidth - window.innerWidth"); over > 0 {
			b.Errorf("%s is %v pixels wider than a phone", path, over)
		}
		b.picture("phone-" + name)
	}
}

func (b *browser) dark(run, plan string) {
	b.viewport(1280, 900, "dark")
	for name, path := range map[string]string{"home": "/", "plan": "/plan/" + plan, "run": "/run/" + run} {
		b.open(path)
		if name == "run" {
			until(b.T, "the charts are drawn", 2*time.Minute, func() bool { return script[float64](b, charts) >= 3 })
		}
		b.accessible("dark " + path)
		b.picture("dark-" + name)
	}
}

// signIn gives a broker that wants one a wrong token and the right one, starts
// to use its pages, and signs out.
func (b *browser) signIn() {
	token, line, err := api.NewToken("ann")
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.url = startGuarded(b.T, token, "--tokens", file).BaseURL
	b.open("/import")
	b.at("/login")
	b.accessible("the page to sign in")
	b.give("wrong")
	b.sees("#wrong", "not known")
	b.accessible("the page after a wrong token")
	b.picture("login")
	b.give(token)
	b.at("/import")
	if cookies := script[string](b, "document.cookie"); cookies != "" {
		b.Errorf("scripts can read the cookie %s", cookies)
	}
	b.open("/")
	b.tabTo(`e.textContent === "Sign out"`)
	b.press(kb.Enter)
	b.at("/login")
	b.open("/")
	b.at("/login")
}

// give types a token, for which the page has put the focus where it belongs.
func (b *browser) give(token string) {
	b.Helper()
	until(b.T, "the field has the focus", 2*time.Minute, func() bool {
		return script[bool](b, `document.hasFocus() && document.activeElement.name === "token"`)
	})
	b.press(token + kb.Enter)
}

func (b *browser) withoutScript(run string) {
	b.do("turn script off", command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.open("/run/" + run)
	text := value(b, "read the page", chromedp.Text(chromedp.CSS("main")))
	for _, want := range []string{"ABORTED", "req.latency", "users/1", "Frames stored", "Charts need script"} {
		if !strings.Contains(text, want) {
			b.Errorf("without script, %q is not on the page", want)
		}
	}
}
