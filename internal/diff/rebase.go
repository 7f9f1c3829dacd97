package diff

// Rebase returns the tree that onto becomes by what changed between two others. Paths that are
// equal in from and to are as in onto, the others as in to, and:
//
//   - a directory that was deleted stays while onto has entries in it that were not;
//   - where a path changed below what is no directory in onto, there is one, as in to.
//
// So Rebase(onto, from, from) is onto, and Rebase(from, from, to) is to.
func Rebase(onto, from, to Tree) Tree {
	return Tree{root: rebase(onto.root, from.root, to.root)}
}

func rebase(onto, from, to *Dir) *Dir {
	if same(from, to) {
		return onto
	}
	if same(onto, from) {
		return to
	}
	var children []Child
	a, b, c := onto.List(), from.List(), to.List()
	for len(a) > 0 || len(b) > 0 || len(c) > 0 {
		name := first(a, b, c)
		if merged := rebaseChild(take(&a, name), take(&b, name), take(&c, name)); merged.Entry.Kind != None {
			children = append(children, merged)
		}
	}
	return newDir(children)
}

// first returns the first name of sorted lists, at least one of which has any.
func first(lists ...[]Child) (name string) {
	found := false
	for _, l := range lists {
		if len(l) > 0 && (!found || l[0].Name < name) {
			name, found = l[0].Name, true
		}
	}
	return name
}

// take takes the child of that name off a list, if it is the first.
func take(list *[]Child, name string) Child {
	if len(*list) == 0 || (*list)[0].Name != name {
		return Child{Name: name}
	}
	c := (*list)[0]
	*list = (*list)[1:]
	return c
}

// rebaseChild is rebase of what has one name; nothing has the kind None.
func rebaseChild(onto, from, to Child) Child {
	switch {
	case from.Entry == to.Entry && same(from.Dir, to.Dir):
		return onto
	case onto.Entry == from.Entry && same(onto.Dir, from.Dir), to.Entry.Kind != None && to.Entry.Kind != Directory:
		return to
	}
	left := rebase(onto.Dir, from.Dir, to.Dir)
	switch {
	case left.Count() > 0, to.Entry.Kind == Directory && from.Entry != to.Entry:
	case to.Entry.Kind == Directory:
		if onto.Entry.Kind != Directory {
			return onto // below it only things went away that onto does not have
		}
	default:
		return Child{Name: to.Name}
	}
	entry := to.Entry
	if onto.Entry.Kind == Directory && (from.Entry == to.Entry || to.Entry.Kind == None) {
		entry = onto.Entry
	}
	if left == nil {
		left = newDir(nil)
	}
	return Child{Name: to.Name, Entry: entry, Dir: left}
}
