package relay

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestContainersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "containers.json")
	f := &containersFile{path: path}
	one, two := container{"a1", "first"}, container{"b2", "second"}
	for _, row := range []struct {
		name, content string
		want          []container
		fails         bool
	}{
		{"no file is no containers", "", nil, false},
		{"one container", `[{"id":"a1","name":"first"}]`, []container{one}, false},
		{"half of a file leaves the list as it is", `[{"id":"b2",`, []container{one}, true},
		{"another of the same length is seen at once", `[{"id":"b2","name":"secon"}]`, []container{{"b2", "secon"}}, false},
		{"two, and a field of a later version", `[{"id":"a1","name":"first","x":1},{"id":"b2","name":"second"}]`, []container{one, two}, false},
		{"none any more", `[]`, nil, false},
	} {
		if row.content != "" {
			if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := f.containers()
		if (err != nil) != row.fails {
			t.Errorf("%s: got error %v", row.name, err)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := (&containersFile{}).containers(); got != nil || err != nil {
		t.Errorf("without a path: got %v, %v", got, err)
	}
}
