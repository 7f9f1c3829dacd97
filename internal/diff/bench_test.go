package diff

import (
	"fmt"
	"testing"
)

// bigTree has files in 100 directories.
func bigTree(t testing.TB, files int) Tree {
	t.Helper()
	var changes []Change
	for i := range 100 {
		changes = append(changes, Change{Path: fmt.Sprintf("dir-%02d", i), New: dir})
	}
	for i := range files {
		changes = append(changes, Change{Path: fmt.Sprintf("dir-%02d/file-%06d.conf", i%100, i), New: file(fmt.Sprint(i))})
	}
	tree, err := Tree{}.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// edited is the tree with another content of one file of a bigTree.
func edited(t testing.TB, tree Tree) Tree {
	t.Helper()
	next, err := tree.With([]Change{{Path: "dir-42/file-000042.conf", New: file("new")}})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func benchmarkSizes(b *testing.B, fn func(b *testing.B, tree Tree)) {
	for _, n := range []int{10_000, 100_000} {
		tree := bigTree(b, n)
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			fn(b, tree)
		})
	}
}

func BenchmarkWithOneChange(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, tree Tree) {
		for b.Loop() {
			edited(b, tree)
		}
	})
}

func BenchmarkCompareOneChange(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, tree Tree) {
		next := edited(b, tree)
		for b.Loop() {
			if len(Compare(tree, next)) != 1 {
				b.Fatal("not one change")
			}
		}
	})
}

func BenchmarkCompareAll(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, tree Tree) {
		for b.Loop() {
			if len(Compare(Tree{}, tree)) != tree.Len() {
				b.Fatal("not all")
			}
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, tree Tree) {
		for b.Loop() {
			if NewTree(rebuild(tree.Root())).Digest() != tree.Digest() {
				b.Fatal("another tree")
			}
		}
	})
}

// What a change of one file sets aside does not depend on how many there are: a list of
// children, a directory and a digest for each directory on its path, or a change.
func TestAllocationsOfOneChange(t *testing.T) {
	for _, n := range []int{1000, 50_000} {
		tree := bigTree(t, n)
		next := edited(t, tree)
		if got := testing.AllocsPerRun(100, func() { edited(t, tree) }); got > 8 {
			t.Errorf("With: %v allocations with %d files", got, n)
		}
		if got := testing.AllocsPerRun(100, func() { Compare(tree, next) }); got > 2 {
			t.Errorf("Compare: %v allocations with %d files", got, n)
		}
		if got := testing.AllocsPerRun(10, func() { Compare(Tree{}, tree) }); got > float64(n+102) {
			t.Errorf("Compare with nothing: %v allocations with %d files", got, n)
		}
	}
}
