//go:build !lean

package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/store"
)

// restorable is a tenant with one commit, in an etcd that can be taken back to it.
type restorable struct {
	*faulty
	member *member
	backup string
	head   *store.Head
}

func newRestorable(t *testing.T) *restorable {
	dir := t.TempDir()
	m := startMember(t, dir)
	r := &restorable{faulty: newFaultyAt(t, m), backup: filepath.Join(t.TempDir(), "backup")}
	r.head = r.mustCommit(nil, manyFiles(20, 1000, 1), false)
	r.proxy.Cut()
	m.stop()
	if err := os.CopyFS(r.backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.member = r.replace(m, dir)
	return r
}

// restore takes etcd back, and waits until it answers.
func (r *restorable) restore() {
	r.Helper()
	r.member = r.replace(r.member, r.backup)
	within(r.T, heals, "etcd answers", func() bool {
		_, err := r.store.View(r.Context())
		return err == nil
	})
}

// A restored etcd may have the very head that something was staged for, and not the
// packs that were staged: a head that named them would be damage.
func TestWhatWasStagedBeforeARestoreIsNotNamed(t *testing.T) {
	t.Parallel()
	t.Run("keyframe", func(t *testing.T) {
		t.Parallel()
		r := newRestorable(t)
		k, err := r.store.StageKeyframe(t.Context(), r.view(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.restore()
		if _, err := r.store.PublishKeyframe(t.Context(), r.head, k); !errors.Is(err, store.ErrLostRace) {
			t.Errorf("it is published: %v", err)
		}
		r.check(store.Have{}, r.view())
		if _, err := r.store.MakeKeyframe(t.Context(), r.view(), nil); err != nil {
			t.Errorf("the next one: %v", err)
		}
		r.check(store.Have{}, r.view())
	})
	t.Run("commit", func(t *testing.T) {
		t.Parallel()
		r := newRestorable(t)
		content := []byte(text(3<<20, 1))
		e := file(string(content))
		r.contents[e.Hash] = content
		d := r.store.NewDraft(t.Context(), r.head)
		packer := codec.NewPacker(d.Stage)
		spot, err := packer.Add(content)
		if err == nil {
			err = packer.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		// Known to be: what was lost on the way is put again after the restore.
		within(t, heals, "packs are staged", func() bool { return d.Staged() > 0 })
		r.restore()
		list := codec.List{Changes: []codec.Change{{Path: "large", New: e, Content: packer.Content(spot)}}}
		tree, err := r.tree.With(list.Diff())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = d.Commit(t.Context(), &codec.Record{
			Tenant: r.tenant, Generation: 2, Parent: r.head.Position.Commit, Time: time.Unix(0, 1),
			Publisher: "p", Instance: "i", Digest: tree.Digest(), List: list,
		})
		if !errors.Is(err, store.ErrLostRace) || time.Since(begin) > heals {
			t.Errorf("it is committed: %v after %v", err, time.Since(begin))
		}
		r.check(store.Have{}, r.view())
	})
}
