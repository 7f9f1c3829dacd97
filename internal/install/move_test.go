package install

import (
	"testing"
)

func TestApply_fetchesNothingThatItHas(t *testing.T) { eachMode(t, testApply_fetchesNothingThatItHas) }

func testApply_fetchesNothingThatItHas(t *testing.T, m Mode) {
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
	eachMode(t, testApply_fetchesWhatIsNoLongerThere)
}

func testApply_fetchesWhatIsNoLongerThere(t *testing.T, m Mode) {
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
