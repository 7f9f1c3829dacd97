//go:build !lean

package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/fleet"
)

// What root's agent says is shown to an ordinary user, who cannot read its journals.
func TestJournalStateOfUnreadableJournal(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every journal")
	}
	dir, since := t.TempDir(), time.Now()
	if err := os.Mkdir(dir+"/"+diff.OwnName, 0o000); err != nil {
		t.Fatal(err)
	}
	got := journalState(targetStatus{Tenant: "prod", Dir: dir, State: inSync, process: process{Since: &since, Running: true}})
	if got.State != inSync || got.generation() != "?" {
		t.Errorf("got state %q, generation %s; want what was reported, and no generation", got.State, got.generation())
	}
	got.compare([]tenantStatus{{Tenant: "prod", Generation: 3}})
	if got.Behind != nil {
		t.Errorf("behind by %d, want unknown", *got.Behind)
	}
}

// fill sets every string below v, and makes one element in each list and map.
func fill(v reflect.Value, word string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(word)
	case reflect.Uint64, reflect.Int:
		v.Set(reflect.ValueOf(7).Convert(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), word)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), word)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, word)
		fill(value, word)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.IsExported() && !f.Anonymous {
				fill(v.FieldByIndex(f.Index), word)
			}
		}
	default:
	}
}

// Hosts write their own reports, and so may whoever has access to reports/ in state_dir.
func TestWhatOthersSayDoesNothingToATerminal(t *testing.T) {
	const word = "\x1b]0;title\a\x1b[2J\r\nfake      line\u202e"
	var s status
	fill(reflect.ValueOf(&s).Elem(), word)
	var facts hostFacts
	fill(reflect.ValueOf(&facts).Elem(), word)
	// These are said by none but ourselves.
	s.Tenants[0].TenantID, s.Tenants[0].Commit, s.Tenants[0].PublisherState = "1f", "2e", "live"
	for _, h := range []*hostFacts{&facts, &s.Tenants[0].Hosts[0]} {
		h.Life, h.State = string(fleet.Up), hostFailed
	}
	deleted := s
	deleted.Tenants = []tenantStatus{s.Tenants[0]}
	deleted.Tenants[0].Generation = 0
	deleted.Tenants[0].HostsError = ""
	for name, print := range map[string]func(*app) error{
		"status":           func(a *app) error { return a.printStatus(&s) },
		"status of no one": func(a *app) error { return a.printStatus(&deleted) },
		"watched status":   func(a *app) error { return (&screen{app: a, lines: map[string]string{}}).tell(&s) },
		"a host":           func(a *app) error { return a.showHost(facts, []codec.Alive{{Name: word, Instance: word}}) },
		"hosts":            func(a *app) error { return a.listHosts([]hostFacts{facts}) },
		"wait": func(a *app) error {
			return a.printWaited(waitFlags{}, waited{Tenant: "prod", Reached: true, Missing: []missingHost{{word, word, hostFailed, 1, word}}})
		},
		"a rollout": func(a *app) error {
			var r codec.Rollout
			fill(reflect.ValueOf(&r).Elem(), word)
			r.Stage = 0
			return a.printRollout("prod", r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := print(&app{out: &out}); err != nil {
				t.Fatal(err)
			}
			if i := strings.IndexAny(out.String(), "\x1b\a\r\u202e"); i >= 0 {
				t.Errorf("a terminal gets %q", out.String()[max(0, i-60):min(out.Len(), i+20)])
			}
			if strings.Contains(out.String(), "\nfake") {
				t.Errorf("it makes a line of its own:\n%s", &out)
			}
		})
	}
}
