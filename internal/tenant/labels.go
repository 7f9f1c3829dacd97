package tenant

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// ParseLabel reads a label, "key=value".
func ParseLabel(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("%q is no label; write key=value, such as env=prod", s)
	}
	if err := checkKey(key); err != nil {
		return "", "", err
	}
	return key, value, checkValue(value)
}

// checkKey returns an error unless s can be the name of a label: a selector must be able to
// say it.
func checkKey(s string) error {
	for i := range len(s) {
		c := s[i]
		if !alphanumeric(c) && (i == 0 || !strings.ContainsRune("._/-", rune(c))) {
			return fmt.Errorf("%q is no name of a label; use letters, digits, '.', '_', '/' and '-', beginning with a letter or digit", s)
		}
	}
	if s == "" || len(s) > codec.MaxName {
		return fmt.Errorf("a label's name has %d characters; write 1 to %d", len(s), codec.MaxName)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func checkValue(s string) error {
	if strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || strings.ContainsRune(", !=", c) }) || len(s) > codec.MaxName {
		return fmt.Errorf("%q is no value of a label; use at most %d visible characters, without space, comma, '=' and '!'", s, codec.MaxName)
	}
	return nil
}

// Selector tells which tenants are meant by their labels. The zero one means all.
type Selector struct {
	terms []term
}

// term is one condition of a selector.
type term struct {
	key, value string
	any        bool // the value does not matter
	not        bool
}

// ParseSelector reads conditions that must all hold, separated by commas: "env=prod",
// "owner!=team-a", which a tenant without that label meets too, "owner" for any value and
// "!owner" for none.
func ParseSelector(s string) (Selector, error) {
	var sel Selector
	if s == "" {
		return sel, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		t, err := parseTerm(strings.TrimSpace(word))
		if err != nil {
			return Selector{}, fmt.Errorf("selector %q: %w", s, err)
		}
		sel.terms = append(sel.terms, t)
	}
	return sel, nil
}

func parseTerm(s string) (term, error) {
	var t term
	var hasValue bool
	if t.key, t.value, hasValue = strings.Cut(s, "!="); hasValue {
		t.not = true
	} else if t.key, t.value, hasValue = strings.Cut(s, "="); hasValue {
		t.value = strings.TrimPrefix(t.value, "=") // as kubectl has it
	} else {
		t.any = true
		t.key, t.not = strings.CutPrefix(s, "!")
	}
	t.key, t.value = strings.TrimSpace(t.key), strings.TrimSpace(t.value)
	if err := checkKey(t.key); err != nil {
		return term{}, err
	}
	return t, checkValue(t.value)
}

// Matches reports whether all conditions hold for the labels.
func (s Selector) Matches(labels map[string]string) bool {
	for _, t := range s.terms {
		value, ok := labels[t.key]
		if (ok && (t.any || value == t.value)) == t.not {
			return false
		}
	}
	return true
}
