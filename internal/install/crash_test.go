package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// crashed is what a crash point panics with.
type crashed string

// crashing applies a plan to dir and crashes at the nth crash point, which it
// returns; "" if there are fewer. Open counts too.
func crashing(t *testing.T, o Options, n int, generation uint64, f files) (point string) {
	t.Helper()
	seen := 0
	return crashingWhen(t, o, func(string) bool { seen++; return seen == n }, generation, f)
}

// mustCrash crashes at a certain point.
func mustCrash(t *testing.T, o Options, point string, generation uint64, f files) {
	t.Helper()
	if crashingWhen(t, o, func(at string) bool { return at == point }, generation, f) != point {
		t.Fatalf("no crash at %q", point)
	}
}

func crashingWhen(t *testing.T, o Options, when func(point string) bool, generation uint64, f files) (point string) {
	t.Helper()
	p, c := plan(t, generation, f)
	var target *Target
	defer func() {
		switch r := recover().(type) {
		case nil:
		case crashed:
			point = string(r)
		default:
			panic(r)
		}
		if target != nil {
			_ = target.Close()
		}
	}()
	target, err := newTarget(o)
	do(t, err)
	target.crash = func(at string) {
		if when(at) {
			panic(crashed(at))
		}
	}
	do(t, target.load())
	_, err = target.Apply(t.Context(), p, c)
	do(t, err)
	return ""
}

// mustBeEither makes sure that every path is exactly its old or new version.
func mustBeEither(t *testing.T, dir string, before, after files) {
	t.Helper()
	got := look(t, dir)
	for p := range got.with(before).with(after) {
		if got[p] != before[p] && got[p] != after[p] {
			t.Errorf("%q is %q, which is neither %q nor %q", p, got[p], before[p], after[p])
		}
	}
}

var changes = map[string]struct{ before, after files }{
	"files": {
		files{"a": "644 a", "b": "644 b", "c": "644 c", "l": "->a", "same": "644 same"},
		files{"a": "600 a2", "b": "600 b", "d": "644 d", "l": "->b", "same": "644 same"},
	},
	"directories": {
		files{"d": "755/", "d/a": "644 a", "e": "755/", "e/f": "755/", "e/f/a": "644 a", "m": "700/"},
		files{"d": "750/", "d/a": "644 b", "d/n": "755/", "d/n/o": "755/", "d/n/o/x": "644 x", "m": "711/"},
	},
	"kinds": {
		files{"a": "755/", "a/b": "755/", "a/b/c": "644 c", "f": "644 f", "l": "->f", "g": "755/", "g/x": "644 x"},
		files{"a": "644 a", "f": "755/", "f/g": "644 g", "l": "755/", "l/e": "755/", "g": "->a"},
	},
	"many":              {many(1), many(2)},
	"more than a shelf": {shelved(1), shelved(2)},
}

// shelved are more than lie on two shelves; some are of another kind in each version.
func shelved(version int) files {
	f := files{"d": "755/"}
	for i := range 2*shelf + 20 {
		f[fmt.Sprintf("d/%03d", i)] = fmt.Sprintf("644 %d", version)
	}
	for i := range 3 {
		odd, path := (i+version)%2 == 1, fmt.Sprintf("k%d", i)
		if f[path] = "644 k"; odd {
			f[path], f[path+"/x"] = "755/", "644 x"
		}
	}
	return f
}

func many(version int) files {
	f := files{}
	for d := range 9 {
		f[fmt.Sprint(d)] = "755/"
		f[fmt.Sprintf("%d/%d", d, version)] = "644 x"
		f[fmt.Sprintf("%d/f", d)] = fmt.Sprintf("644 %d", version)
	}
	return f
}

// stride is how many crash points are passed over: few of many are enough.
func stride(f files) int { return 1 + len(f)/9 }

// One crash at every crash point in turn, and one more in what follows it.
func TestCrash(t *testing.T) { eachMode(t, testCrash) }

