package install

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// tryingIn returns the options of a target whose applies are trials that can be undone.
func tryingIn(m Mode, dir string) Options {
	o := optionsIn(m, dir)
	o.Try = Trying{Trial: true, Undo: true}
	return o
}

var refused = Refusal{Version: VersionOf(position(2)), Hook: "reload", Reason: "exit status 1"}

// crashes does something with an open target, again and again, and crashes each time at
// another of the crash points, one in so many. Between is called with the target opened anew
// after the crash.
func crashes(t *testing.T, o func() Options, every int, do func(*Target), between func(point string, target *Target)) {
	t.Helper()
	for n := 1; ; n += every {
		o := o()
		point := func() (point string) {
			var target *Target
			defer func() {
				switch r := recover().(type) {
				case nil:
				case crashed:
					point = string(r)
				default:
					panic(r)
				}
				_ = target.Close()
			}()
			target = mustOpen(t, o)
			seen := 0
			target.crash = func(at string) {
				if seen++; seen == n {
					panic(crashed(at))
				}
			}
			do(target)
			return ""
		}()
		target := mustOpen(t, o)
		between(point, target)
		if err := target.Close(); err != nil {
			t.Fatal(err)
		}
		if point == "" {
			return
		}
	}
}

// Whoever uses the files is told of them whenever they changed, wherever the crash was.
func TestTrial_isThereAfterACrashIfAnythingChanged(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		for _, name := range []string{"files", "kinds"} {
			tt := changes[name]
			t.Run(name, func(t *testing.T) {
				fresh := func() Options {
					o := tryingIn(m, newDir(t))
					first := mustOpen(t, o)
					mustApply(t, first, 1, tt.before)
					do(t, errors.Join(first.Proved(), first.Close()))
					return o
				}
				begun, ended := 0, 0
				crashes(t, fresh, 1, func(target *Target) { mustApply(t, target, 2, tt.after) }, func(point string, target *Target) {
					changed := target.State().Position == position(2)
					if on := target.OnTrial(); changed != (on != nil) {
						t.Errorf("after %q it is at generation %d, and on trial is %+v", point, target.State().Position.Generation, on)
					}
					if changed {
						begun++
					} else {
						ended++
					}
					mustApply(t, target, 2, tt.after)
					if on := target.OnTrial(); on == nil || !on.From.Is(position(1)) {
						t.Errorf("after %q on trial is %+v", point, on)
					}
					do(t, target.Proved())
					if target.OnTrial() != nil {
						t.Error("it is on trial still")
					}
				})
				t.Logf("%d crashes before the journal knew, %d after", ended, begun)
				if begun < 2 || ended < 2 {
					t.Error("the crashes are not where they should be")
				}
			})
		}
	})
}

func TestRevert_putsBackWithoutEtcdWhateverCrashes(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		for name, tt := range changes {
			t.Run(name, func(t *testing.T) {
				fresh := func() Options {
					o := tryingIn(m, newDir(t))
					first := mustOpen(t, o)
					mustApply(t, first, 1, tt.before)
					do(t, first.Proved())
					mustApply(t, first, 2, tt.after)
					do(t, errors.Join(first.Refuse(refused, true, true), first.Close()))
					return o
				}
				revert := func(target *Target) {
					_, err := target.Revert(context.Background(), noContents{})
					do(t, err)
				}
				crashes(t, fresh, 4*stride(tt.before)-1, revert, func(point string, target *Target) {
					mustBeEither(t, target.o.Dir, tt.before, tt.after)
					revert(target)
					if !target.Reverted() || !target.Content().Is(position(1)) || target.State().Position != position(2) {
						t.Errorf("after %q its content is of %+v, its position %+v", point, target.Content(), target.State().Position)
					}
					mustLook(t, target.o.Dir, tt.before)
					do(t, target.EndTrial())
					if found, err := target.Drift(t.Context(), Where{}, true); err != nil || len(found) > 0 {
						t.Errorf("drifted is %v, %v", found, err)
					}
					mustApply(t, target, 3, tt.after)
					mustLook(t, target.o.Dir, tt.after)
					if on := target.OnTrial(); on == nil || !on.From.Is(position(1)) || !target.Content().Is(position(3)) {
						t.Errorf("on trial is %+v, the content is of %+v", on, target.Content())
					}
				})
			})
		}
	})
}

