package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImage builds an image from nothing on the real engine and runs it.
func TestImage(t *testing.T) {
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "Dockerfile"), "FROM scratch\nLABEL loads.test.engine=1\nCOPY root /\nENTRYPOINT [\"/say\"]\n")
	writeFile(t, filepath.Join(folder, "say.go"),
		"package main\nimport (\"fmt\"; \"os\")\nfunc main() { fmt.Println(os.Args[1]); os.Exit(len(os.Args) - 2) }\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "root", "say"), filepath.Join(folder, "say.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build program: %v\n%s", err, out)
	}

	const tag = "loads/engine-test:latest"
	if said, err := call(t, "build", tag, folder, "root"); err != nil {
		t.Fatalf("build image: %v\n%s", err, said)
	}
	t.Cleanup(func() { removeImage(t, tag) })

	t.Run("a container's output is printed", func(t *testing.T) {
		said, err := call(t, "run", tag, "hello")
		if err != nil || said != "hello\n" {
			t.Errorf("got %q, %v; want hello", said, err)
		}
	})
	t.Run("an exit code is an error", func(t *testing.T) {
		_, err := call(t, "run", tag, "hello", "more")
		if err == nil || !strings.Contains(err.Error(), "exit code 1") {
			t.Errorf("got %v, want an error that names the exit code", err)
		}
	})
	t.Run("no container is left", func(t *testing.T) {
		left, err := call(t, "labelled", "loads.test.engine=1")
		if err != nil || left != "" {
			t.Errorf("got %q, %v; want nothing", left, err)
		}
	})
	t.Run("a build that fails is an error", func(t *testing.T) {
		writeFile(t, filepath.Join(folder, "Dockerfile"), "FROM scratch\nCOPY missing /\n")
		if _, err := call(t, "build", tag, folder, "root"); err == nil {
			t.Error("got no error for a file that is not there")
		}
	})
}

func TestPingSaysWhenNoEngineAnswers(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	begin := time.Now()
	_, err := call(t, "ping", "-wait", "300ms")
	if err == nil || !strings.Contains(err.Error(), "none.sock") {
		t.Errorf("got %v, want an error that names the socket", err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("gave up after %v, want 300ms of patience", took)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"fly"}, {"labelled"}, {"build", "tag", "folder"}, {"run"}} {
		if _, err := call(t, args...); err != errUsage {
			t.Errorf("%q: got %v, want errUsage", args, err)
		}
	}
}

func call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeImage(t *testing.T, tag string) {
	t.Helper()
	e, err := dial(os.Getenv("DOCKER_HOST"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := e.call(context.Background(), request{method: "DELETE", path: "/images/" + tag})
	if err != nil {
		t.Errorf("remove image: %v", err)
		return
	}
	answer.Close()
}
