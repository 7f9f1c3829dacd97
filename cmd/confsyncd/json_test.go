//go:build !lean

package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// TestJSONFieldsAreDocumented keeps docs/json.md complete.
func TestJSONFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []any{
		pushed{},
		rolledBack{},
		sourceWritten{},
		pulled{},
		previewed{},
		status{},
		tenantStatus{},
		channelState{},
		hostFacts{},
		hostTotals{},
		codec.HostTarget{},
		codec.HookOutcome{},
		waited{},
		missingHost{},
		forgottenHost{},
		sourceStatus{},
		targetStatus{},
		process{},
		accepted{},
		jsonFault{},
		commitFacts{},
		shown{},
		compared{},
		sideFacts{},
		differenceFacts{},
		entryFacts{},
		listed{},
		listedEntry{},
		contentOf{},
		blamed{},
		verified{},
		verifiedTarget{},
		deviation{},
		verifiedTenant{},
		collected{},
		held{},
		holdFacts{},
		forgotten{},
		tenantFacts{},
		tenantDeleted{},
	} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(object)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("%T: docs/json.md does not know %q", object, name)
			}
		}
	}
}
