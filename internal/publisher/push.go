package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// pushPatience is how long a push waits for files that are being written, or for a
// busy file to go.
const pushPatience = 5 * time.Second

// Push publishes once. It returns nil if there was nothing to commit; after a dry run,
// what would be committed, without position and bytes. Unlike Run it commits all or
// nothing: it returns ErrRefused if any path cannot be published or a guard trips, and
// ErrConflict if the head has another publisher's name, or is not at the generation
// that po names. It gives up with an error of
// etcd when ctx ends.
func (p *Publisher) Push(ctx context.Context, po PushOptions) (*Commit, error) {
	p.push = &po
	memory, err := openMemory(p.options)
	if err != nil {
		return nil, err
	}
	defer memory.logClose(p.options.Log)
	p.memory = memory
	if po.DryRun {
		if err := memory.freeze(); err != nil {
			return nil, err
		}
	}
	p.bases.open(memory.dir, memory.readOnly())
	defer p.bases.close()
	p.recallStamps()
	until := time.Now().Add(pushPatience)
	var pace store.Backoff
	for {
		commit, err := p.pushOnce(ctx)
		switch {
		case err == nil:
			if err := p.saveStamps(); err != nil {
				p.options.Log.Warn("keeping what is known of the files", "error", err)
			}
			return commit, nil
		case errors.Is(err, store.ErrLostRace), errors.Is(err, store.ErrRegistration):
		case errors.Is(err, errBusy), errors.Is(err, errDisturbed), errors.Is(err, scan.ErrChanged), errors.Is(err, errHeldForNow):
			if time.Now().After(until) {
				return nil, fmt.Errorf("%w: %w", ErrRefused, err)
			}
		case store.Temporary(err):
		default:
			return nil, p.options.Store.Advised(err)
		}
		if waitErr := pace.Wait(ctx); waitErr != nil {
			return nil, err
		}
	}
}

func (p *Publisher) pushOnce(ctx context.Context) (*Commit, error) {
	view, err := p.options.Store.View(ctx)
	if err != nil {
		return nil, err
	}
	p.view = view
	out, err := p.step(ctx, watcher.Dirty{All: true})
	if err != nil || p.push.DryRun {
		return out.commit, err
	}
	if out.commit == nil {
		if err := p.endRollback(ctx, view.Head); err != nil {
			return nil, err
		}
	}
	if out.commit != nil {
		if err := p.keepBases(*out.commit); err != nil {
			p.options.Log.Warn("keeping what patches apply to", "error", err)
		}
	}
	if err := p.keyframe(ctx); err != nil {
		// The commit is made; the next one tries again.
		p.options.Log.Warn("making a keyframe", "error", err)
	}
	return out.commit, nil
}

// endRollback notes in etcd that the directory is what a rollback has brought back: from now
// on what differs is edits, which a push that remembers nothing may publish, too.
func (p *Publisher) endRollback(ctx context.Context, head *store.Head) error {
	if head == nil || head.Rollback == 0 || head.Digest != p.scanned.Digest() || head.Publisher != p.options.Name {
		return nil
	}
	_, err := p.options.Store.EndRollback(ctx, head.Position)
	return err
}