// What came while a trial was in hand goes back with it.
func TestRevert_ofSeveralGenerations(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		target := mustOpen(t, tryingIn(m, newDir(t)))
		before := files{"a": "644 a1", "b": "644 b1", "d": "755/", "d/x": "644 x1"}
		mustApply(t, target, 1, before)
		do(t, target.Proved())
		mustApply(t, target, 2, files{"a": "644 a2", "b": "644 b1", "c": "644 c2"})
		mustApply(t, target, 3, files{"a": "644 a3", "b": "600 b3"})
		if got := target.OnTrial().Paths(); !slices.Equal(got, []string{"a", "b", "c", "d", "d/x"}) {
			t.Errorf("changed are %q", got)
		}
		do(t, target.Refuse(refused, true, true))
		_, err := target.Revert(t.Context(), noContents{})
		do(t, err)
		mustLook(t, target.o.Dir, before)
	})
}

// A generation that only has others' files managed, or gives some up, ends no trial.
func TestTrial_goesOnWithAGenerationThatChangesNoFile(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(t *testing.T, dir string)
		next      files
	}{
		"a file is there already": {func(t *testing.T, dir string) {
			do(t, os.WriteFile(filepath.Join(dir, "b"), []byte("b3"), 0o600))
			do(t, os.Chmod(filepath.Join(dir, "b"), 0o644))
		}, files{"a": "644 a2", "b": "644 b3", "c": "644 c1"}},
		"a file is gone already": {func(t *testing.T, dir string) { do(t, os.Remove(filepath.Join(dir, "c"))) }, files{"a": "644 a2"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := tryingIn(Files, newDir(t))
			target := mustOpen(t, o)
			mustApply(t, target, 1, files{"a": "644 a1", "c": "644 c1"})
			do(t, target.Proved())
			mustApply(t, target, 2, files{"a": "644 a2", "c": "644 c1"})
			tt.meanwhile(t, o.Dir)
			mustApply(t, target, 3, tt.next)
			do(t, target.Close())
			target = mustOpen(t, o)
			if on := target.OnTrial(); on == nil || !slices.Contains(on.Paths(), "a") || !on.From.Is(position(1)) {
				t.Errorf("on trial is %+v", on)
			}
			do(t, target.Refuse(refused, true, true))
			_, err := target.Revert(t.Context(), noContents{})
			do(t, err)
			if b, err := os.ReadFile(filepath.Join(o.Dir, "a")); err != nil || string(b) != "a1" {
				t.Errorf("a was taken back to %q, %v", b, err)
			}
		})
	}
}

// Of a newer one check may have refused meanwhile.
func TestRefuse_leavesWhatWasRefusedOfANewerGeneration(t *testing.T) {
	target := mustOpen(t, tryingIn(Files, newDir(t)))
	mustApply(t, target, 1, files{"a": "644 a1"})
	do(t, target.Proved())
	mustApply(t, target, 2, files{"a": "644 a2"})
	do(t, target.Refuse(Refusal{Version: VersionOf(position(3)), Hook: "check"}, false, false))
	do(t, target.Refuse(refused, true, true))
	_, err := target.Revert(t.Context(), noContents{})
	do(t, errors.Join(err, target.EndTrial()))
	if r := target.Proof().Refused; r == nil || r.Generation != 3 {
		t.Errorf("refused is %+v", r)
	}
}

// A later generation may have the very files that were put back.
func TestRevert_isOverWithTheNextGeneration(t *testing.T) {
	target := mustOpen(t, tryingIn(Files, newDir(t)))
	before := files{"a": "644 a1"}
	mustApply(t, target, 1, before)
	do(t, target.Proved())
	mustApply(t, target, 2, files{"a": "644 a2"})
	do(t, target.Refuse(refused, true, true))
	_, err := target.Revert(t.Context(), noContents{})
	do(t, errors.Join(err, target.EndTrial()))
	if !target.Content().Is(position(1)) {
		t.Errorf("after the revert the content is of %+v", target.Content())
	}
	mustApply(t, target, 3, before)
	if !target.Content().Is(position(3)) {
		t.Errorf("the content is of %+v", target.Content())
	}
}

