package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// maxVerify bounds how often paths are looked at again because an agent was at work
// meanwhile.
const maxVerify = 8

// Verify reads all that is managed in the target at dir, and returns in path order what
// is not as its journal says, and the state that it compared with. It takes no lock and
// changes nothing, so that it may run beside an agent: what differs while that works is
// looked at again. Paths that an apply, under way or interrupted, changes are right as
// they were and as they come. each, if it is set, is told of every path, with the bytes
// that stand there.
//
// The error wraps journal.ErrNone, ErrDamaged or ErrNewer, ErrGone, or the context's.
func Verify(ctx context.Context, dir string, each func(path string, bytes int64)) ([]Drifted, journal.State, error) {
	v := verifier{dir: filepath.Clean(dir), each: each}
	found, err := v.all(ctx)
	if err != nil {
		return nil, v.state, fmt.Errorf("verify %q: %w", dir, err)
	}
	return found, v.state, nil
}

type verifier struct {
	dir     string
	each    func(path string, bytes int64)
	state   journal.State
	pending *journal.Pending
}

func (v *verifier) all(ctx context.Context) ([]Drifted, error) {
	if err := v.read(); err != nil {
		return nil, err
	}
	found, err := v.look(ctx, nil)
	for i := 0; i < maxVerify && (err != nil || len(found) > 0); i++ {
		gone := errors.Is(err, ErrGone) // A tree was switched.
		if err != nil && !gone {
			return nil, err
		}
		before := *v
		if err := v.read(); err != nil {
			return nil, err
		}
		if !gone && v.stands(before) {
			break
		}
		v.each = nil // Each path is told of once.
		var again []string
		if !gone {
			again = v.since(before, found)
		}
		found, err = v.look(ctx, again)
	}
	return found, err
}

// stands reports whether the journal is as it was.
func (v *verifier) stands(before verifier) bool {
	return v.state.Position == before.state.Position && v.state.Meta == before.state.Meta && reflect.DeepEqual(v.pending, before.pending)
}

// since returns, never nil, the paths that were found to differ or changed in the
// journal.
func (v *verifier) since(before verifier, found []Drifted) []string {
	paths := []string{}
	for _, d := range found {
		paths = append(paths, d.Path)
	}
	for _, c := range diff.Compare(before.state.Managed, v.state.Managed) {
		paths = append(paths, c.Path)
	}
	slices.SortFunc(paths, diff.ComparePaths)
	return slices.Compact(paths)
}

func (v *verifier) read() (err error) {
	v.state, v.pending, err = ReadState(v.dir)
	return err
}

// look compares the given paths with the disk; nil are all.
func (v *verifier) look(ctx context.Context, paths []string) ([]Drifted, error) {
	t, err := openReading(Options{Dir: v.dir, UID: int(v.state.Meta.UID), GID: int(v.state.Meta.GID), Log: hclog.NewNullLogger()})
	if err != nil {
		return nil, err
	}
	l := &looker{t: t, c: t.cursor(), deep: true, each: v.each}
	if paths == nil {
		err = l.below(ctx, "", v.state.Managed.Root())
	}
	for _, path := range paths {
		if want, ok := v.state.Managed.Get(path); ok && err == nil {
			_, err = l.look(path, want)
			err = errors.Join(err, ctx.Err())
		}
	}
	found := l.found
	if v.pending != nil {
		found = slices.DeleteFunc(found, func(d Drifted) bool { return l.comes(d.Path, v.pending) })
	}
	l.c.close()
	if err == nil {
		err = is(v.dir, t.dir)
	}
	return found, errors.Join(err, t.Close())
}

// comes reports whether a path is as the pending apply makes it.
func (l *looker) comes(path string, p *journal.Pending) bool {
	i, ok := slices.BinarySearchFunc(p.Changes, path, func(c diff.Change, path string) int { return diff.ComparePaths(c.Path, path) })
	if !ok {
		return slices.Contains(p.Leave, path)
	}
	d := Drifted{Path: path, Want: p.Changes[i].New}
	_, err := l.compare(&d)
	return err == nil && (d.What == "" || d.What == Missing && p.Changes[i].Deleted())
}
