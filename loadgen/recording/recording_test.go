package recording_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/recording"
)

var load = recording.Load{Name: "imported", UsersPerSec: 1, Duration: "1m", Connections: 50}

// parsed writes the recording as a benchmark, and reads that back.
func parsed(t *testing.T, r recording.Recording, params map[string]string) (string, *benchmark.Benchmark) {
	t.Helper()
	text, err := r.Benchmark(load)
	if err != nil {
		t.Fatal(err)
	}
	b, err := benchmark.Parse("imported.yaml", text, params)
	if err != nil {
		t.Fatalf("the benchmark is not valid: %v\n%s", err, text)
	}
	return string(text), b
}

func TestCurl(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, line string
		want       []string // in the benchmark
		not        []string
		notes      string
	}{
		{
			"an address", "curl shop.test:8080/items?id=7",
			[]string{"host: http://shop.test:8080", "GET: /items?id=7", "sharedConnections: 50", "usersPerSec: 1"},
			nil, "",
		},
		{
			"a body posts a form", `curl https://shop.test/login -d user=ann -d 'note=a b'`,
			[]string{"host: https://shop.test:443", "POST: /login", "body: user=ann&note=a b", "Content-Type: application/x-www-form-urlencoded"},
			nil, "",
		},
		{
			"as a browser copies it", "curl 'https://shop.test/api' \\\n  -X 'PUT' \\\n  -H 'content-type: application/json' \\\n  -H 'Cookie: sid=1' \\\n  --data-raw $'{\"name\":\"it\\'s\"}' \\\n  --compressed",
			[]string{"PUT: /api", `it''s`, "encoding: gzip", "content-type: application/json"},
			[]string{"sid=1", "urlencoded"},
			"Cookies were left out",
		},
		{
			"secrets are parameters", `curl -u ann:secret https://shop.test/`,
			[]string{"Authorization: !param AUTHORIZATION"},
			[]string{"secret"},
			"--param AUTHORIZATION=VALUE",
		},
		{
			"get with data", `curl -G https://shop.test/find?a=1 --data-urlencode 'q=red hat' -d n=2`,
			[]string{"GET: /find?a=1&n=2&q=red+hat"},
			[]string{"body"},
			"",
		},
		{"json", `curl --json '{"a":1}' shop.test`, []string{"POST: /", `{"a":1}`, "application/json"}, nil, ""},
		{"redirects", `curl -sSL shop.test/old -o /dev/null`, []string{"followRedirect: LOCATION_ONLY"}, nil, ""},
		{"what looks like a variable", `curl 'shop.test/${id}' -H 'X-A: ${b}'`, []string{"GET: /$%7Bid%7D", "$${b}"}, nil, ""},
		{"IPv6", `curl 'http://[::1]:8080/'`, []string{"host: http://[::1]:8080"}, nil, ""},
		{"only a header", `curl -I -A robot shop.test`, []string{"HEAD: /", "User-Agent: robot"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := recording.FromCurl(c.line)
			if err != nil {
				t.Fatal(err)
			}
			var params map[string]string
			if strings.Contains(c.line, "-u ") {
				params = map[string]string{"AUTHORIZATION": "Basic eA=="}
			}
			text, _ := parsed(t, r, params)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("the benchmark lacks %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(text, not) {
					t.Errorf("the benchmark has %q", not)
				}
			}
			if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, c.notes) || c.notes == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.notes)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

func TestCurlThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ line, want string }{
		"another program": {"wget shop.test", "must begin with"},
		"no address":      {"curl -v", "no address"},
		"a quote is open": {"curl 'shop.test", "as a shell would"},
		"a file":          {"curl shop.test -d @order.json", "@order.json is a file"},
		"multipart":       {"curl shop.test -F a=b", "multipart"},
		"unknown option":  {"curl shop.test --proxy p", "--proxy"},
		"not of HTTP":     {"curl ftp://shop.test/", "ftp://shop.test/"},
		"a bad port":      {"curl http://shop.test:99999/", "port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := recording.FromCurl(c.line); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func fromHAR(t *testing.T, o recording.HAROptions, hosts ...string) recording.Recording {
	t.Helper()
	f, err := os.Open("testdata/shop.har")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := recording.FromHAR(f, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Only(hosts); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHAR(t *testing.T) {
	t.Parallel()
	r := fromHAR(t, recording.HAROptions{})
	text, b := parsed(t, r, nil)
	golden := "testdata/shop.yaml"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("got\n%s\nwant, from %s,\n%s", text, golden, want)
	}
	if len(b.HTTP) != 1 || len(b.Phases) != 1 {
		t.Errorf("%d endpoints and %d phases, want one of each", len(b.HTTP), len(b.Phases))
	}
	for _, note := range []string{"1 requests to stats.test were left out", "Images, styles", "Cookies were left out", "Requests to data: addresses"} {
		if !strings.Contains(strings.Join(r.Notes, "\n"), note) {
			t.Errorf("notes %q lack %q", r.Notes, note)
		}
	}
}

func TestHARWithAssetsAndOtherHosts(t *testing.T) {
	t.Parallel()
	text, b := parsed(t, fromHAR(t, recording.HAROptions{Assets: true}, "shop.test", "stats.test"), nil)
	for _, want := range []string{"GET: /logo.png", "authority: stats.test:443", "authority: shop.test:443"} {
		if !strings.Contains(text, want) {
			t.Errorf("the benchmark lacks %q:\n%s", want, text)
		}
	}
	if len(b.HTTP) != 2 {
		t.Errorf("%d endpoints, want 2", len(b.HTTP))
	}
}

func TestHARThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	cases := map[string][2]string{
		"not JSON":     {"curl", "not a HAR file"},
		"other JSON":   {`{"a": 1}`, `no "log"`},
		"nothing":      {`{"log": {}}`, "no request"},
		"bad address":  {`{"log":{"entries":[{"request":{"method":"GET","url":"http://"}}]}}`, "entry 0"},
		"broken bytes": {`{"log":{"entries":[{"request":{"method":"POST","url":"http://a","postData":{"text":"?","encoding":"base64"}}}]}}`, "body of http://a"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := recording.FromHAR(strings.NewReader(cases[name][0]), recording.HAROptions{})
			if err == nil || !strings.Contains(err.Error(), cases[name][1]) {
				t.Errorf("got %v, want %q in it", err, cases[name][1])
			}
		})
	}
}

var param = regexp.MustCompile(`!param (\w+)`)

// Whatever is recorded, what is written is read again.
func FuzzCurl(f *testing.F) {
	f.Add(`curl -X POST 'http://a.test/x?y=${z}' -H 'A: b' --data-raw 'c: [d'`)
	f.Add("curl a -d $'\\x01\\n: - {'")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := recording.FromCurl(line)
		if err != nil {
			return
		}
		text, err := r.Benchmark(load)
		if err != nil {
			return
		}
		params := map[string]string{}
		for _, m := range param.FindAllStringSubmatch(string(text), -1) {
			params[m[1]] = "x"
		}
		if _, err := benchmark.Parse("f.yaml", text, params); err != nil {
			t.Errorf("%q: %v\n%s", line, err, text)
		}
	})
}
