package journal_test

import (
	"fmt"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

func TestAllocationsOfOneChangeDoNotFollowTheTree(t *testing.T) {
	const directories, most = 1000, 100
	file := func(content string) diff.Entry {
		return diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))}
	}
	var all []diff.Change
	for i := range directories {
		dir := fmt.Sprintf("d%04d", i)
		all = append(all, diff.Change{Path: dir, New: diff.Entry{Kind: diff.Directory, Mode: 0o755}}, diff.Change{Path: dir + "/f", New: file("old")})
	}
	var empty diff.Tree
	tree, err := empty.With(all)
	if err != nil {
		t.Fatal(err)
	}
	s := journal.State{Position: diff.Position{Tenant: diff.TenantID{1}, Generation: 1}, Managed: tree, All: tree}
	p := journal.Pending{
		Position: diff.Position{Tenant: diff.TenantID{1}, Generation: 2},
		Changes:  []diff.Change{{Path: "d0500/f", Old: file("old"), New: file("new")}},
	}
	p.AllChanges = p.Changes
	if n := testing.AllocsPerRun(10, func() { _, err = s.Become(p) }); n > most || err != nil {
		t.Errorf("%v allocations, at most %d are wanted; %v", n, most, err)
	}
}
