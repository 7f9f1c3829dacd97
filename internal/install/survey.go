package install

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// survey is what stands in a target that is to be switched as a whole.
type survey struct {
	// root is the target itself, before it was looked at.
	root node
	// recent says that a directory was changed so shortly before it was looked at that
	// its times may not tell of what happened in it since.
	recent bool
	// found is everything but .confsyncd, by path.
	found map[string]node
	// carry are the paths that are taken along as they stand: what changes of the
	// selection left behind, and drift that is only reported.
	carry map[string]bool
}

// surveyor looks at all of a target. Its maps but the survey's do not change meanwhile.
type surveyor struct {
	w       *work
	steps   map[string]int
	left    map[string]bool // left behind
	leading map[string]bool // directories that lead to what was left behind
	mu      sync.Mutex      // guards the work's steps, survey and conflict, the target's stamps, and Beat
}

// lookAround finds out whether the target holds what is not managed, which would be in
// the way of a switch, and what differs from the journal beside the steps.
func (w *work) lookAround() error {
	s := &surveyor{w: w, steps: map[string]int{}, left: map[string]bool{}, leading: map[string]bool{}}
	for i, st := range w.steps {
		s.steps[st.Path] = i
	}
	for _, path := range w.t.State().Left {
		s.leftBehind(path)
	}
	for path := range w.leave {
		s.leftBehind(path)
	}
	w.survey = &survey{found: make(map[string]node, w.t.State().Managed.Len()), carry: map[string]bool{}}
	root, err := lstat(int(w.t.dir.Fd()), ".")
	if err != nil {
		return w.t.fault("look at", "", err)
	}
	w.survey.root, w.survey.recent = root, racy(root, time.Now())
	all := &walker{visit: s.visit}
	if err := all.walkWide(int(w.t.dir.Fd())); err != nil {
		if errors.Is(err, errRaced) {
			return err
		}
		return w.t.fault("look at", "", err)
	}
	s.missing()
	return nil
}

func (s *surveyor) leftBehind(path string) {
	if _, ok := s.w.want.Get(path); ok {
		return
	}
	s.left[path] = true
	for at := diff.Parent(path); at != "" && !s.leading[at]; at = diff.Parent(at) {
		s.leading[at] = true
	}
}

// visit may be called by several goroutines at a time.
func (s *surveyor) visit(dir int, path string, n node) (into bool, err error) {
	name := diff.Base(path)
	readable, recent := true, false
	if n.kind == diff.Directory {
		recent = racy(n, time.Now())
		if n.dev != s.w.t.dev || mounted(dir, name) {
			return false, s.w.t.fault("look at", path, unix.EXDEV)
		}
		readable = unix.Faccessat(dir, name, unix.R_OK|unix.X_OK, unix.AT_EACCESS) == nil
	}
	i, isStep := s.steps[path]
	e, wanted := s.w.want.Get(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.t.o.Beat()
	s.w.survey.found[path] = n
	s.w.survey.recent = s.w.survey.recent || recent
	switch {
	case n.kind == special:
		s.inTheWay(path, "a "+n.describe()+" stands there; remove it")
		return false, nil
	case !readable:
		s.inTheWay(path, unreadable(path))
		return false, nil
	case isStep:
		return s.step(i, n)
	case wanted:
		return s.unchanged(dir, name, diff.Change{Path: path, Old: strip(e), New: strip(e)}, n)
	case s.left[path], n.kind == diff.Directory && s.leading[path]:
		s.w.survey.carry[path] = true
		return true, nil
	}
	s.inTheWay(path, "a "+n.describe()+" that is not managed; mode = \"tree\" takes a directory of its own: move it away")
	return false, nil
}

// inTheWay notes a conflict, once for each path.
func (s *surveyor) inTheWay(path, why string) {
	for _, c := range s.w.conflict.Paths {
		if c.Path == path {
			return
		}
	}
	s.w.conflict.add(path, why)
}

// step looks at what stands at the path of a step.
func (s *surveyor) step(i int, n node) (into bool, err error) {
	st := &s.w.steps[i]
	if !n.same(st.found) {
		return false, fmt.Errorf("%q: %w", st.Path, errRaced)
	}
	switch {
	case st.Deleted() && s.leading[st.Path] && n.kind == diff.Directory:
		st.act = leave
		s.w.survey.carry[st.Path] = true
	case st.act == leave:
		s.inTheWay(st.Path, "a "+n.describe()+" stands where a managed path goes away; remove it")
	}
	return true, nil
}

// unchanged looks at a path that the plan does not change. If it is not as it should
// be, it is put right, or taken along. It lets others work while it reads.
func (s *surveyor) unchanged(dir int, name string, c diff.Change, n node) (into bool, err error) {
	if n.kind == c.New.Kind && s.w.t.fits(n, c.New) {
		if hash, ok := s.w.t.stamps.hash(c.Path, n, s.w.t.now()); !c.New.HasContent() || ok && hash == c.New.Hash && n.size == c.New.Size {
			return true, nil
		}
	}
	s.mu.Unlock()
	seen := time.Now()
	st, why, err := s.w.decide(dir, name, c, true)
	s.mu.Lock()
	switch {
	case err != nil:
		return false, s.w.t.fault("look at", c.Path, err)
	case !st.found.same(n):
		return false, fmt.Errorf("%q: %w", c.Path, errRaced)
	case why != "" && !s.w.keepDrift:
		s.inTheWay(c.Path, why)
	case st.act == nothing:
		s.w.t.stamps.note(c.Path, n, c.New.Hash, seen)
	case s.w.keepDrift:
		s.w.survey.carry[c.Path] = true
	default:
		s.w.steps = append(s.w.steps, st)
	}
	return true, nil
}

// missing adds steps for what is managed, does not change, and is not there.
func (s *surveyor) missing() {
	if s.w.keepDrift {
		return
	}
	for path, e := range s.w.want.All() {
		if _, ok := s.w.survey.found[path]; ok {
			continue
		}
		if _, ok := s.steps[path]; ok {
			continue
		}
		e = strip(e)
		s.w.steps = append(s.w.steps, step{Change: diff.Change{Path: path, Old: e, New: e}, act: create})
	}
}
