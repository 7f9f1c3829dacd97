package install

import (
	"context"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestApply_fetchesNothingThatItHas(t *testing.T) { eachMode(t, testApplyFetchesNothingThatItHas) }

func testApplyFetchesNothingThatItHas(t *testing.T, m Mode) {
	before := files{"old": "755/", "old/a": "644 one", "old/link": "->a", "b": "644 two", "c": "644 three"}
	for name, after := range map[string]files{
		"a directory is moved":              {"new": "755/", "new/a": "644 one", "new/link": "->a", "b": "644 two", "c": "644 three"},
		"files are exchanged":               {"old": "755/", "old/a": "644 one", "old/link": "->a", "b": "644 three", "c": "644 two"},
		"a file moves into its own place":   {"old": "644 one", "b": "644 two", "c": "644 three"},
		"the mode changes on the way":       {"old": "755/", "old/a": "644 one", "old/link": "->a", "d": "600 two", "c": "644 three"},
		"only the mode changes":             {"old": "755/", "old/a": "600 one", "old/link": "->a", "b": "644 two", "c": "644 three"},
		"it is moved to two places at once": {"old": "755/", "old/a": "644 one", "old/link": "->a", "x": "644 two", "y": "644 two", "c": "644 three"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			target := mustOpen(t, optionsIn(m, dir))
			mustApply(t, target, 1, before)
			p, _ := plan(t, 2, after)
			if _, err := target.Apply(t.Context(), p, contents{}); err != nil {
				t.Fatal(err)
			}
			mustLook(t, dir, after)
			mustRest(t, target, 2, after)
		})
	}
}

func TestApply_fetchesWhatIsNoLongerThere(t *testing.T) {
	eachMode(t, testApplyFetchesWhatIsNoLongerThere)
}

func testApplyFetchesWhatIsNoLongerThere(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, files{"a": "644 one"})
	files{"a.new": "644 edited here"}.put(t, dir)
	rename(t, dir, "a.new", "a")
	p, _ := plan(t, 2, files{"b": "644 one"})
	if _, err := target.Apply(t.Context(), p, contents{}); err == nil {
		t.Fatal("applied content that nobody had")
	}
	mustApply(t, target, 2, files{"b": "644 one"})
	mustLook(t, dir, files{"b": "644 one"})
}

// asking provides contents, and notes which others the target says that it holds.
type asking struct {
	contents
	ask  []string
	held map[string]bool
}

func (a asking) Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	for _, content := range a.ask {
		if b := have(diff.Sum([]byte(content))); b != nil {
			a.held[content] = string(b) == content
		}
	}
	return a.contents.Fetch(ctx, want, nil, put)
}

func TestApply_holdsWhatItReplaces(t *testing.T) { eachMode(t, testApplyHoldsWhatItReplaces) }

func testApplyHoldsWhatItReplaces(t *testing.T, m Mode) {
	dir := newDir(t)
	target := mustOpen(t, optionsIn(m, dir))
	mustApply(t, target, 1, files{"a": "644 one", "b": "644 two", "c": "644 three", "d": "->four", "e": "644 five"})
	// Edited to the same size, so that only the content tells.
	files{"b.new": "644 TWO"}.put(t, dir)
	rename(t, dir, "b.new", "b")
	p, provided := plan(t, 2, files{"a": "644 one more", "b": "644 two more", "c": "644 three", "d": "644 four more"})
	c := asking{contents: provided, ask: []string{"one", "two", "TWO", "three", "four", "five", "six"}, held: map[string]bool{}}
	if _, err := target.Apply(t.Context(), p, c); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]bool{
		"one": true, "five": true, // replaced, and deleted
		"two": false, "TWO": false, // edited here
		"four": false, // of a symlink
		"six":  false,
	} {
		if got := c.held[content]; got != want {
			t.Errorf("holds %q: %v, want %v", content, got, want)
		}
	}
}