func testCrash(t *testing.T, m Mode) {
	for name, tt := range changes {
		for _, second := range []int{0, 1, 2, 4, 7} {
			t.Run(fmt.Sprintf("%s/second=%d", name, second), func(t *testing.T) {
				for n := 1; ; n += stride(tt.before) {
					o := optionsIn(m, newDir(t))
					first := mustOpen(t, o)
					mustApply(t, first, 1, tt.before)
					do(t, first.Close())
					point := crashing(t, o, n, 2, tt.after)
					if point == "" {
						break
					}
					mustBeEither(t, o.Dir, tt.before, tt.after)
					if second > 0 {
						crashing(t, o, second, 2, tt.after)
						mustBeEither(t, o.Dir, tt.before, tt.after)
					}
					_, pending, err := ReadState(o.Dir)
					do(t, err)
					target := mustOpen(t, o)
					if pending != nil || target.State().Position == position(2) {
						// Rolled forward, without any contents.
						mustLook(t, o.Dir, tt.after)
						mustRest(t, target, 2, tt.after)
					} else {
						mustLook(t, o.Dir, tt.before)
						mustRest(t, target, 1, tt.before)
					}
					if early := []string{"after-stage", "before-next", "before-build", "mid-build", "before-exchange"}; !slices.Contains(early, point) && target.State().Position != position(2) {
						t.Errorf("crashed at %s, and not rolled forward", point)
					}
					mustApply(t, target, 2, tt.after)
					mustLook(t, o.Dir, tt.after)
					mustRest(t, target, 2, tt.after)
					if got := kept(t, o.Dir); len(got) > 0 {
						t.Errorf("crashed at %s, and kept %q", point, got)
					}
					do(t, target.Close())
				}
			})
		}
	}
}

// What a crash leaves in the stage is lost or damaged before the target is opened
// again: the paths in question become suspect, and the next apply writes them.
func TestCrash_andTheStageIsDamaged(t *testing.T) {
	damages := map[string]func(t *testing.T, path string){
		"missing": func(t *testing.T, path string) { do(t, os.RemoveAll(path)) },
		"empty": func(t *testing.T, path string) {
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
				do(t, os.Truncate(path, 0))
			}
		},
		"another": func(t *testing.T, path string) {
			do(t, os.RemoveAll(path))
			do(t, os.Mkdir(path, 0o755))
			do(t, os.WriteFile(filepath.Join(path, "x"), []byte("x"), 0o644))
		},
	}
	for name, tt := range changes {
		for damage, spoil := range damages {
			t.Run(name+"/"+damage, func(t *testing.T) {
				for n := 3; ; n += 1 + stride(tt.before) { // From after-next on.
					o := options(newDir(t))
					first := mustOpen(t, o)
					mustApply(t, first, 1, tt.before)
					do(t, first.Close())
					if point := crashing(t, o, n, 2, tt.after); point == "" {
						break
					}
					stage := filepath.Join(ControlDir(o.Dir), stageName)
					staged, err := os.ReadDir(stage)
					do(t, err)
					for _, e := range staged {
						spoil(t, filepath.Join(stage, e.Name()))
					}
					target := mustOpen(t, o)
					mustBeEither(t, o.Dir, tt.before, tt.after)
					if s, pending, err := ReadState(o.Dir); err != nil || pending != nil || !slices.Equal(s.Suspect, target.State().Suspect) {
						t.Errorf("suspect %q, on the disk %q, pending %v, %v", target.State().Suspect, s.Suspect, pending, err)
					}
					mustApply(t, target, 2, tt.after)
					mustLook(t, o.Dir, tt.after)
					mustRest(t, target, 2, tt.after)
					do(t, target.Close())
				}
			})
		}
	}
}

// A first apply that crashes before its next leaves nothing but .confsyncd.
func TestCrash_atFirstContact(t *testing.T) { eachMode(t, testCrashAtFirstContact) }

