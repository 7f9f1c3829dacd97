package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// node is one value of a TOML document.
type node struct {
	// kind is Table for tables of every notation, Array for lists and for
	// arrays of tables, else the kind of a scalar.
	kind  unstable.Kind
	name  string           // full, such as "source[0].settle"
	line  int              // from 1; 0 for the document itself
	text  string           // scalar: the string, or the value as written
	items []*node          // Array
	names []string         // Table: its keys in the order of the file
	table map[string]*node // Table
	// headed is true once the table's own [header] was seen.
	headed bool
}

func newTable(name string, line int) *node {
	return &node{kind: unstable.Table, name: name, line: line, table: map[string]*node{}}
}

// set adds the key v, whose name in the table n is name.
func (n *node) set(name string, v *node) {
	n.names = append(n.names, name)
	n.table[name] = v
}

// allTables tells whether n is a list of nothing but tables.
func (n *node) allTables() bool {
	return !slices.ContainsFunc(n.items, func(item *node) bool { return item.kind != unstable.Table })
}

// rename gives a table of plain values another full name.
func (n *node) rename(name string) {
	for _, v := range n.table {
		v.rename(name + strings.TrimPrefix(v.name, n.name))
	}
	for _, v := range n.items {
		v.rename(name + strings.TrimPrefix(v.name, n.name))
	}
	n.name = name
}

// describe says what n is, with its value unless it may be a secret.
func (n *node) describe() string {
	shown := " " + n.text
	if n.kind == unstable.String || len(n.text) > 40 {
		shown = " " + clip(n.text)
	}
	if secret(n.name) {
		shown = ""
	}
	switch n.kind {
	case unstable.Array:
		return "a list"
	case unstable.Table:
		return "a table"
	case unstable.String:
		return "the string" + shown
	case unstable.Bool:
		return "the boolean" + shown
	case unstable.Integer, unstable.Float:
		return "the number" + shown
	default:
		return "the date or time" + shown
	}
}

// join returns the full name of a key in the table at.
func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// index returns the full name of item i in the list at.
func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }

// parent returns the full name of the table or list around a key: "a[0].b[1]",
// "a[0].b", "a[0]", "a", "".
func parent(name string) string {
	return name[:max(strings.LastIndexAny(name, ".["), 0)]
}

// bare returns a key as it is written in TOML: quoted only where it must be.
func bare(name string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if name == "" || strings.Trim(name, plain) != "" {
		return strconv.Quote(name)
	}
	return name
}
