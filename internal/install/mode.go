package install

// Mode says what of a target switches at once.
type Mode string

// The modes. The zero Mode is Files.
const (
	// Files switches path by path, each atomically.
	Files Mode = "files"
	// Tree exchanges the whole target with a tree that was built beside it, or, where
	// one path alone changes, that path. Nothing unmanaged may lie in such a target.
	Tree Mode = "tree"
)
