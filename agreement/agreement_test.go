package agreement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/metrics"
)

func word(phase string, is metrics.WordIs) metrics.Word { return metrics.Word{Phase: phase, Is: is} }

// event is something a table hears of.
type event struct {
	machine int
	word    metrics.Word // none if the machine leaves
}

func (e event) tell(t *agreement.Table) {
	if e.word.Phase == "" {
		t.Leave(e.machine)
		return
	}
	t.Say(e.machine, e.word)
}

func TestWhatAllSayHolds(t *testing.T) {
	ended, other := word("a", metrics.WordTerminated), word("b", metrics.WordTerminated)
	failed, broken := word("a", metrics.WordFailed), word("b", metrics.WordBroken)
	holds := func(w metrics.Word) agreement.Decision { return agreement.Decision{Word: w, At: 40, Machine: -1} }
	fails := func(w metrics.Word, machine int) agreement.Decision {
		return agreement.Decision{Word: w, At: 10, Machine: machine}
	}
	for _, c := range []struct {
		name    string
		decided []agreement.Decision
		events  []event
		want    []agreement.Decision
	}{
		{"nothing was said", nil, nil, nil},
		{"one of three is missing", nil, []event{{0, ended}, {2, ended}}, nil},
		{"one says it three times", nil, []event{{0, ended}, {0, ended}, {0, ended}}, nil},
		{"all say something else", nil, []event{{0, ended}, {1, other}, {2, failed}}, []agreement.Decision{fails(failed, 2)}},
		{"all say it", nil, []event{{0, ended}, {2, ended}, {1, ended}}, []agreement.Decision{holds(ended)}},
		{"the missing one is lost", nil, []event{{0, ended}, {2, ended}, {1, metrics.Word{}}}, []agreement.Decision{holds(ended)}},
		{"one is lost that has said it", nil, []event{{0, ended}, {0, metrics.Word{}}, {2, ended}}, nil},
		{"all are lost", nil, []event{{0, metrics.Word{}}, {1, metrics.Word{}}, {2, ended}, {2, metrics.Word{}}}, nil},
		{"one fails, and all say that it has ended", nil, []event{{0, ended}, {2, ended}, {1, failed}, {1, ended}}, []agreement.Decision{fails(failed, 1), holds(ended)}},
		{"two fail", nil, []event{{2, broken}, {1, broken}}, []agreement.Decision{fails(broken, 1)}},
		{"one fails and is lost", nil, []event{{2, failed}, {2, metrics.Word{}}}, []agreement.Decision{fails(failed, 2)}},
		{"it was decided before", []agreement.Decision{holds(ended)}, []event{{0, ended}, {1, ended}, {2, ended}}, nil},
		{"a machine that nobody knows", nil, []event{{7, ended}, {0, ended}, {1, ended}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := agreement.NewTable([]int{0, 1, 2}, c.decided)
			for _, e := range c.events {
				e.tell(table)
			}
			if diff := cmp.Diff(c.want, table.Decide(10, 40)); diff != "" {
				t.Error(diff)
			}
			if again := table.Decide(50, 90); again != nil {
				t.Errorf("asked again it decides %+v", again)
			}
		})
	}
}

// Whatever the order of words, however often they come, whenever machines are
// lost and the broker starts anew: the same is decided, each once, and nothing
// before all who are there have said it.
func TestTheOrderOfWordsDecidesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	kinds := []metrics.WordIs{metrics.WordFinished, metrics.WordTerminated, metrics.WordFailed}
	for round := range 200 {
		machines := 1 + random.IntN(6)
		all := make([]int, machines)
		var events []event
		for m := range machines {
			all[m] = m
			for phase := range 4 {
				for _, is := range kinds {
					share := 6 // of words that are said
					if is == metrics.WordFailed {
						share = 1
					}
					for random.IntN(8) < share {
						events = append(events, event{m, word(fmt.Sprint(phase), is)})
						share = 2 // once more?
					}
				}
			}
			if m > 0 && random.IntN(3) == 0 {
				events = append(events, event{machine: m})
			}
		}
		var want []metrics.Word
		for order := range 6 {
			random.Shuffle(len(events), func(i, k int) { events[i], events[k] = events[k], events[i] })
			got := playOut(t, random, all, events)
			slices.SortFunc(got, func(a, b metrics.Word) int {
				return slices.Compare([]string{a.Phase, string(a.Is)}, []string{b.Phase, string(b.Is)})
			})
			if order == 0 {
				want = got
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d: another order decides otherwise: %s", round, diff)
			}
		}
	}
}

// playOut tells a table the events, looks at it now and then, and begins anew
// with what was stored now and then.
func playOut(t *testing.T, random *rand.Rand, machines []int, events []event) (words []metrics.Word) {
	t.Helper()
	var decided []agreement.Decision
	table := agreement.NewTable(machines, nil)
	decide := func(past []event) {
		for _, d := range table.Decide(1, 2) {
			if slices.ContainsFunc(decided, func(o agreement.Decision) bool { return o.Word == d.Word }) {
				t.Fatalf("%+v is decided twice", d)
			}
			for _, m := range machines {
				if !slices.Contains(past, event{m, d.Word}) && !slices.Contains(past, event{machine: m}) && d.Machine < 0 {
					t.Fatalf("%+v is decided before machine %d has said it", d, m)
				}
			}
			decided = append(decided, d)
		}
	}
	for i, e := range events {
		e.tell(table)
		if random.IntN(3) == 0 {
			decide(events[:i+1])
		}
		if random.IntN(10) == 0 {
			table = agreement.NewTable(machines, decided)
			for _, past := range events[:i+1] {
				past.tell(table)
			}
		}
	}
	decide(events)
	for _, d := range decided {
		words = append(words, d.Word)
	}
	return words
}

func TestMinutesAreOfTheReadersClock(t *testing.T) {
	m := agreement.Minutes{Until: 1000, Decided: []agreement.Decision{{Word: word("a", metrics.WordFailed), At: 500, Machine: 2}}}
	text, err := m.Encode(-30)
	if err != nil {
		t.Fatal(err)
	}
	got, err := agreement.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	want := agreement.Minutes{Until: 970, Decided: []agreement.Decision{{Word: word("a", metrics.WordFailed), At: 470, Machine: 2}}}
	if diff := cmp.Diff(want, got); diff != "" || m.Decided[0].At != 500 {
		t.Errorf("%s; the original is %+v", diff, m)
	}
	for n := range len(text) - 1 {
		if _, err := agreement.Decode(text[:n]); err == nil {
			t.Errorf("half of a file is taken as a whole: %q", text[:n])
		}
	}
}