func testCrashAtFirstContact(t *testing.T, m Mode) {
	after := files{"a": "644 a", "d": "755/", "d/x": "644 x"}
	for n := 1; ; n++ {
		o := optionsIn(m, newDir(t))
		point := crashing(t, o, n, 1, after)
		if point == "" {
			break
		}
		if slices.Contains([]string{"after-stage", "before-next", "before-build", "mid-build", "before-exchange"}, point) {
			mustLook(t, o.Dir, files{})
			s, _, err := ReadState(o.Dir)
			if err != nil || !s.Position.IsZero() {
				t.Errorf("%s: at %+v, %v", point, s.Position, err)
			}
		}
		target := mustOpen(t, o)
		mustApply(t, target, 1, after)
		mustLook(t, o.Dir, after)
		mustRest(t, target, 1, after)
		do(t, target.Close())
	}
}

// at opens a target in which others do something at a crash point.
func at(t *testing.T, o Options, point string, others func()) *Target {
	t.Helper()
	target := mustOpen(t, o)
	target.crash = func(p string) {
		if p == point {
			point = "" // Once.
			others()
		}
	}
	return target
}

// Others change the target between the plan and the switch.
func TestApply_raced(t *testing.T) {
	before := files{"a": "644 a", "d": "755/", "d/x": "644 x", "gone": "644 gone"}
	after := files{"a": "644 b", "d": "755/", "d/x": "644 y", "n": "644 n"}
	tests := map[string]struct {
		others func(t *testing.T, dir string)
		after  files // if not the usual
		now    files // what is there then, beside or instead of after
		again  files // what is there after the next apply
		kept   files
		err    error
		refuse bool // the next apply
	}{
		"a replaced file is kept": {
			others: func(t *testing.T, dir string) {
				do(t, os.Remove(filepath.Join(dir, "a")))
				files{"a": "600 mine"}.put(t, dir)
			},
			kept: files{"a": "600 mine"},
		},
		"a file edited in place is kept": {
			others: func(t *testing.T, dir string) { do(t, os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0)) },
			kept:   files{"a": "644 mine"},
		},
		"a new file in the place of a new one is kept": {
			others: func(t *testing.T, dir string) { files{"n": "600 mine"}.put(t, dir) },
			kept:   files{"n": "600 mine"},
		},
		"an edited file that goes is kept": {
			others: func(t *testing.T, dir string) { do(t, os.WriteFile(filepath.Join(dir, "gone"), []byte("mine"), 0)) },
			kept:   files{"gone": "644 mine"},
		},
		"a deleted file does not matter": {
			others: func(t *testing.T, dir string) {
				do(t, os.Remove(filepath.Join(dir, "a")))
				do(t, os.Remove(filepath.Join(dir, "gone")))
			},
		},
		"an empty directory makes way": {
			others: func(t *testing.T, dir string) { files{"n": "755/"}.put(t, dir) },
		},
		"a filled directory stays, and refuses the next apply": {
			others: func(t *testing.T, dir string) { files{"n": "755/", "n/mine": "600 mine"}.put(t, dir) },
			now:    files{"n": "755/", "n/mine": "600 mine"}, err: ErrChanged, refuse: true,
		},
		"a directory that vanished is made again by the next apply": {
			others: func(t *testing.T, dir string) { do(t, os.RemoveAll(filepath.Join(dir, "d"))) },
			now:    files{"d": "", "d/x": ""}, err: ErrChanged, again: files{},
		},
		"a parent that became a symlink to outside is not followed": {
			others: func(t *testing.T, dir string) {
				outside := filepath.Join(filepath.Dir(dir), "outside")
				do(t, os.Rename(filepath.Join(dir, "d"), outside))
				do(t, os.Symlink(outside, filepath.Join(dir, "d")))
			},
			now: files{"d": "->OUTSIDE", "d/x": ""}, err: ErrChanged, refuse: true,
		},
		"a file put into a directory that becomes a file is kept": {
			others: func(t *testing.T, dir string) { files{"d/mine": "600 mine"}.put(t, dir) },
			after:  files{"a": "644 b", "d": "644 d"}, now: files{"d": "755/", "d/mine": "600 mine"}, err: ErrChanged, refuse: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(newDir(t))
			first := mustOpen(t, o)
			mustApply(t, first, 1, before)
			do(t, first.Close())
			target := at(t, o, "after-next", func() { tt.others(t, o.Dir) })
			want := after
			if tt.after != nil {
				want = tt.after
			}
			r, err := apply(t, target, 2, want)
			if !errors.Is(err, tt.err) || r.Kept != len(tt.kept) {
				t.Errorf("%+v %v", r, err)
			}
			now := want.with(tt.now)
			for p, spec := range now {
				now[p] = strings.ReplaceAll(spec, "OUTSIDE", filepath.Join(filepath.Dir(o.Dir), "outside"))
				if spec == "" {
					delete(now, p)
				}
			}
			mustLook(t, o.Dir, now)
			if outside := filepath.Join(filepath.Dir(o.Dir), "outside"); strings.Contains(tt.now["d"], "OUTSIDE") {
				mustLook(t, outside, files{"x": "644 x"})
			}
			var conflict *Conflict
			if r, err = apply(t, target, 2, want); errors.As(err, &conflict) != tt.refuse || err != nil && !tt.refuse {
				t.Errorf("the next apply: %+v %v", r, err)
			}
			if tt.refuse {
				mustLook(t, o.Dir, now)
				return
			}
			mustLook(t, o.Dir, want)
			mustRest(t, target, 2, want)
			got := kept(t, o.Dir)
			for p, spec := range got {
				if tt.kept[p] != spec {
					t.Errorf("kept %q: %q", p, spec)
				}
			}
			if len(got) != len(tt.kept) {
				t.Errorf("kept %q, want %q", got, tt.kept)
			}
		})
	}
}

