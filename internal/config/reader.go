package config

import "github.com/pelletier/go-toml/v2/unstable"

// reader fills sections from a document and gathers what does not fit.
type reader struct {
	faults Faults
	// lines holds the line of every key that was read, by full name.
	lines map[string]int
	// rejected holds the keys whose values could not be read at all.
	rejected map[string]bool
}

func newReader() *reader {
	return &reader{lines: map[string]int{}, rejected: map[string]bool{}}
}

// section reads the table t into s.
func (r *reader) section(t *node, s section) {
	known := s.keys()
	byName := make(map[string]key, len(known))
	for _, k := range known {
		byName[k.name] = k
	}
	for _, name := range t.names {
		v := t.table[name]
		k, ok := byName[name]
		if !ok {
			r.note(v, fault(unknownRemedy(t.name, name, known), "unknown key"))
			continue
		}
		r.lines[v.name] = v.line
		k.read(r, v)
	}
}

// str returns the string v, or rejects v: want says what belongs there.
func (r *reader) str(v *node, want string) (string, bool) {
	if v.kind != unstable.String {
		r.wrongKind(v, want)
		return "", false
	}
	return v.text, true
}

func (r *reader) wrongKind(v *node, want string) {
	r.reject(v, fault("write "+want, "is %s", v.describe()))
}

// reject notes that v could not be read.
func (r *reader) reject(v *node, err error) {
	r.rejected[v.name] = true
	r.note(v, err)
}

func (r *reader) note(v *node, err error) {
	r.faults = append(r.faults, faultAt(v.name, v.line, err))
}

// withoutRejected leaves out the faults of values that were never read.
func (r *reader) withoutRejected(faults Faults) Faults {
	var kept Faults
	for _, f := range faults {
		name := f.Key
		for name != "" && !r.rejected[name] {
			name = parent(name)
		}
		if name == "" {
			kept = append(kept, f)
		}
	}
	return kept
}
