package publisher

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	basesName = "bases"
	// basesLimit bounds the bases on the disk in bytes; each counts as a block at least.
	basesLimit = 256 << 20
	basesBlock = 4 << 10
	// basesAtOnce is how many bases are kept of one commit: who replaces more files edits
	// few of them again.
	basesAtOnce = 1000

	// etcdFloor is from how many bytes on a base that is not on the disk is read from
	// etcd: what is smaller is sent whole.
	etcdFloor = 64 << 10
	// etcdBudget is how many bytes of bases may be read from etcd for one commit.
	etcdBudget = codec.MaxFileSize
)

// bases are contents that were published lately and edited before, in files named by
// their hashes beside the publisher's memory. They are a cache: not synced, verified
// when read, and missed by nobody.
type bases struct {
	parent   *os.Root // the memory's directory, which owns it; nil before open
	dir      *os.Root // nil before something is kept
	readOnly bool
	index    map[diff.Hash]kept // once dir is set
	bytes    int64              // of the index
	limit    int64
}

// kept is what is known of a base on the disk.
type kept struct {
	size int64 // as it counts
	used time.Time
}

func newBases() *bases { return &bases{limit: basesLimit} }

// open says where the bases lie. It touches nothing.
func (b *bases) open(memory *os.Root, readOnly bool) { b.parent, b.readOnly = memory, readOnly }

func fileOf(h diff.Hash) string { return h.String() }

// get returns the content of that hash, nil if it is not there.
func (b *bases) get(h diff.Hash) []byte {
	content := b.read(h)
	if k, ok := b.index[h]; ok && content != nil {
		k.used = time.Now()
		b.index[h] = k
	}
	return content
}

// read is get for who makes no patches: it does not count as use, and may be called
// from another goroutine.
func (b *bases) read(h diff.Hash) []byte {
	name := basesName + "/" + fileOf(h)
	info, err := b.parent.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > codec.MaxFileSize {
		return nil
	}
	content, err := b.parent.ReadFile(name)
	if err != nil || diff.Sum(content) != h {
		return nil
	}
	return content
}

// keep writes a content, and removes the least recently used ones beyond the limit.
func (b *bases) keep(h diff.Hash, content []byte) error {
	if err := b.load(); err != nil {
		return err
	}
	name := fileOf(h)
	if err := b.write(name, content); err != nil {
		// A full disk needs the room.
		return errors.Join(err, b.dropFile(name+".new"))
	}
	b.note(h, int64(len(content)), time.Now())
	if b.bytes <= b.limit {
		return nil
	}
	return b.evict()
}

func (b *bases) write(name string, content []byte) error {
	if err := b.dir.WriteFile(name+".new", content, 0o600); err != nil {
		return err
	}
	return b.dir.Rename(name+".new", name)
}

// load makes the directory and looks at what an earlier process left in it.
func (b *bases) load() error {
	if b.dir != nil {
		return nil
	}
	if err := b.parent.Mkdir(basesName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := b.parent.OpenRoot(basesName)
	if err != nil {
		return err
	}
	b.dir, b.index, b.bytes = dir, make(map[diff.Hash]kept), 0
	entries, err := fs.ReadDir(dir.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, b.find(e))
	}
	return err
}

// find notes what lies in the directory. A temporary file is one of a process that was
// killed.
func (b *bases) find(e fs.DirEntry) error {
	name, err := hex.DecodeString(e.Name())
	if err != nil || len(name) != len(diff.Hash{}) {
		if strings.HasSuffix(e.Name(), ".new") {
			return b.dropFile(e.Name())
		}
		return nil
	}
	info, err := e.Info()
	if err == nil {
		b.note(diff.Hash(name), info.Size(), info.ModTime())
	}
	return err
}

func (b *bases) note(h diff.Hash, size int64, used time.Time) {
	size = max(size, basesBlock)
	b.bytes += size - b.index[h].size
	b.index[h] = kept{size, used}
}

// drop removes the content of that hash, if it is there.
func (b *bases) drop(h diff.Hash) error {
	k, ok := b.index[h]
	if !ok {
		return nil
	}
	b.bytes -= k.size
	delete(b.index, h)
	return b.dropFile(fileOf(h))
}

func (b *bases) dropFile(name string) error {
	if err := b.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// evict removes the least recently used contents, some more than it must, so that it
// is not called for each.
func (b *bases) evict() error {
	all := make([]diff.Hash, 0, len(b.index))
	for h := range b.index {
		all = append(all, h)
	}
	slices.SortFunc(all, func(x, y diff.Hash) int { return b.index[x].used.Compare(b.index[y].used) })
	for _, h := range all {
		if b.bytes <= b.limit/8*7 {
			break
		}
		if err := b.drop(h); err != nil {
			return err
		}
	}
	return nil
}

func (b *bases) close() {
	if b.dir != nil {
		_ = b.dir.Close() // Nothing was written through it.
	}
}

// keepBases keeps the contents of the files that a commit edited, in place of those
// that they replaced. The files are read again: one that has changed meanwhile is not
// what was committed, and left out.
func (p *Publisher) keepBases(c Commit) error {
	if p.bases.readOnly {
		return nil
	}
	left := basesAtOnce
	for _, ch := range c.Changes {
		if ch.Old.Kind != diff.File || ch.New.Kind != diff.File || ch.Old.Hash == ch.New.Hash || ch.New.Size < patchFloor {
			continue
		}
		if left--; left < 0 {
			break
		}
		content, err := p.scanner.Read(ch.Path, ch.New)
		if errors.Is(err, scan.ErrChanged) {
			continue
		}
		if err == nil {
			err = p.bases.keep(ch.New.Hash, content)
		}
		if err == nil {
			err = p.bases.drop(ch.Old.Hash)
		}
		if err != nil {
			return fmt.Errorf("%s of %q: %w", basesName, ch.Path, err)
		}
	}
	return nil
}

// base returns the content of a file that is being replaced, nil if it is not at hand.
func (p *Publisher) base(ctx context.Context, old diff.Entry) []byte {
	if content := p.bases.get(old.Hash); content != nil {
		return content
	}
	if old.Size < etcdFloor || old.Size > p.asking {
		return nil
	}
	p.asking -= old.Size
	content, err := p.baseFromEtcd(ctx, old)
	if err != nil {
		p.known, p.asking = nil, 0 // Not for each file anew.
		p.options.Log.Info("sending files whole: what they replace cannot be read from etcd", "tenant", p.options.Tenant, "error", err)
		return nil
	}
	return content
}

// baseFromEtcd reads a content of the head's tree.
func (p *Publisher) baseFromEtcd(ctx context.Context, e diff.Entry) (content []byte, err error) {
	if p.known == nil {
		p.known, err = p.options.Store.Resolve(ctx, store.Have{}, p.view)
	} else {
		p.known, err = p.known.Advance(ctx, p.view)
	}
	if err != nil {
		return nil, err
	}
	err = p.known.Fetch(ctx, []diff.Entry{e}, p.bases.get, func(_ diff.Entry, b []byte) error {
		content = bytes.Clone(b)
		return nil
	})
	return content, err
}