// An error in the middle of the switch leaves the next pending. The apply after it
// completes it first, and then goes on to the newest plan.
func TestApply_afterAnError(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	o := options(newDir(t))
	first := mustOpen(t, o)
	one, two, three := files{"a": "644 1", "d": "755/", "d/x": "644 1"}, files{"a": "644 2", "d": "755/", "d/x": "644 2"}, files{"a": "644 3"}
	mustApply(t, first, 1, one)
	do(t, first.Close())
	d := filepath.Join(o.Dir, "d")
	target := at(t, o, "after-next", func() { do(t, os.Chmod(d, 0)) })
	if _, err := apply(t, target, 2, two); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), d) {
		t.Fatalf("%v", err)
	}
	if _, err := apply(t, target, 3, three); !errors.Is(err, unix.EACCES) {
		t.Fatalf("%v", err)
	}
	if s, pending, err := ReadState(o.Dir); err != nil || pending == nil || s.Position != position(1) {
		t.Errorf("%+v %+v %v", s.Position, pending, err)
	}
	do(t, os.Chmod(d, 0o755))
	mustBeEither(t, o.Dir, one, two)
	mustApply(t, target, 3, three)
	mustLook(t, o.Dir, three)
	mustRest(t, target, 3, three)
}

// An apply that was interrupted is completed without a plan.
func TestRecover_completesWhatAnErrorInterrupted(t *testing.T) {
	o := options(newDir(t))
	target := mustOpen(t, o)
	do(t, target.Recover())
	mustApply(t, target, 1, files{"d": "755/", "d/x": "644 1"})
	do(t, target.Recover())
	// Nothing can be switched in without the stage.
	stage := filepath.Join(ControlDir(o.Dir), stageName)
	target.crash = func(at string) {
		if at == "after-next" {
			do(t, os.Rename(stage, stage+".away"))
			do(t, os.WriteFile(stage, nil, 0o600))
		}
	}
	if _, err := apply(t, target, 2, files{"d": "755/", "d/x": "644 2"}); err == nil {
		t.Fatal("applied without a stage")
	}
	if err := target.Recover(); err == nil {
		t.Error("recovered without a stage")
	}
	do(t, os.Remove(stage))
	do(t, os.Rename(stage+".away", stage))
	do(t, target.Recover())
	mustLook(t, o.Dir, files{"d": "755/", "d/x": "644 2"})
	if at := target.State().Position; at != position(2) {
		t.Errorf("at %+v", at)
	}
}
