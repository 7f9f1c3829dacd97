//go:build !lean

package publisher_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/publisher"
)

// TestWhatIsDoneUnderABusyFileIsOneCommit edits one directory early and another at the very
// end, which has not settled when the busy file goes.
func TestWhatIsDoneUnderABusyFileIsOneCommit(t *testing.T) {
	p := newPlace(t)
	p.write("a/f", "one")
	p.write("b/f", "one")
	p.options.Settle, p.options.MaxDelay = 300*time.Millisecond, 300*time.Millisecond
	var looks atomic.Int64
	p.options.Status = func(publisher.Status) { looks.Add(1) }
	p.run(p.options)
	p.await(map[string]string{"a": "", "a/f": "one", "b": "", "b/f": "one"})
	before, _ := p.head()

	p.write(".confsyncd-hold", "")
	p.write("a/f", "two")
	// A busy file is looked at every 100 ms: meanwhile the edit settles.
	for begin := looks.Load(); looks.Load() < begin+8; {
		time.Sleep(10 * time.Millisecond)
	}
	p.write("b/f", "two")
	p.remove(".confsyncd-hold")
	p.await(map[string]string{"a": "", "a/f": "two", "b": "", "b/f": "two"})
	if after, _ := p.head(); after.Position().Generation != before.Position().Generation+1 {
		t.Errorf("what was done under a busy file is %d generations", after.Position().Generation-before.Position().Generation)
	}
}

// TestABusyFileThatCameAndWentMeanwhile has somebody begin and end between the scan and the
// commit.
func TestABusyFileThatCameAndWentMeanwhile(t *testing.T) {
	p := newPlace(t)
	p.options.BusyFiles = []string{".git/index.lock"}
	p.options.Ignore = []string{".git/"}
	p.write(".git/HEAD", "")
	p.write("a", "one"+strings.Repeat(" ", 20_000))
	p.write("b", "one")
	done := false
	_, err := p.push(p.options, publisher.PushOptions{Progress: func(_, _ int64) {
		if done {
			return
		}
		done = true
		p.write(".git/index.lock", "")
		p.write("a", "two")
		p.write("b", "two")
		p.remove(".git/index.lock")
	}})
	if err != nil {
		t.Fatal(err)
	}
	v, files := p.head()
	if !done || v.Position().Generation != 1 || files["a"] != "two" || files["b"] != "two" {
		t.Errorf("generation %d has a %.3q and b %.3q", v.Position().Generation, files["a"], files["b"])
	}
}
