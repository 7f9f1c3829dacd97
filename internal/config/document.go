package config

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxDepth is deeper than any known key, counted in parts of its full name.
// What lies deeper belongs to an unknown key or a value of the wrong type, and
// is left out, so that names stay short whatever a file holds.
const maxDepth = 8

// document builds a tree of nodes from the parser's expressions.
type document struct {
	newlines []int // offsets
	root     *node
	current  *node // the table that keys go to
	faults   Faults
}

// parseDocument reads TOML without knowing any key. The document is nil if it
// has a syntax error, which then is the only fault; otherwise the faults are
// the keys and tables that occur twice or contradict each other.
func parseDocument(data []byte) (*node, Faults) {
	d := &document{root: newTable("", 0)}
	d.current = d.root
	for i, c := range data {
		if c == '\n' {
			d.newlines = append(d.newlines, i)
		}
	}
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.KeyValue:
			d.put(d.current, e)
		case unstable.Table, unstable.ArrayTable:
			d.header(e)
		}
	}
	if err := p.Error(); err != nil {
		return nil, Faults{d.syntaxFault(data, err)}
	}
	return d.root, d.faults
}

func (d *document) lineAt(offset int) int {
	return sort.SearchInts(d.newlines, offset) + 1
}

func (d *document) note(name string, line int, remedy, format string, args ...any) {
	d.faults = append(d.faults, faultAt(name, line, fault(remedy, format, args...)))
}

// header makes or finds the table of a [header] or [[header]].
func (d *document) header(e *unstable.Node) {
	names, line := d.key(e)
	holder, name := d.descend(d.root, names, line)
	full := join(holder.name, name)
	found, single := holder.table[name], e.Kind == unstable.Table
	switch {
	case found == nil && single:
		d.current = newTable(full, line)
		holder.set(name, d.current)
	case found == nil:
		d.current = newTable(index(full, 0), line)
		holder.set(name, &node{kind: unstable.Array, name: full, line: line, items: []*node{d.current}})
	case found.kind == unstable.Array && found.allTables():
		d.current = newTable(index(full, len(found.items)), line)
		found.items = append(found.items, d.current)
		if single {
			d.note(full, line, "write [["+full+"]]", "is a list of tables since line %d", found.line)
		}
	case found.kind == unstable.Table && single:
		if found.headed {
			d.note(full, line, "keep one and move its keys there", "the table is there twice, first at line %d", found.line)
		}
		d.current = found
	case found.kind == unstable.Table:
		d.note(full, line, "write [["+full+"]] both times", "is a single table at line %d", found.line)
		d.current = newTable(full, line)
	default:
		d.note(full, line, "keep one of them", "is no table at line %d", found.line)
		d.current = newTable(full, line)
	}
	d.current.headed = true
}

// put adds key = value to t.
func (d *document) put(t *node, e *unstable.Node) {
	names, line := d.key(e)
	holder, name := d.descend(t, names, line)
	full := join(holder.name, name)
	if found := holder.table[name]; found != nil {
		d.note(full, line, "keep one of them", "the key is there twice, first at line %d", found.line)
		return
	}
	holder.set(name, d.value(e.Value(), full, line))
}

// descend follows a dotted key from t, makes the tables that are missing, and
// returns the last table and the name in it.
func (d *document) descend(t *node, names []string, line int) (holder *node, name string) {
	last := len(names) - 1
	for _, name := range names[:last] {
		next := t.table[name]
		if next == nil {
			next = newTable(join(t.name, name), line)
			t.set(name, next)
		}
		if next.kind == unstable.Array && len(next.items) > 0 {
			next = next.items[len(next.items)-1]
		}
		if next.kind != unstable.Table {
			d.note(next.name, line, "keep one of them", "is no table at line %d", next.line)
			next = newTable(next.name, line)
		}
		t = next
	}
	return t, names[last]
}

// key returns the parts of an expression's key and its line. The parts from
// maxDepth on are one.
func (d *document) key(e *unstable.Node) (names []string, line int) {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if line == 0 {
			line = d.lineAt(int(n.Raw.Offset))
		}
		names = append(names, bare(string(n.Data)))
	}
	if len(names) > maxDepth {
		names = append(names[:maxDepth-1], strings.Join(names[maxDepth-1:], "."))
	}
	return names, line
}

// value converts a value. The parser places scalars and inline tables; a list
// takes the line of its key.
func (d *document) value(v *unstable.Node, name string, line int) *node {
	if v.Raw.Length > 0 {
		line = d.lineAt(int(v.Raw.Offset))
	}
	tooDeep := strings.Count(name, ".")+strings.Count(name, "[") >= maxDepth
	switch v.Kind {
	case unstable.Array:
		n := &node{kind: unstable.Array, name: name, line: line}
		for it := v.Children(); !tooDeep && it.Next(); {
			n.items = append(n.items, d.value(it.Node(), index(name, len(n.items)), line))
		}
		return n
	case unstable.InlineTable:
		n := newTable(name, line)
		n.headed = true
		for it := v.Children(); !tooDeep && it.Next(); {
			d.put(n, it.Node())
		}
		return n
	default:
		return &node{kind: v.Kind, name: name, line: line, text: string(v.Data)}
	}
}

// syntaxFault places an error of the parser.
func (d *document) syntaxFault(data []byte, err error) Fault {
	line := d.lineAt(len(data))
	var pe *unstable.ParserError
	if errors.As(err, &pe) {
		// The highlight is a part of data (see unstable.Parser.Range).
		if offset := cap(data) - cap(pe.Highlight); offset >= 0 && offset <= len(data) {
			line = d.lineAt(offset)
		}
	}
	return notTOML(data, line, err.Error(), "correct this first: the rest of the file could not be read")
}

// missedByUs returns what go-toml refuses in data beyond the lines of faults:
// its decoder knows rules of TOML that the tree above does not, such as
// impossible dates.
func missedByUs(data []byte, faults Faults) Faults {
	err := toml.Unmarshal(data, &map[string]any{})
	var de *toml.DecodeError
	if !errors.As(err, &de) {
		return nil
	}
	line, _ := de.Position()
	if slices.ContainsFunc(faults, func(f Fault) bool { return f.Line == line }) {
		return nil
	}
	return Faults{notTOML(data, line, strings.TrimPrefix(de.Error(), "toml: "), "correct this line")}
}

// notTOML reports an error of go-toml, whose text may quote from the line.
func notTOML(data []byte, line int, problem, remedy string) Fault {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) || secret(string(lines[line-1])) {
		return Fault{Line: line, Problem: "not TOML", Remedy: remedy}
	}
	return Fault{Line: line, Problem: "not TOML: " + problem, Remedy: remedy}
}
