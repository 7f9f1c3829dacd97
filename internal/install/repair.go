package install

import (
	"context"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// Repair puts the given managed paths right without a change of position: an apply of
// what the journal says. What stands there is kept. c is asked for contents only that
// the disk does not have. Errors are those of Apply; paths that cannot be put right are
// no error, see Result.Blocked.
func (t *Target) Repair(ctx context.Context, paths []string, c Contents) (Result, error) {
	s := t.State()
	return t.Apply(ctx, Plan{Position: s.Position, Want: s.Managed, All: s.All, Meta: s.Meta, Again: paths}, c)
}

// repair adds paths that are put right, together with the directories that lead to
// them.
func (w *work) repair(paths []string, have map[string]bool) {
	for _, path := range paths {
		for at := path; at != "" && !have[at]; at = diff.Parent(at) {
			e, ok := w.want.Get(at)
			if !ok {
				break
			}
			have[at] = true
			old, _ := w.base.Get(at)
			w.steps = append(w.steps, step{Change: diff.Change{Path: at, Old: old, New: strip(e)}, again: true})
		}
	}
}

// lookAgain is look for a path that is put right if that can be.
func (w *work) lookAgain(c *cursor, s *step) error {
	change := s.Change
	before := w.conflict
	why := ""
	if err := w.look(c, s); err != nil {
		_, why = unreachable(err)
	} else if w.conflict.Total > before.Total {
		why = w.conflict.Paths[len(w.conflict.Paths)-1].Why
	} else if s.acts() {
		why = forbidden(c, *s)
	}
	w.conflict = before
	if why != "" {
		*s = step{Change: change, again: true}
		w.result.Blocked = append(w.result.Blocked, ConflictPath{Path: s.Path, Why: why})
	}
	return nil
}
