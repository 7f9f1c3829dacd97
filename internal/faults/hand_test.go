//go:build faults

package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// pub is where a tenant's values lie in etcd.
func pub(tenant string) string { return "/confsyncd/" + tenant + "/pub/" }

const headKey = "head"

func logKey(generation uint64) string { return fmt.Sprintf("log/%016x", generation) }

func packKey(ref codec.PackRef) string { return "packs/" + ref.Hash.String() }

// hand puts into etcd what it likes. Its keys are those behind pub.
type hand struct {
	*World
	etcd   *clientv3.Client
	coder  *codec.Coder
	before map[string]string // what lay there when right was called
	joined int               // hosts so far
	// contents says that only contents are damaged now.
	contents bool
}

func (w *World) hand() *hand {
	w.Helper()
	return &hand{World: w, etcd: w.Cluster.Client(w.T), coder: codec.NewCoder()}
}

func (h *hand) get(key string) []byte {
	h.Helper()
	resp, err := h.etcd.Get(h.Context(), pub(tenant)+key)
	if err == nil && len(resp.Kvs) != 1 {
		err = fmt.Errorf("%s is not there", key)
	}
	h.do(err)
	return resp.Kvs[0].Value
}

// put puts keys and their values, all in one Txn.
func (h *hand) put(values map[string][]byte) {
	h.Helper()
	var ops []clientv3.Op
	for key, value := range values {
		ops = append(ops, clientv3.OpPut(pub(tenant)+key, string(value)))
	}
	_, err := h.etcd.Txn(h.Context()).Then(ops...).Commit()
	h.do(err)
}

// right notes that all is right now: restore puts it back.
func (h *hand) right() {
	h.Helper()
	resp, err := h.etcd.Get(h.Context(), pub(tenant), clientv3.WithPrefix())
	h.do(err)
	h.before = make(map[string]string)
	for _, kv := range resp.Kvs {
		h.before[string(kv.Key)] = string(kv.Value)
	}
}

// restore puts all back as right found it, the head last.
func (h *hand) restore() {
	h.Helper()
	resp, err := h.etcd.Get(h.Context(), pub(tenant), clientv3.WithPrefix())
	h.do(err)
	now := make(map[string]string)
	for _, kv := range resp.Kvs {
		now[string(kv.Key)] = string(kv.Value)
	}
	head := pub(tenant) + headKey
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if _, ok := h.before[key]; !ok {
			_, err := h.etcd.Delete(h.Context(), key)
			h.do(err)
		}
	}
	for _, key := range append(slices.Sorted(maps.Keys(h.before)), head) {
		if now[key] != h.before[key] || key == head && now[key] != h.before[head] {
			_, err := h.etcd.Put(h.Context(), key, h.before[key])
			h.do(err)
			now[key] = h.before[key]
		}
	}
}

func (h *hand) head() codec.Head {
	h.Helper()
	head, err := codec.DecodeHead(h.get(headKey))
	h.do(err)
	return head
}

func (h *hand) record(generation uint64) *codec.Record {
	h.Helper()
	r, err := h.coder.DecodeRecord(h.get(logKey(generation)))
	h.do(err)
	return r
}

// forged is a generation that no publisher made: right in all that the forger thought of.
type forged struct {
	record *codec.Record
	// stored, if it is set, takes the place of the record's bytes.
	stored []byte
	packs  []codec.Pack
}

// next is the generation after the head, with the given changes.
func (h *hand) next(changes []codec.Change, digest diff.Hash) *forged {
	h.Helper()
	head := h.head()
	return &forged{record: &codec.Record{
		Tenant: head.Position.Tenant, Generation: head.Position.Generation + 1, Parent: head.Position.Commit,
		Time: time.Now(), Publisher: head.Publisher, Instance: head.Instance, Digest: digest, Keyframe: head.Keyframe,
		List: codec.List{Changes: changes},
	}}
}

// commit puts a forged generation there, and has the head name it.
func (h *hand) commit(f *forged) {
	h.Helper()
	values := make(map[string][]byte)
	stage := func(p codec.Pack) error {
		values[packKey(p.Ref)] = p.Data
		return nil
	}
	stored, err := h.coder.EncodeRecord(f.record, stage)
	h.do(err)
	if f.stored != nil {
		stored = f.stored
		f.record.Commit = commitOf(stored)
	}
	for _, p := range f.packs {
		h.do(stage(p))
	}
	next := h.head()
	next.Position = diff.Position{Tenant: f.record.Tenant, Generation: f.record.Generation, Commit: f.record.Commit}
	next.Digest = f.record.Digest
	h.putHead(next, map[string][]byte{logKey(f.record.Generation): stored}, values)
}

