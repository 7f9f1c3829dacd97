package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// cell ties one key of the file to one field.
//
// A value that cannot be read leaves the field empty: rules between keys
// then have nothing to say about it, and the rule of the key itself is
// silenced by the reader.
type cell struct {
	// read sets the field from the value of the key.
	read func(r *reader, v *node)
	// check returns the faults of the field; their keys are relative ("[2]").
	check func() Faults
	// inside lists the keys of a section, and is nil for plain values.
	inside func() []key
	// many is true for a section that is written [[twice bracketed]].
	many bool
}

// rule returns what is wrong with a value as a Fault without key and line.
type rule[T any] func(T) error

func text(field *string, ok rule[string]) cell {
	return scalar(field, "a string in quotes", ok, func(s string) (string, error) { return s, nil })
}

func duration(field *time.Duration, ok rule[time.Duration]) cell {
	return scalar(field, `a string with a unit, such as "50ms" or "2s"`, ok, ParseDuration)
}

func size(field *int64, ok rule[int64]) cell {
	return scalar(field, `a string with a unit, such as "16MiB"`, ok, ParseSize)
}

func percent(field *float64, ok rule[float64]) cell {
	return scalar(field, `a string such as "50%"`, ok, ParsePercent)
}

func mode(field **uint32, ok rule[*uint32]) cell {
	return scalar(field, `an octal string such as "0644"`, ok, func(s string) (*uint32, error) {
		if s == "" {
			return nil, nil //nolint:nilnil // Nil means as published.
		}
		m, err := ParseMode(s)
		return &m, err
	})
}

func boolean(field *bool) cell {
	return cell{
		read: func(r *reader, v *node) {
			*field = v.kind == unstable.Bool && v.text == "true"
			if v.kind != unstable.Bool {
				r.wrongKind(v, "true or false, without quotes")
			}
		},
		check: func() Faults { return nil },
	}
}

// scalar is a key whose value is a string that parse understands.
func scalar[T any](field *T, want string, ok rule[T], parse func(string) (T, error)) cell {
	return cell{
		read: func(r *reader, v *node) {
			var value T
			if s, isString := r.str(v, want); isString {
				parsed, err := parse(s)
				if err == nil {
					value = parsed
				} else {
					r.reject(v, err)
				}
			}
			*field = value
		},
		check: func() Faults { return faultsOf("", ok(*field)) },
	}
}

// whole is a key whose value is a whole number, written without quotes.
func whole(field *int, ok rule[int]) cell {
	return cell{
		read: func(r *reader, v *node) {
			*field = 0
			if v.kind != unstable.Integer {
				r.wrongKind(v, "a number without quotes, such as 3")
				return
			}
			n, err := ParseNumber(v.text)
			if err != nil {
				r.reject(v, err)
				return
			}
			*field = n
		},
		check: func() Faults { return faultsOf("", ok(*field)) },
	}
}

// pairs is a table whose keys are free; the rule sees each as key=value.
func pairs(field *map[string]string, ok rule[string]) cell {
	return cell{
		read: func(r *reader, v *node) {
			*field = nil
			if v.kind != unstable.Table {
				r.wrongKind(v, `a table such as { role = "web" }`)
				return
			}
			if len(v.names) > 0 {
				*field = make(map[string]string)
			}
			for _, name := range v.names {
				item := v.table[name]
				r.lines[item.name] = item.line
				if s, isString := r.str(item, "a string in quotes"); isString {
					(*field)[strings.Trim(name, `"`)] = s
				}
			}
		},
		check: func() Faults {
			var faults Faults
			for _, name := range slices.Sorted(maps.Keys(*field)) {
				faults = append(faults, faultsOf("."+bare(name), ok(name+"="+(*field)[name]))...)
			}
			return faults
		},
	}
}

func list(field *[]string, ok rule[string]) cell {
	return cell{
		read: func(r *reader, v *node) {
			*field = []string{}
			if v.kind != unstable.Array {
				r.wrongKind(v, `a list of strings, such as ["a", "b"]`)
				return
			}
			for _, item := range v.items {
				r.lines[item.name] = item.line
				s, _ := r.str(item, "a string in quotes")
				*field = append(*field, s)
			}
		},
		check: func() Faults {
			var faults Faults
			for i, s := range *field {
				faults = append(faults, faultsOf(index("", i), ok(s))...)
			}
			return faults
		},
	}
}

// table is a section that the file has at most once.
func table(s section) cell {
	return cell{
		read: func(r *reader, v *node) {
			switch {
			case v.kind == unstable.Table:
				r.section(v, s)
			case v.kind == unstable.Array && v.allTables():
				r.note(v, fault("write ["+v.name+"] once, in single brackets", "is a list of tables"))
				for _, item := range v.items {
					r.section(item, s)
				}
			default:
				r.wrongKind(v, "["+v.name+"] on a line of its own")
			}
		},
		check: func() Faults {
			faults := check(s)
			for i := range faults {
				faults[i].Key = "." + faults[i].Key
			}
			return faults
		},
		inside: s.keys,
	}
}

// maybe is a section that means something by being there; nil if it is not.
func maybe[T any, P interface {
	*T
	section
}](field **T, fresh func() T) cell {
	return cell{
		read: func(r *reader, v *node) {
			t := fresh()
			*field = &t
			table(P(&t)).read(r, v)
		},
		check: func() Faults {
			if *field == nil {
				return nil
			}
			return table(P(*field)).check()
		},
		inside: func() []key { return P(new(T)).keys() },
	}
}

// tables is a section that the file may have any number of times.
func tables[T any, P interface {
	*T
	section
}](field *[]T, fresh func() T) cell {
	return cell{
		read: func(r *reader, v *node) {
			want := "[[" + v.name + "]] on a line of its own"
			items := v.items
			switch v.kind {
			case unstable.Array:
			case unstable.Table:
				r.note(v, fault("write [["+v.name+"]] in double brackets", "is a single table"))
				v.rename(index(v.name, 0))
				items = []*node{v}
			default:
				r.wrongKind(v, want)
			}
			*field = make([]T, len(items))
			for i, item := range items {
				(*field)[i] = fresh()
				r.lines[item.name] = item.line
				if item.kind == unstable.Table {
					r.section(item, P(&(*field)[i]))
				} else {
					r.wrongKind(item, want)
				}
			}
		},
		check: func() Faults {
			var faults Faults
			for i := range *field {
				for _, f := range check(P(&(*field)[i])) {
					f.Key = fmt.Sprintf("[%d].%s", i, f.Key)
					faults = append(faults, f)
				}
			}
			return faults
		},
		inside: func() []key { return P(new(T)).keys() },
		many:   true,
	}
}
