package engine

import (
	"strings"
	"testing"
	"time"
)

// Whatever servers say of the age of their answers, none is fresh for ever, and
// no pause of a page is longer than the longest.
func FuzzFreshness(f *testing.F) {
	f.Add("max-age=99999999999999999999, no-store", "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 21 Nov 2026 08:43:42 GMT", "-9")
	f.Add(`private, max-age="60"`, "0", "", "99999999999999999999")
	f.Add("5; url='/there'", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1")
	f.Add("", "Mon, 01 Jan 0201 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1") // further apart than a duration can be
	f.Fuzz(func(t *testing.T, control, expires, date, age string) {
		a := &answer{maxAge: -1}
		for name, value := range map[string]string{"cache-control": control, "EXPIRES": expires, "Date": date, "Age": age} {
			a.header(nil, []byte(name), []byte(value))
		}
		if d := a.lifetime(); d > maxFresh || a.maxAge == 0 && d > 0 || a.noStore && !strings.Contains(strings.ToLower(control), "no-store") {
			t.Errorf("fresh for %v: %+v", d, a)
		}
		if pause, target, ok := parseRefresh(control); pause < 0 || pause > maxPause*time.Second || ok == (target == "") {
			t.Errorf("got a pause of %v before %q, %v", pause, target, ok)
		}
	})
}