// putHead puts a head, and in the same Txn or, of packs, before it, what it needs.
func (h *hand) putHead(head codec.Head, values map[string][]byte, before map[string][]byte) {
	h.Helper()
	for key, value := range before {
		h.put(map[string][]byte{key: value})
	}
	raw, err := codec.EncodeHead(head)
	h.do(err)
	all := map[string][]byte{headKey: raw}
	maps.Copy(all, values)
	h.put(all)
}

// commitOf is the commit id of stored bytes, as a reader works it out.
func commitOf(stored []byte) diff.Hash {
	body := stored[min(len(stored), 7):]
	for range 2 {
		_, n := binary.Uvarint(body)
		body = body[max(0, n):]
	}
	return diff.Sum(append([]byte("confsyncd commit 1\n"), body...))
}

// whole is a file with its content.
func whole(path, content string) codec.Change {
	return codec.Change{
		Path: path, New: diff.Entry{Kind: diff.File, Mode: 0o644, Size: int64(len(content)), Hash: diff.Sum([]byte(content))},
		Content: codec.Content{Whole: []byte(content)},
	}
}

// entries are a tree's, in the product's words.
func entries(t lab.Tree) map[string]diff.Entry {
	all := make(map[string]diff.Entry)
	for path, n := range t {
		e := diff.Entry{Kind: diff.File, Mode: uint32(n.Mode.Perm()), Size: int64(len(n.Content)), Hash: diff.Sum([]byte(n.Content))}
		switch n.Mode.Type() {
		case fs.ModeDir:
			e = diff.Entry{Kind: diff.Directory, Mode: e.Mode}
		case fs.ModeSymlink:
			e.Kind, e.Mode = diff.Symlink, 0
		}
		all[path] = e
	}
	return all
}

// digestAfter works out the digest of what was published last with the changes, as they
// are: whatever names they have, however often.
func (h *hand) digestAfter(changes []codec.Change) diff.Hash {
	h.Helper()
	type named struct {
		path string
		diff.Entry
	}
	var all []named
	for path, e := range entries(h.Writer.Model) {
		all = append(all, named{path, e})
	}
	if got := nest(func(yield func(string, diff.Entry)) {
		for _, n := range all {
			yield(n.path, n.Entry)
		}
	}).Digest(); got != h.head().Digest {
		h.do(errors.New("the forger does not know the tree that it adds to"))
	}
	for _, ch := range changes {
		all = slices.DeleteFunc(all, func(n named) bool { return n.path == ch.Path && ch.New.Kind == diff.None })
		if ch.New.Kind != diff.None {
			all = append(all, named{ch.Path, ch.New})
		}
	}
	return nest(func(yield func(string, diff.Entry)) {
		for _, n := range all {
			yield(n.path, n.Entry)
		}
	}).Digest()
}

// nest makes a tree of paths that no rule allows.
func nest(each func(yield func(path string, e diff.Entry))) diff.Tree {
	type dir struct {
		entries []diff.Child
		below   map[string]*dir
	}
	root := &dir{below: make(map[string]*dir)}
	each(func(path string, e diff.Entry) {
		at := root
		parts := strings.Split(path, "/")
		for _, name := range parts[:len(parts)-1] {
			if at.below[name] == nil {
				at.below[name] = &dir{below: make(map[string]*dir)}
			}
			at = at.below[name]
		}
		at.entries = append(at.entries, diff.Child{Name: parts[len(parts)-1], Entry: e})
	})
	var build func(d *dir) *diff.Dir
	build = func(d *dir) *diff.Dir {
		children := slices.Clone(d.entries)
		for name, below := range d.below {
			i := slices.IndexFunc(children, func(c diff.Child) bool { return c.Name == name })
			if i < 0 {
				children, i = append(children, diff.Child{Name: name}), len(children)
			}
			children[i].Dir = build(below)
		}
		return diff.NewDir(children)
	}
	return diff.NewTree(build(root))
}
