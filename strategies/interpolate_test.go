package strategies_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

func lookupIn(values map[string]string) func(string) (string, error) {
	return func(name string) (string, error) {
		v, ok := values[name]
		if !ok {
			return "", strategies.UnsetError(name)
		}
		return v, nil
	}
}

func TestInterpolate(t *testing.T) {
	values := map[string]string{"A": "1", "A_B2": "2", "_x": "$A", "EMPTY": ""}
	for _, c := range []struct{ name, text, want, fault string }{
		{name: "text without dollars stays", text: "a b", want: "a b"},
		{name: "a name goes as far as it can", text: "$A-$A_B2.$A/", want: "1-2.1/"},
		{name: "braces end a name", text: "${A}_B2$A", want: "1_B21"},
		{name: "two dollars are one", text: "$$A costs 5$$", want: "$A costs 5$"},
		{name: "values are not interpolated again", text: "$_x", want: "$A"},
		{name: "an empty value is a value", text: "[$EMPTY]", want: "[]"},
		{name: "a name that is not set is named", text: "$A $NOPE", fault: "variable $NOPE is not set"},
		{name: "names are case-sensitive", text: "$a", fault: "variable $a is not set"},
		{name: "a dollar at the end is alone", text: "5$", fault: "a lone $: write $$ for a dollar sign, $NAME or ${NAME} for a variable"},
		{name: "a digit begins no name", text: "$1", fault: "a lone $: write $$ for a dollar sign, $NAME or ${NAME} for a variable"},
		{name: "letters outside ASCII begin no name", text: "$é", fault: "a lone $: write $$ for a dollar sign, $NAME or ${NAME} for a variable"},
		{name: "braces must be closed", text: "${A", fault: "${ without a name and a }: write ${NAME}, or $$ for a dollar sign"},
		{name: "braces must hold a name", text: "${}", fault: "${ without a name and a }: write ${NAME}, or $$ for a dollar sign"},
		{name: "braces hold nothing but a name", text: "${A:-1}", fault: "${ without a name and a }: write ${NAME}, or $$ for a dollar sign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := strategies.Interpolate(c.text, lookupIn(values))
			if c.fault != "" {
				if err == nil || err.Error() != c.fault {
					t.Errorf("got error %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %q, error %v; want %q", got, err, c.want)
			}
		})
	}
}

func builtins() map[string]string {
	return map[string]string{
		"RUN_ID": "r1", "HOST_IP": "1.2.3.4", "PRIVATE_IP": "10.0.0.1", "STATSD_HOST": "10.0.0.1",
		"STATSD_PORT": "8125", "STATSD_SOCKET": "/run/loads/statsd.sock", "CONTAINER_ID": "c1", "LOADS_START_AT": "1790000000000",
		"LOADS_MACHINE": "2", "LOADS_MACHINES": "3",
	}
}

func TestBuiltinsAreAllThatResolveIsGiven(t *testing.T) {
	known := map[string]bool{}
	for _, name := range strategies.Builtins() {
		known[name] = true
	}
	for name := range builtins() {
		if !known[name] || len(known) != len(builtins()) {
			t.Errorf("got built-in variables %v, want those of %v", strategies.Builtins(), builtins())
		}
	}
}

