package install

import "github.com/confsyncd/confsyncd/internal/diff"

// Preview is what an apply would do, by path.
type Preview struct {
	Created, Changed, Deleted, Adopted, Corrected []string
	// Left are the paths that would be left behind, with those that are already.
	Left []string
	// Pruned are those of them that would be removed.
	Pruned []string
	// Kept are the paths whose present content would be put aside.
	Kept []string
	// Blocked are those of Plan.Again that could not be put right.
	Blocked []ConflictPath
	// Conflict is why the apply would be refused, nil if it would not.
	Conflict *Conflict
}

// Check returns what Apply would do, and writes nothing. Its errors are Apply's,
// except that a conflict is part of the preview.
func (t *Target) Check(p Plan) (Preview, error) {
	if err := t.identity(); err != nil {
		return Preview{}, err
	}
	w, err := t.plan(p)
	if err != nil {
		return Preview{}, err
	}
	v := Preview{Blocked: w.result.Blocked, Left: append(append([]string(nil), t.State().Left...), w.pending.Leave...)}
	if w.conflict.Total > 0 {
		v.Conflict = &w.conflict
	}
	for _, s := range w.steps {
		v.add(s)
	}
	return v, nil
}

func (v *Preview) add(s step) {
	if s.keep {
		v.Kept = append(v.Kept, s.Path)
	}
	var list *[]string
	switch s.outcome() {
	case created:
		list = &v.Created
	case changed:
		list = &v.Changed
	case deleted:
		list = &v.Deleted
	case adopted:
		list = &v.Adopted
	case corrected:
		list = &v.Corrected
	default:
		return
	}
	*list = append(*list, s.Path)
}

// outcome is how a step counts.
type outcome uint8

const (
	unchanged outcome = iota
	created
	changed
	deleted
	left
	adopted
	corrected
)

func (s step) outcome() outcome {
	switch {
	case s.act == leave:
		return left
	case s.act == remove, s.act == removeDir:
		return deleted
	case s.Created() && s.local:
		return adopted
	case s.act == nothing, s.opened:
		return unchanged
	case s.Created() && s.found.kind == diff.None:
		return created
	case s.Old == s.New || s.local:
		return corrected
	}
	return changed
}

// tally counts what was done.
func (w *work) tally() {
	r := &w.result
	for _, s := range w.steps {
		switch s.outcome() {
		case created:
			r.Created++
		case changed:
			r.Changed++
		case deleted:
			r.Deleted++
		case left:
			r.Unmanaged = append(r.Unmanaged, s.Path)
		case adopted:
			r.Adopted++
		case corrected:
			r.Corrected++
		case unchanged:
		}
	}
	r.Kept = w.kept.count()
}
