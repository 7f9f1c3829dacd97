package tenant_test

import (
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/tenant"
)

func TestSelectorMatchesLabels(t *testing.T) {
	labels := map[string]string{"env": "prod", "owner": "team-a", "empty": ""}
	for selector, want := range map[string]bool{
		"":                      true,
		"env=prod":              true,
		"env==prod":             true,
		"env=test":              false,
		"env!=test":             true,
		"env!=prod":             false,
		"missing!=x":            true,
		"missing=x":             false,
		"env":                   true,
		"missing":               false,
		"!missing":              true,
		"!env":                  false,
		"empty=":                true,
		"missing=":              false,
		"env=prod,owner!=x":     true,
		"env=prod, owner = x":   false,
		"env = prod , !missing": true,
	} {
		s, err := tenant.ParseSelector(selector)
		if err != nil {
			t.Errorf("%q: %v", selector, err)
			continue
		}
		if got := s.Matches(labels); got != want {
			t.Errorf("%q matches: %v, want %v", selector, got, want)
		}
	}
}

func TestSelectorThatIsNoneIsRefused(t *testing.T) {
	for _, s := range []string{",", "env=prod,", "=x", "!", "!=x", "a b", "-a", "env=pr od", "!env=prod", "a=b=c", strings.Repeat("k", 300)} {
		if _, err := tenant.ParseSelector(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestLabelIsKeyAndValue(t *testing.T) {
	if key, value, err := tenant.ParseLabel("example.org/env=prod-1"); err != nil || key != "example.org/env" || value != "prod-1" {
		t.Errorf("got %q, %q, %v", key, value, err)
	}
	for _, s := range []string{"", "env", "=x", "a b=c", "a=b\n", "a=" + strings.Repeat("v", 300), "a=b,c"} {
		if _, _, err := tenant.ParseLabel(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