// What was adopted, or stood where nothing was managed, is none of ours to delete.
func TestRevert_leavesWhatWasThereBefore(t *testing.T) {
	o := tryingIn(Files, newDir(t))
	o.ReplaceExisting = true
	target := mustOpen(t, o)
	mustApply(t, target, 1, files{"a": "644 a1"})
	do(t, target.Proved())
	do(t, os.WriteFile(filepath.Join(o.Dir, "adopted"), []byte("same"), 0o644))
	do(t, os.WriteFile(filepath.Join(o.Dir, "replaced"), []byte("mine"), 0o644))
	after := files{"a": "644 a2", "adopted": "644 same", "replaced": "644 ours"}
	mustApply(t, target, 2, after)
	do(t, target.Refuse(refused, true, true))
	_, err := target.Revert(t.Context(), noContents{})
	do(t, err)
	after["a"] = "644 a1"
	mustLook(t, o.Dir, after)
}

func TestTrial_hasNoWayBackFromFirstContact(t *testing.T) {
	target := mustOpen(t, tryingIn(Files, newDir(t)))
	mustApply(t, target, 1, files{"a": "644 a1"})
	if on := target.OnTrial(); on == nil || !on.Final || len(on.Undo) > 0 {
		t.Errorf("on trial is %+v", on)
	}
}

func TestCheck_seesACopyOfAll(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		for name, tt := range changes {
			t.Run(name, func(t *testing.T) {
				o := optionsIn(m, newDir(t))
				target := mustOpen(t, o)
				mustApply(t, target, 1, tt.before)
				unmanaged := files{}
				if m == Files {
					unmanaged = files{"unmanaged": "755/", "unmanaged/x": "644 x", "unmanaged/l": "->x"}
					do(t, os.Mkdir(filepath.Join(o.Dir, "unmanaged"), 0o755))
					do(t, os.WriteFile(filepath.Join(o.Dir, "unmanaged/x"), []byte("x"), 0o644))
					do(t, os.Symlink("x", filepath.Join(o.Dir, "unmanaged/l")))
				}
				calls, verdict := 0, errors.New("refused")
				target.o.Try.Check = func(_ context.Context, candidate string, to diff.Position, from Version, changed []string) error {
					calls++
					want := tt.after.with(unmanaged)
					for path, spec := range want { // Directories can be written.
						if mode, ok := strings.CutSuffix(spec, "/"); ok {
							want[path] = strings.Replace(mode, mode[:1], "7", 1) + "/"
						}
					}
					if got := look(t, candidate); !maps.Equal(got, want) {
						t.Errorf("the candidate is\n%v\nwant\n%v", got, want)
					}
					if to != position(2) || !from.Is(position(1)) || len(changed) == 0 {
						t.Errorf("from %v to %v, changed are %q", from, to, changed)
					}
					for path := range look(t, candidate) { // It is the check's own.
						do(t, os.RemoveAll(filepath.Join(candidate, path)))
					}
					return verdict
				}
				if _, err := apply(t, target, 2, tt.after); !errors.Is(err, verdict) {
					t.Errorf("the error is %v", err)
				}
				mustLook(t, o.Dir, tt.before.with(unmanaged))
				verdict = nil
				mustApply(t, target, 2, tt.after)
				mustLook(t, o.Dir, tt.after.with(unmanaged))
				mustApply(t, target, 3, tt.after)
				if calls != 2 {
					t.Errorf("it was checked %d times", calls)
				}
				if _, err := os.Stat(filepath.Join(target.Scratch(), candidateName)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the candidate: %v", err)
				}
			})
		}
	})
}

func TestProof_thatIsDamagedPutsAllOnTrial(t *testing.T) {
	o := tryingIn(Files, newDir(t))
	target := mustOpen(t, o)
	mustApply(t, target, 1, files{"a": "644 a1"})
	do(t, errors.Join(target.Proved(), target.Close()))
	do(t, os.WriteFile(filepath.Join(o.Dir, ".confsyncd", proofName), []byte("{"), 0o644))
	target = mustOpen(t, o)
	if on := target.OnTrial(); on == nil || !on.Final || len(on.Changed) > 0 {
		t.Errorf("on trial is %+v", on)
	}
	do(t, target.Proved())
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"trial":{"from":{"generation":1},"changed":["YQ=="],"undo":[{"path":"YQ==","kind":1,"mode":420,"size":1,"hash":"` + strings.Repeat("ab", 32) + `"}],"digests":["x"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeProof(b)
		if err != nil {
			return
		}
		if p.Trial != nil {
			_, _ = p.Trial.undone(diff.Tree{}) // Whatever it says, it does not panic.
		}
		written, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeProof(written)
		if twice, _ := json.Marshal(again); err != nil || string(twice) != string(written) {
			t.Errorf("%s is read as %s: %v", written, twice, err)
		}
	})
}
