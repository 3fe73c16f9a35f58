package dockerctl_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
)

func TestEnsureImage_PullsOnceButLatestAlways(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name, reg := dockertest.Name(t), dockertest.NewRegistry(t)
	for _, row := range []struct {
		name, ref, tag string
		pulls          int
	}{
		{"a tag is pulled when it is not there", name + ":1", "1", 1},
		{"latest is pulled each time", name + ":latest", "latest", 2},
		{"no tag is latest", name, "latest", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := reg.Pulls()
			first := dockertest.Image(t, probe, name)
			reg.Push(t, name, row.tag, first)
			id, err := e.EnsureImage(t.Context(), reg.Host+"/"+row.ref, "")
			if err != nil || id != first.ID() {
				t.Fatalf("first: got %s, %v; want %s", id, err, first.ID())
			}
			second := dockertest.Image(t, probe, name)
			reg.Push(t, name, row.tag, second)
			want := first.ID()
			if row.pulls > 1 {
				want = second.ID()
			}
			if id, err = e.EnsureImage(t.Context(), reg.Host+"/"+row.ref, ""); err != nil || id != want {
				t.Errorf("second: got %s, %v; want %s", id, err, want)
			}
			if got := reg.Pulls() - before; got < row.pulls || row.pulls == 1 && got != 1 {
				t.Errorf("got %d pulls, want %d", got, row.pulls)
			}
		})
	}
}

func TestEnsureImage_UsesItsLatestWithoutARegistry(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name, reg := dockertest.Name(t), dockertest.NewRegistry(t)
	image := dockertest.Image(t, probe, name)
	reg.Push(t, name, "latest", image)
	ref := reg.Host + "/" + name
	if _, err := e.EnsureImage(t.Context(), ref, ""); err != nil {
		t.Fatal(err)
	}
	reg.Close()
	if id, err := e.EnsureImage(t.Context(), ref, ""); err != nil || id != image.ID() {
		t.Errorf("got %s, %v; want the engine's own, %s", id, err, image.ID())
	}
}

func TestEnsureImage_SaysWhatCannotBePulled(t *testing.T) {
	t.Parallel()
	e := mustOpen(t, dockerctl.Options{})
	name, reg := dockertest.Name(t), dockertest.NewRegistry(t)
	for _, row := range []struct {
		name, ref string
		code      broker.Code
		says      string
	}{
		{"an image that the registry does not have", reg.Host + "/" + name + ":1", broker.ENotFound, "is not on the machine at unix:///var/run/docker.sock and can't be pulled: "},
		{"a registry that is not there", "127.0.0.1:1/" + name + ":1", broker.EInternal, "can't be pulled: "},
		{"a name that is none", "NOT/a:name:", broker.EInvalid, "is not the name of an image"},
		{"no name", "", broker.EInvalid, "is not the name of an image"},
		{"another version of the node image", "loads/node:nothing", broker.ENotFound, "no registry has it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := e.EnsureImage(t.Context(), row.ref, "")
			wantCode(t, err, row.code)
			if err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %q, want %q in it", err, row.says)
			}
		})
	}
}

func TestEnsureImage_LogsInWhereTheUserHas(t *testing.T) {
	t.Parallel()
	name, reg := dockertest.Name(t), dockertest.NewRegistry(t)
	reg.User, reg.Password = "ann", "sesame:open"
	image := dockertest.Image(t, probe, name)
	reg.Push(t, name, "1", image)
	ref := reg.Host + "/" + name + ":1"
	for _, row := range []struct {
		name, auth string
		ok         bool
	}{
		{"without a login", "", false},
		{"with a wrong one", "ann:other", false},
		{"with the login", "ann:sesame:open", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config.json")
			if row.auth != "" {
				auth := base64.StdEncoding.EncodeToString([]byte(row.auth))
				text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, reg.Host, auth)
				if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e := mustOpen(t, dockerctl.Options{RegistryConfig: config})
			id, err := e.EnsureImage(t.Context(), ref, "")
			if ok := err == nil; ok != row.ok || ok && id != image.ID() {
				t.Errorf("got %s, %v; want success %v", id, err, row.ok)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}
