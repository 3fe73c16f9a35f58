package aws_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// TestMain compares, once all tests have passed, the calls that they had the
// pool make with those that the policy allows.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""; code == 0 && all {
		if err := policyIsExact(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

func policyIsExact() error {
	data, err := os.ReadFile("policy.json")
	if err != nil {
		return err
	}
	var policy struct {
		Statement []struct{ Action any }
	}
	if err := json.Unmarshal(data, &policy); err != nil {
		return fmt.Errorf("policy.json: %w", err)
	}
	allowed := map[string]bool{}
	for _, s := range policy.Statement {
		switch a := s.Action.(type) {
		case string:
			allowed[a] = true
		case []any:
			for _, action := range a {
				allowed[fmt.Sprint(action)] = true
			}
		}
	}
	if !maps.Equal(calls, allowed) {
		return fmt.Errorf("the pool calls %v,\nand policy.json allows %v", slices.Sorted(maps.Keys(calls)), slices.Sorted(maps.Keys(allowed)))
	}
	return nil
}
