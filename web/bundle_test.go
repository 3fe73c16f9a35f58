package web

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

// A program that was built without the script says how to get the charts.
func TestWithoutTheScriptThePageSaysHowToGetIt(t *testing.T) {
	p, err := New(Config{Broker: (*broker.Broker)(nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pages.js", "pages.css"} {
		delete(p.assets, name)
	}
	w := httptest.NewRecorder()
	if err := p.show(w, 200, "run.html", "a run", runPage{}); err != nil {
		t.Fatal(err)
	}
	page := w.Body.String()
	if !strings.Contains(page, "<code>make build</code>") || strings.Contains(page, "<script") || strings.Contains(page, "pages.css") {
		t.Errorf("got %s, want a hint at make build, and nothing that is not there", page)
	}
}

func TestFiguresAreShort(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 12: "12", 360000: "360000", 1.23456: "1.235", 12.3456: "12.35", 123.456: "123.5", 1234.56: "1235", 0.01234: "0.0123", 0.00001: "1e-05", -2.5: "-2.500",
	} {
		if got := figure(x); got != want {
			t.Errorf("figure(%v): got %s, want %s", x, got, want)
		}
	}
}
