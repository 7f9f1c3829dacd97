//go:build !lean

package publisher_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/report"
)

// state waits until the publisher of the place says that it is in that state.
func (p *place) state(want string) report.Report {
	p.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		reports, err := report.Read(p.options.StateDir)
		if err != nil {
			p.Fatal(err)
		}
		for _, r := range reports {
			if r.State == want {
				return r
			}
		}
		if time.Now().After(deadline) {
			p.Fatalf("no publisher is %s: %+v", want, reports)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// newRolledBack is a place whose publisher runs beside a rollback: the directory has a, b and
// new at 2, and the head a and b at 1, and gone.
func newRolledBack(t *testing.T) (p *place, stop func()) {
	p = newPlace(t)
	p.write("a", "a 1")
	p.write("b", "b 1")
	p.write("gone", "gone 1")
	stop = p.run(p.options)
	p.await(map[string]string{"a": "a 1", "b": "b 1", "gone": "gone 1"})
	hold := filepath.Join(p.options.Dir, ".confsyncd-hold")
	if err := os.WriteFile(hold, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.write("a", "a 2")
	p.write("b", "b 2")
	p.write("new", "new 2")
	p.remove("gone")
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	p.await(map[string]string{"a": "a 2", "b": "b 2", "new": "new 2"})
	p.state("live")
	p.mustRollback(1)
	p.state("beside")
	return p, stop
}

func TestPublisherGoesOnBesideARollback(t *testing.T) {
	p, stop := newRolledBack(t)
	head := map[string]string{"a": "a 1", "b": "b 1", "gone": "gone 1"}
	r := p.state("beside")
	if want := `"a" differs, "b" differs, "gone" is only in the head, "new" is only in the directory`; strings.Join(r.Apart, ", ") != want || r.ApartTotal != 4 {
		t.Errorf("%d paths are apart: %v, want %s", r.ApartTotal, r.Apart, want)
	}
	for _, way := range []string{"push --tenant prod --dir " + p.options.Dir + " --publisher config-1 --take-over", "pull --write-source"} {
		if !strings.Contains(r.Reason, way) {
			t.Errorf("the reason names no way out by %q: %s", way, r.Reason)
		}
	}
	edit := func(what string, edit func(), becomes map[string]string) {
		t.Helper()
		edit()
		for path, content := range becomes {
			head[path] = content
			if content == "" {
				delete(head, path)
			}
		}
		v := p.await(head)
		t.Logf("%s: generation %d", what, v.Position().Generation)
	}
	edit("an edit", func() { p.write("b", "b 3") }, map[string]string{"b": "b 3"})
	edit("a new file", func() { p.write("more", "more 3") }, map[string]string{"more": "more 3"})
	edit("a deletion", func() { p.remove("a") }, map[string]string{"a": ""})

	stop()
	p.write("b", "b 4")
	stop = p.run(p.options)
	edit("an edit while no publisher ran", func() {}, map[string]string{"b": "b 4"})
	p.state("beside")

	edit("what the head has", func() { p.write("gone", "gone 1") }, nil)
	p.remove("new")
	p.state("live")
	edit("an edit of what was apart", func() { p.write("gone", "gone 5") }, map[string]string{"gone": "gone 5"})
	stop()
	if c := p.mustPush(); c != nil {
		t.Errorf("directory and head are equal, and yet a push committed generation %d", c.Position.Generation)
	}
}

// An edit that makes a path what the head has is no longer apart, and the next edit counts.
func TestEditsThatComeToTheHeadAndLeaveItAgain(t *testing.T) {
	p, stop := newRolledBack(t)
	p.write("a", "a 1")
	for end := time.Now().Add(60 * time.Second); p.state("beside").ApartTotal != 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still apart")
		}
	}
	stop()
	defer p.run(p.options)()
	p.write("a", "a 2")
	p.await(map[string]string{"a": "a 2", "b": "b 1", "gone": "gone 1"})
}

func TestTakeOverEndsWhatIsApart(t *testing.T) {
	p, stop := newRolledBack(t)
	dir := map[string]string{"a": "a 2", "b": "b 2", "new": "new 2"}
	_, err := p.push(p.options, publisher.PushOptions{})
	if !errors.Is(err, publisher.ErrConflict) || !strings.Contains(err.Error(), "--take-over") {
		t.Fatalf("a push of the directory: %v", err)
	}
	t.Run("not if a guard refuses it", func(t *testing.T) {
		stop()
		p.remove("a")
		p.remove("b")
		p.remove("new")
		o := p.options
		o.TakeOver = true
		if _, err := p.push(o, publisher.PushOptions{}); !errors.Is(err, publisher.ErrRefused) {
			t.Fatal(err)
		}
		for path, content := range dir {
			p.write(path, content)
		}
		stop = p.run(p.options)
		p.state("beside")
		p.write("new", "new 3")
		dir["new"] = "new 3"
		p.await(map[string]string{"a": "a 1", "b": "b 1", "gone": "gone 1", "new": "new 3"})
	})
	o := p.options
	o.TakeOver = true
	if c, err := p.push(o, publisher.PushOptions{}); err != nil || c == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	p.await(dir)
	p.state("live")
	p.write("a", "a 3")
	dir["a"] = "a 3"
	p.await(dir)
}

func TestPublisherHoldsAfterATakeOverByAnotherName(t *testing.T) {
	p, _ := newRolledBack(t)
	other := p.options
	other.Name, other.Dir, other.StateDir, other.TakeOver = "other", t.TempDir(), t.TempDir(), true
	if err := os.WriteFile(filepath.Join(other.Dir, "a"), []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	other.Allow.Delete = true
	if _, err := p.push(other, publisher.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	p.state("holding")
	p.write("b", "b 3")
	p.mustRollback(1) // It has the other's name.
	p.state("holding")
	p.await(map[string]string{"a": "a 1", "b": "b 1", "gone": "gone 1"})
}

// A publisher that was killed after its commit was in etcd, and before it knew, does not take
// the rest of its directory for edits.
func TestPublisherThatWasKilledBesideARollback(t *testing.T) {
	p, stop := newRolledBack(t)
	saved := filepath.Join(t.TempDir(), "saved")
	stop()
	if err := os.CopyFS(saved, os.DirFS(p.options.StateDir)); err != nil {
		t.Fatal(err)
	}
	stop = p.run(p.options)
	p.write("b", "b 3")
	head := map[string]string{"a": "a 1", "b": "b 3", "gone": "gone 1"}
	p.await(head)
	stop()
	p.options.StateDir = saved
	p.run(p.options)
	p.write("more", "more 4")
	head["more"] = "more 4"
	p.await(head)
	p.state("beside")
}

// What was committed beside the directory is not undone because etcd was lost.
func TestPublisherHoldsIfEtcdLostWhatIsApart(t *testing.T) {
	m := newModel(t, 1)
	m.options.Allow = publisher.Allow{}
	m.write("a", "a 1")
	stop := m.run(m.options)
	m.await(map[string]string{"a": "a 1"})
	stop()
	m.save()
	stop = m.run(m.options)
	m.write("a", "a 2")
	m.await(map[string]string{"a": "a 2"})
	m.state("live")
	m.mustRollback(1)
	m.state("beside")
	stop()
	m.restore()
	defer m.run(m.options)()
	if r := m.state("holding"); !strings.Contains(r.Reason, "etcd has lost generation 3") || !strings.Contains(r.Reason, "--take-over") {
		t.Errorf("holds because of %s", r.Reason)
	}
	o := m.options
	o.TakeOver = true
	c, err := m.push(o, publisher.PushOptions{})
	if err != nil || !c.Founding || c.Position.Generation <= 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	m.state("live")
	m.await(map[string]string{"a": "a 2"})
}

// Whichever is first, a commit of a running publisher and a rollback are both in the
// history, and no edit is lost.
func TestRollbackRacesCommits(t *testing.T) {
	p := newPlace(t)
	p.write("a", "a 0")
	p.write("b", "b 0")
	p.run(p.options)
	head := map[string]string{"a": "a 0", "b": "b 0"}
	p.await(head)
	for round := range 15 {
		to, _ := p.head()
		edit := fmt.Sprint("edit ", round)
		done := make(chan error, 1)
		go func() {
			_, err := p.rollback(publisher.RollbackOptions{Generation: to.Position().Generation})
			done <- err
		}()
		p.write("a", edit)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// Rolled back after the edit was committed it stays so; the next edit counts.
		p.write("a", edit+" again")
		head["a"] = edit + " again"
		p.await(maps.Clone(head))
	}
}

// Whoever leads next goes on beside a rollback as the last leader did.
func TestElectionGoesOnBesideARollback(t *testing.T) {
	for name, copies := range map[string]bool{"a shared directory": false, "copies": true} {
		t.Run(name, func(t *testing.T) {
			endpoint := devetcdtest.Start(t)
			p := newPlaceAt(t, endpoint)
			p.write("a", "a 1")
			p.write("b", "b 1")
			dir := p.options.Dir
			if copies {
				dir = t.TempDir()
			}
			one, two := p.member(endpoint, "one", p.options.Dir), p.member(endpoint, "two", dir)
			put := func(path, content string) {
				p.write(path, content)
				if copies {
					copyOf(t, dir, map[string]string{path: content})
				}
			}
			if copies {
				copyOf(t, dir, map[string]string{"a": "a 1", "b": "b 1"})
			}
			stop := p.run(one)
			p.await(map[string]string{"a": "a 1", "b": "b 1"})
			p.run(two)
			awaitReason(t, two.StateDir, "standby", `"one" leads`)
			put("a", "a 2")
			p.await(map[string]string{"a": "a 2", "b": "b 1"})
			p.mustRollback(1)
			awaitReason(t, one.StateDir, "beside", "1 paths differ")
			put("b", "b 2")
			p.await(map[string]string{"a": "a 1", "b": "b 2"})
			stop()
			awaitReason(t, two.StateDir, "beside", "1 paths differ")
			put("b", "b 3")
			v := p.await(map[string]string{"a": "a 1", "b": "b 3"})
			if v.Head.Publisher != "two" {
				t.Errorf("by %q", v.Head.Publisher)
			}
			put("a", "a 1")
			awaitReason(t, two.StateDir, "live")
		})
	}
}

// Where a push of the directory has led the tenant on to another id, that a rollback was before
// keeps nobody from going on.
func TestPublisherGoesOnAfterAPushThatFoundBesideARollback(t *testing.T) {
	p, stop := newRolledBack(t)
	saved := filepath.Join(t.TempDir(), "saved")
	stop()
	if err := os.CopyFS(saved, os.DirFS(p.options.StateDir)); err != nil {
		t.Fatal(err)
	}
	o := p.options
	o.TakeOver = true
	c, err := p.push(o, publisher.PushOptions{Found: &diff.Position{Tenant: diff.TenantID{9}, Generation: 100}})
	if err != nil || c == nil || !c.Founding {
		t.Fatalf("%+v, %v", c, err)
	}
	p.options.StateDir = saved // as if it had run beside the push
	p.write("b", "b 3")
	p.remove("new")
	p.run(p.options)
	p.await(map[string]string{"a": "a 2", "b": "b 3"})
	p.state("live")
}
