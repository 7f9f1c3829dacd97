package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
)

// Written is what WriteSource has written, or would write.
type Written struct {
	Generation uint64        // of the head
	Changes    []diff.Change // of the directory; empty if it was equal to the head
	Bytes      int64         // of contents
	Kept       string        // where what stood there lies now; "" if nothing did
}

// WriteSource brings the tree of the head into the directory, also beside a publisher that runs,
// so that both are equal again. Only what stands as it was published last is replaced or
// removed, and kept in .confsyncd/kept; what neither the head nor that has is left alone. With
// dryRun nothing is written.
//
// It returns ErrRefused, having written nothing, if anything in the way was edited since, or
// cannot be read, if somebody is at work in the directory, or if nothing is known of what was
// published from it. A file is replaced at once. If it ends in the middle, it can be begun
// again. Other errors are those of store.Resolve and of the file system, and the last error of
// etcd when ctx ends.
func WriteSource(ctx context.Context, o Options, dryRun bool) (*Written, error) {
	p, err := New(o)
	if err != nil {
		return nil, err
	}
	if p.memory, err = openMemory(o); err != nil {
		return nil, err
	}
	defer p.memory.logClose(o.Log)
	if dryRun {
		if err := p.memory.freeze(); err != nil {
			return nil, err
		}
	}
	if p.memory.have().Position.IsZero() {
		return nil, refuse("publish it first, or see that --state-dir, --tenant and --dir are the publisher's",
			"nothing was published from %s with this state directory", o.Dir)
	}
	var written *Written
	err = o.Store.WithHead(ctx, func(view store.View) (err error) {
		written, err = p.writeSource(ctx, view, dryRun)
		return err
	})
	return written, err
}

func (p *Publisher) writeSource(ctx context.Context, view store.View, dryRun bool) (*Written, error) {
	if view.Err != nil {
		return nil, view.Err
	}
	v, err := p.options.Store.Resolve(ctx, store.Have{}, view)
	if err != nil {
		return nil, err
	}
	w := sourceWriter{publisher: p, version: v}
	if err := w.unoccupied(); err != nil {
		return nil, err
	}
	found, err := p.scanner.Scan(ctx, p.memory.base(), nil)
	if err != nil {
		return nil, err
	}
	if len(found.Held) > 0 {
		return nil, refuse(found.Held[0].Reason.Remedy(), "not everything can be compared: %s", some(describe(found.Held)))
	}
	changes, err := p.replaceable(found.Tree, v.Tree)
	if err != nil {
		return nil, err
	}
	if err := w.vacant(changes); err != nil {
		return nil, err
	}
	written := &Written{Generation: v.Position().Generation, Changes: changes}
	if dryRun {
		return written, nil
	}
	if len(changes) > 0 {
		written.Bytes, written.Kept, err = w.write(ctx, changes, time.Now())
	}
	if errors.Is(err, scan.ErrChanged) {
		err = fmt.Errorf("%w: %w; run it again", ErrRefused, err)
	}
	if err != nil {
		return written, err
	}
	// What differs from now on is edits. A publisher that runs sees that for itself.
	return written, p.memory.remember(v.Position(), v.Tree, v.Tree)
}

// replaceable returns what leads from the directory to the head. It returns ErrRefused if
// anything that it replaces is not as it was published last.
func (p *Publisher) replaceable(dir, head diff.Tree) ([]diff.Change, error) {
	base := p.memory.base()
	var changes []diff.Change
	var edited []string
	for _, c := range diff.Compare(dir, head) {
		was, published := base.Get(c.Path)
		switch {
		case c.Old == was, c.Created(): // Where nothing is nothing is lost.
			changes = append(changes, c)
		case c.Deleted() && !published && !blocked(head, c.Path):
			// It is new here, and in nobody's way; the publisher commits it, or ignores it.
		default:
			edited = append(edited, fmt.Sprintf("%q", c.Path))
		}
	}
	if len(edited) > 0 {
		return nil, refuse("let the publisher commit them first, or put them back", "%d paths in %s were edited since they were published: %s",
			len(edited), p.options.Dir, some(edited))
	}
	return changes, nil
}

// blocked reports whether a tree has something other than a directory above a path.
func blocked(t diff.Tree, path string) bool {
	for above := diff.Parent(path); above != ""; above = diff.Parent(above) {
		if e, ok := t.Get(above); ok {
			return e.Kind != diff.Directory
		}
	}
	return false
}
