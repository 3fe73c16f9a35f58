package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestCleanupsRunInReverseAndOnce(t *testing.T) {
	var c cleanups
	var done []string
	broken := errors.New("broken")
	for _, name := range []string{"a", "b", "c"} {
		c.add(name, func(context.Context) error {
			done = append(done, name)
			if name == "b" {
				return broken
			}
			return nil
		})
	}
	first, second := c.run(), c.run()
	if diff := cmp.Diff([]string{"c", "b", "a"}, done); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if !errors.Is(first, broken) || !errors.Is(second, broken) || first.Error() != "close b: broken" {
		t.Errorf("errors %v and %v, want close b: broken twice", first, second)
	}
}

func TestAStuckCleanupIsNamedAndTheOthersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cleanups
		release := make(chan struct{})
		ran := false
		c.add("good", func(context.Context) error { ran = true; return nil })
		c.add("stuck", func(context.Context) error { <-release; return nil })
		err := c.run()
		close(release)
		if err == nil || !strings.HasPrefix(err.Error(), "close stuck: not done within 30s") || !ran {
			t.Errorf("error %v, the other ran: %v; want the stuck one named, and true", err, ran)
		}
	})
}
