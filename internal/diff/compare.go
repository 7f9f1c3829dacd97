package diff

// Compare returns the changes that lead from one tree to another, in the order of
// ComparePaths. A directory that goes away is listed with everything that was
// below it. Directories with equal digests are not looked into.
func Compare(from, to Tree) []Change {
	var c comparison
	if from.root == nil || to.root == nil {
		c.changes = make([]Change, 0, from.Len()+to.Len())
	}
	c.dirs("", from.root, to.root)
	return c.changes
}

type comparison struct {
	changes []Change
}

func (c *comparison) dirs(at string, from, to *Dir) {
	if same(from, to) {
		return
	}
	var a, b []Child
	if from != nil {
		a = from.children
	}
	if to != nil {
		b = to.children
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			c.child(at, a[0], Child{Name: a[0].Name})
			a = a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			c.child(at, Child{Name: b[0].Name}, b[0])
			b = b[1:]
		default:
			c.child(at, a[0], b[0])
			a, b = a[1:], b[1:]
		}
	}
}

func same(from, to *Dir) bool {
	return from == to || from != nil && to != nil && from.digest == to.digest
}

func (c *comparison) child(at string, from, to Child) {
	if from.Entry == to.Entry && same(from.Dir, to.Dir) {
		return
	}
	p := Join(at, from.Name)
	if from.Entry != to.Entry {
		c.changes = append(c.changes, Change{Path: p, Old: from.Entry, New: to.Entry})
	}
	c.dirs(p, from.Dir, to.Dir)
}