func TestResolveInterpolatesAllFields(t *testing.T) {
	s := step("web", func(s *strategies.Step) {
		s.ContainerName = "$REGISTRY/web:${TAG}"
		s.ContainerURL = "https://images.test/$TAG.tar"
		s.EnvironmentData = strategies.Environment{
			{Name: "TARGET", Value: "http://$HOST:$PORT"},
			{Name: "HOST", Value: "$PRIVATE_IP"},
			{Name: "PORT", Value: "80"},
			{Name: "REGISTRY", Value: "registry.test:5000"},
			{Name: "TAG", Value: "1.0"},
			{Name: "PRICE", Value: "5$$"},
			{Name: "STATSD_HOST", Value: "${STATSD_HOST}"},
		}
		s.AdditionalCommandArgs = `--url $TARGET "--title=two words" $EXTRA`
		s.PortMapping = "80:8000, 53:5353/udp"
		s.VolumeMapping = "/logs:/var/$RUN_ID:rw,/data:$DATA"
	})
	got, err := s.Resolve(builtins(), strategies.Environment{
		{Name: "TAG", Value: "2.0"},
		{Name: "DATA", Value: "/srv/data"},
		{Name: "EXTRA", Value: "--a 'b c' $literal"},
		{Name: "HOST_IP", Value: "proxy.test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strategies.Resolved{
		Image: "registry.test:5000/web:2.0",
		URL:   "https://images.test/2.0.tar",
		Env: []strategies.Variable{
			{Name: "CONTAINER_ID", Value: "c1"},
			{Name: "HOST_IP", Value: "proxy.test"},
			{Name: "LOADS_MACHINE", Value: "2"},
			{Name: "LOADS_MACHINES", Value: "3"},
			{Name: "LOADS_START_AT", Value: "1790000000000"},
			{Name: "PRIVATE_IP", Value: "10.0.0.1"},
			{Name: "RUN_ID", Value: "r1"},
			{Name: "STATSD_HOST", Value: "10.0.0.1"},
			{Name: "STATSD_PORT", Value: "8125"},
			{Name: "STATSD_SOCKET", Value: "/run/loads/statsd.sock"},
			{Name: "TARGET", Value: "http://10.0.0.1:80"},
			{Name: "HOST", Value: "10.0.0.1"},
			{Name: "PORT", Value: "80"},
			{Name: "REGISTRY", Value: "registry.test:5000"},
			{Name: "TAG", Value: "2.0"},
			{Name: "PRICE", Value: "5$"},
			{Name: "DATA", Value: "/srv/data"},
			{Name: "EXTRA", Value: "--a 'b c' $literal"},
		},
		Args:    []string{"--url", "http://10.0.0.1:80", "--title=two words", "--a", "b c", "$literal"},
		Ports:   []strategies.Port{{Container: 80, Host: 8000, Protocol: "tcp"}, {Container: 53, Host: 5353, Protocol: "udp"}},
		Volumes: []strategies.Volume{{Container: "/logs", Host: "/var/r1"}, {Container: "/data", Host: "/srv/data", ReadOnly: true}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resolved step differs (-want +got):\n%s", diff)
	}
}

func TestResolveNamesTheFieldAndTheFault(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		name string
		edit func(*strategies.Step)
		want string
	}{
		{"an unset variable in the image", func(s *strategies.Step) { s.ContainerName = "a:$TAG" }, "interpolate container_name: variable $TAG is not set"},
		{"an image whose variable spoils its name", func(s *strategies.Step) { s.ContainerName = "a:$V" }, `read container_name "a:b c": invalid reference format`},
		{"an address whose variable spoils it, without the value", func(s *strategies.Step) { s.ContainerURL = "${V}://x" }, `read container_url "${V}://x": it is not a URL`},
		{"variables in a circle", func(s *strategies.Step) {
			s.EnvironmentData = strategies.Environment{{Name: "A", Value: "$B"}, {Name: "B", Value: "$A"}}
		}, "interpolate environment_data.A: variables refer to themselves: $A → $B → $A"},
		{"quotes that come with a value", func(s *strategies.Step) { s.AdditionalCommandArgs = "it$Q" }, "split additional_command_args: Unterminated single-quoted string"},
		{"a volume whose variable is no path", func(s *strategies.Step) { s.VolumeMapping = "/a:$V" }, `read volume_mapping: "b c" is not an absolute path on the machine`},
		{"a port that is none", func(s *strategies.Step) { s.PortMapping = "80" }, "read port_mapping: 80 is not a pair of ports"},
		{"a text that grows without bound", func(s *strategies.Step) { s.AdditionalCommandArgs = "$BIG$BIG" }, "interpolate additional_command_args: the text grows beyond 131072 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := step("web", c.edit).Resolve(builtins(), strategies.Environment{
				{Name: "V", Value: "b c"}, {Name: "Q", Value: "'s"}, {Name: "BIG", Value: big},
			})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestCheckVariablesAsksForWhatIsNotSet(t *testing.T) {
	p := strategies.Plan{Name: "p", Steps: []strategies.Step{step("web", func(s *strategies.Step) {
		s.AdditionalCommandArgs = "--rate $RATE --id $RUN_ID"
		s.EnvironmentData = strategies.Environment{{Name: "A", Value: "$B"}, {Name: "B", Value: "$A"}}
	})}}
	want := `steps[0].environment_data.A: $B refers to itself: $A → $B → $A; give one of them a value of its own
steps[0].additional_command_args: $RATE is not set; set it in environment_data, or when the run is started`
	if err := strategies.CheckVariables(p, nil); err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	env := strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "B", Value: "given by the run, so no circle"}}
	if err := strategies.CheckVariables(p, env); err != nil {
		t.Errorf("got %v, want no fault", err)
	}
}

func TestIsSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"TOKEN": true, "API_TOKEN": true, "db_password": true, "PASSWD": true, "MY_SECRET_1": true, "AWS_CREDENTIAL": true,
		"GCP_CREDENTIALS": true, "SSH_PRIVATE_KEY": true, "API_KEY": true, "AWS_ACCESS_KEY_ID": true, "apiKey": true, "x.api-key": true,
		"TOKENIZER": false, "KEY": false, "MONKEY": false, "SECRETARY": false, "RATE": false, "PRIVATE_IP": false, "KEY_API": false, "": false,
		"PASSES": false, "BYPASS": false,
	} {
		if got := strategies.IsSecret(name); got != want {
			t.Errorf("IsSecret(%q) is %t, want %t", name, got, want)
		}
	}
}

func TestMaskedHidesSecretsInACopy(t *testing.T) {
	env := strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "API_KEY", Value: "abc"}}
	want := strategies.Environment{{Name: "RATE", Value: "5"}, {Name: "API_KEY", Value: "***"}}
	if diff := cmp.Diff(want, env.Masked()); diff != "" {
		t.Errorf("masked environment differs (-want +got):\n%s", diff)
	}
	if v, _ := env.Get("API_KEY"); v != "abc" {
		t.Errorf("got %q in the original, want abc", v)
	}
	if strategies.Environment(nil).Masked() != nil {
		t.Error("got an environment, want nil for nil")
	}
}

func TestMaskedHidesSecretsWithinOtherValues(t *testing.T) {
	env := strategies.Environment{
		{Name: "URL", Value: "http://u:hunter2@host/?k=abcdef&n=12"},
		{Name: "PASSWORD", Value: "hunter2"},
		{Name: "SHORT_TOKEN", Value: "12"},
	}
	want := strategies.Environment{
		{Name: "URL", Value: "http://u:***@host/?k=***&n=12"},
		{Name: "PASSWORD", Value: "***"},
		{Name: "SHORT_TOKEN", Value: "***"},
	}
	got := env.Masked(strategies.Variable{Name: "API_KEY", Value: "abcdef"}, strategies.Variable{Name: "PLAIN", Value: "host"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
}
