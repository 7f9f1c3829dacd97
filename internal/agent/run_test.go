package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

// losing provides one content, and takes the stage away while it does so.
type losing struct {
	*testing.T
	stage   string
	content string
}

func (l losing) Fetch(_ context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	l.must(os.Rename(l.stage, l.stage+".away"))
	l.must(os.WriteFile(l.stage, nil, 0o600))
	return put(want[0], []byte(l.content))
}

func (l losing) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func TestAgentCompletesAnApplyWithoutEtcd(t *testing.T) {
	dir := t.TempDir()
	a := New(Options{Tenant: "prod", Dir: dir, UID: -1, GID: -1, Log: hclog.NewNullLogger()})
	defer a.closeTarget()
	l := losing{T: t, stage: filepath.Join(dir, diff.OwnName, "stage"), content: "content"}
	l.must(a.openTarget())

	tree, err := diff.Tree{}.With([]diff.Change{{Path: "a", New: diff.Entry{
		Kind: diff.File, Mode: 0o644, Size: int64(len(l.content)), Hash: diff.Sum([]byte(l.content)),
	}}})
	l.must(err)
	at := diff.Position{Tenant: diff.TenantID{1}, Generation: 1, Commit: diff.Hash{1}}
	if _, err := a.applier.target.Apply(t.Context(), install.Plan{Position: at, Want: tree, All: tree, Meta: a.options.meta()}, l); err == nil {
		t.Fatal("applied without a stage")
	}

	feed := store.NewFeed() // Nothing is heard of etcd.
	if wait := a.wake(t.Context(), feed); wait <= 0 || a.diary.told.State != "failing" {
		t.Errorf("without a stage: looks again in %v, report %+v", wait, a.diary.told)
	}
	l.must(os.Remove(l.stage))
	l.must(os.Rename(l.stage+".away", l.stage))
	if wait := a.wake(t.Context(), feed); wait != never {
		t.Errorf("looks again in %v", wait)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a")); string(b) != l.content {
		t.Errorf("a holds %q (%v)", b, err)
	}
	if got := a.applier.target.State().Position; got != at {
		t.Errorf("at %+v", got)
	}
}
