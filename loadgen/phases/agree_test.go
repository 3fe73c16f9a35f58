package phases_test

import (
	"slices"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

func TestUnagreedNamesPhasesThatUsersDecideOn(t *testing.T) {
	const file = `name: x
http: {host: http://shop.test}
phases:
- first: {constantRate: {usersPerSec: 5, duration: 1s, scenario: &s [{a: [{httpRequest: {GET: /}}]}]}}
- timed: {constantRate: {usersPerSec: 5, duration: 1s, startAfter: first, scenario: *s}}
- pause: {noop: {duration: 1s, startAfterStrict: timed}}
- strict: {constantRate: {usersPerSec: 5, maxSessions: 3, duration: 1s, startAfterStrict: timed, scenario: *s}}
- limited: {constantRate: {usersPerSec: 5, duration: 1s, startAfter: strict, scenario: *s}}
- last: {constantRate: {usersPerSec: 5, duration: 1s, startAfterStrict: pause, scenario: *s}}
`
	b, err := benchmark.Parse("x.yaml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := phases.Expand("x.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := phases.Unagreed(list), []string{"pause", "strict", "limited"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
