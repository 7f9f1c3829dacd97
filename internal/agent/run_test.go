package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
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

// giving provides one content.
type giving string

func (g giving) Fetch(_ context.Context, want []diff.Entry, _ func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	return put(want[0], []byte(g))
}

// Were it taken for a fight, a path would wait for minutes after etcd is back.
func TestRepairThatEtcdKeepsFromBeingMadeIsNoFight(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	etcd := store.NewClient(store.Config{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	defer func() { must(etcd.Close()) }()
	a := New(Options{Tenant: "prod", Dir: dir, UID: -1, GID: -1, Store: etcd.Tenant("prod"), Log: hclog.NewNullLogger()})
	defer a.closeTarget()
	must(a.openTarget())
	content := giving("content")
	tree, err := diff.Tree{}.With([]diff.Change{{Path: "a", New: diff.Entry{
		Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content)),
	}}})
	must(err)
	at := diff.Position{Tenant: diff.TenantID{1}, Generation: 1, Commit: diff.Hash{1}}
	_, err = a.applier.target.Apply(t.Context(), install.Plan{Position: at, Want: tree, All: tree, Meta: a.options.meta()}, content)
	must(err)
	a.view = store.View{Head: &store.Head{Head: codec.Head{Position: at, Digest: tree.Digest(), Founding: 1}}}

	must(os.Remove(filepath.Join(dir, "a")))
	a.dirty.all = true
	must(a.look(t.Context()))
	if err := a.repair(t.Context(), []*drift{a.drifts.open["a"]}); !store.Temporary(err) {
		t.Errorf("got %v", err)
	}
	if p := a.drifts.past["a"]; p != nil {
		t.Errorf("counts as an attempt: %+v", *p)
	}
}
