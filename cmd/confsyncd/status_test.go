//go:build !lean

package main

import (
	"os"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
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
