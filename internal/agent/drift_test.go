//go:build !lean

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/report"
)

// vandal is what another local user does to a target, in which a, d/b, d/e/c and the
// symlink l are managed.
type vandal struct {
	do func(v *visit)
	// drifts are the paths that do not stay as they were published.
	drifts []string
	root   bool // only root can do it
	// outside is what the file beside the target holds afterwards.
	outside string
}

// visit is one doing of it.
type visit struct {
	*testing.T
	dir, outside string
}

func (v *visit) at(path string) string { return filepath.Join(v.dir, path) }

func (v *visit) must(err error) {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
}

func (v *visit) write(path, content string) {
	v.Helper()
	v.must(os.WriteFile(path, []byte(content), 0o644))
}

// remove removes all that is there, again if something comes meanwhile.
func (v *visit) remove(path string) {
	v.Helper()
	eventually(v.T, "removed", func() bool { return os.RemoveAll(v.at(path)) == nil })
}

// instead puts something else at a path, again if the agent is quicker.
func (v *visit) instead(path string, put func(at string) error) {
	v.Helper()
	eventually(v.T, "put there", func() bool { return os.RemoveAll(v.at(path)) == nil && put(v.at(path)) == nil })
}

// writeMine writes a file where nothing is.
func writeMine(at string) error {
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString("mine")
	return errors.Join(err, f.Close())
}

func vandals() map[string]vandal {
	return map[string]vandal{
		"edits in place": {do: func(v *visit) { v.write(v.at("a"), "mine") }, drifts: []string{"a"}},
		"edits by a rename": {do: func(v *visit) {
			v.write(v.at("d/b.new"), "mine")
			v.must(os.Rename(v.at("d/b.new"), v.at("d/b")))
		}, drifts: []string{"d/b"}},
		"edits many times in a row": {do: func(v *visit) {
			for i := range 10 {
				v.write(v.at("a"), fmt.Sprint(i))
				time.Sleep(10 * time.Millisecond)
			}
		}, drifts: []string{"a"}},
		"restores the size and the mtime": {do: func(v *visit) {
			info, err := os.Stat(v.at("d/e/c"))
			v.must(err)
			v.write(v.at("d/e/c"), "peed")
			v.must(os.Chtimes(v.at("d/e/c"), info.ModTime(), info.ModTime()))
		}, drifts: []string{"d/e/c"}},
		"deletes":          {do: func(v *visit) { v.must(os.Remove(v.at("d/e/c"))) }, drifts: []string{"d/e/c"}},
		"deletes a link":   {do: func(v *visit) { v.must(os.Remove(v.at("l"))) }, drifts: []string{"l"}},
		"sets a mode":      {do: func(v *visit) { v.must(os.Chmod(v.at("a"), 0o666)) }, drifts: []string{"a"}},
		"sets a directory": {do: func(v *visit) { v.must(os.Chmod(v.at("d/e"), 0o777)) }, drifts: []string{"d/e"}},
		"gives away": {do: func(v *visit) {
			v.must(os.Chown(v.at("a"), 12345, 12345))
			v.must(os.Chown(v.at("d"), 12345, 12345))
		}, drifts: []string{"a", "d"}, root: true},
		"makes a file a directory": {do: func(v *visit) {
			v.instead("a", func(at string) error { return os.Mkdir(at, 0o755) })
		}, drifts: []string{"a"}},
		"makes a file a symlink out of the tree": {do: func(v *visit) {
			v.instead("a", func(at string) error { return os.Symlink(v.outside, at) })
		}, drifts: []string{"a"}, outside: "outside"},
		"makes a symlink a file":   {do: func(v *visit) { v.instead("l", writeMine) }, drifts: []string{"l"}},
		"makes a directory a file": {do: func(v *visit) { v.instead("d", writeMine) }, drifts: []string{"d", "d/b", "d/e", "d/e/c"}},
		"makes a directory a symlink": {do: func(v *visit) {
			moved := v.dir + ".moved"
			eventually(v.T, "moved", func() bool {
				return os.RemoveAll(moved) == nil && os.Rename(v.at("d"), moved) == nil && os.Symlink(moved, v.at("d")) == nil
			})
		}, drifts: []string{"d", "d/b", "d/e", "d/e/c"}},
		"writes through a hard link from outside": {do: func(v *visit) {
			v.must(os.Remove(v.outside))
			v.must(os.Link(v.at("a"), v.outside))
			v.write(v.outside, "through")
			v.must(os.Chmod(v.at("a"), 0o600)) // What a watch does not see, this shows it.
		}, drifts: []string{"a"}, outside: "through"},
		"empties a directory": {do: func(v *visit) {
			v.remove("d/e")
			v.must(os.Remove(v.at("d/b")))
		}, drifts: []string{"d/b", "d/e", "d/e/c"}},
		"deletes a directory": {do: func(v *visit) { v.remove("d") }, drifts: []string{"d", "d/b", "d/e", "d/e/c"}},
		"deletes everything but .confsyncd": {do: func(v *visit) {
			for _, path := range []string{"a", "d", "l"} {
				v.remove(path)
			}
		}, drifts: []string{"a", "d", "d/b", "d/e", "d/e/c", "l"}},
	}
}

// modes are the kinds of targets that drift is put right in.
func modes() map[string]func(*agent.Options) {
	return map[string]func(*agent.Options){
		"files": func(*agent.Options) {},
		"tree":  func(o *agent.Options) { o.Mode = install.Tree },
	}
}

// disk returns mode, owner and content of everything in a directory.
func disk(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		if d.Name() == diff.OwnName {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return err
		}
		what := fmt.Sprintf("%o %d:%d ", st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			what += string(b)
		case unix.S_IFLNK:
			to, err := os.Readlink(full)
			if err != nil {
				return err
			}
			what += to
		}
		found[strings.TrimPrefix(full, dir+"/")] = what
		return nil
	})
	if err != nil {
		t.Log(err) // It changes while it is walked.
		return nil
	}
	return found
}

// inhabited is a place with files published, and the agent in sync with them.
func inhabited(t *testing.T, prepare func(*agent.Options), hasten func(*agent.Agent)) (*place, *visit) {
	t.Helper()
	p := newPlace(t)
	p.target.UID, p.target.GID = os.Geteuid(), os.Getegid()
	if prepare != nil {
		prepare(&p.target)
	}
	v := &visit{T: t, dir: p.target.Dir, outside: filepath.Join(t.TempDir(), "outside")}
	v.write(v.outside, "outside")
	v.must(os.MkdirAll(filepath.Join(p.source.Dir, "d/e"), 0o755))
	p.write(p.source.Dir, "a", "one")
	p.write(p.source.Dir, "d/b", "two")
	p.write(p.source.Dir, "d/e/c", "deep")
	v.must(os.Symlink("a", filepath.Join(p.source.Dir, "l")))
	p.push()
	p.runAs(hasten)
	p.await("in_sync")
	if p.target.Mode != install.Tree {
		v.write(v.at("d/mine"), "mine") // What is not managed stays what it is.
	}
	return p, v
}

// runAs runs the agent until the test ends.
func (p *place) runAs(hasten func(*agent.Agent)) *agent.Agent {
	ctx, cancel := context.WithCancel(p.Context())
	done := make(chan error, 1)
	a := agent.New(p.target)
	if hasten != nil {
		hasten(a)
	}
	go func() { done <- a.Run(ctx) }()
	p.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			p.Error(err)
		}
	})
	return a
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// report returns what the agent says.
func (p *place) report() report.Report {
	p.Helper()
	r, err := report.Read(p.target.StateDir)
	if err != nil || len(r) != 1 {
		p.Fatalf("reports %+v %v", r, err)
	}
	return r[0]
}

// published reports whether all that is managed is as it was published.
func sameManaged(got, want map[string]string) bool {
	for path, is := range want {
		if got[path] != is {
			return false
		}
	}
	return true
}

func TestDriftIsRepaired(t *testing.T) {
	for mode, prepare := range modes() {
		for _, name := range slices.Sorted(maps.Keys(vandals())) {
			vandal := vandals()[name]
			t.Run(mode+"/somebody "+name, func(t *testing.T) {
				if vandal.root && os.Geteuid() != 0 {
					t.Skip("only root may give files away")
				}
				t.Parallel()
				p, v := inhabited(t, prepare, nil)
				before := disk(t, p.target.Dir)
				delete(before, "d/mine") // Some take it along.
				// What the agent does at its start is over: the watch has to tell.
				time.Sleep(2 * quiet)
				vandal.do(v)
				edited := time.Now()
				eventually(t, "repaired", func() bool { return sameManaged(disk(t, p.target.Dir), before) })
				took := time.Since(edited)
				t.Logf("edit to repaired: %v", took.Round(time.Millisecond))
				if took > 30*time.Second {
					t.Error("too late: that is no work of the watch, but of the clock")
				}
				eventually(t, "said", func() bool { r := p.report(); return r.State == "in_sync" && r.DriftTotal == 0 })
				if b, err := os.ReadFile(v.outside); vandal.outside != "" && (err != nil || string(b) != vandal.outside) {
					t.Errorf("the file outside holds %q (%v)", b, err)
				}
				if found, _, err := install.Verify(t.Context(), p.target.Dir, nil); err != nil || len(found) > 0 {
					t.Errorf("verified: %v %v", found, err)
				}
			})
		}
	}
}

// quiet is what the agent waits for. It is longer than what keeps a vandal, on a busy
// machine, from doing all that it is to do before the agent puts it right.
const quiet = 200 * time.Millisecond

// hasty makes an agent wait less long before it repairs a path again.
func hasty(a *agent.Agent) { a.RepairAgain(100 * time.Millisecond) }

func TestDriftIsReported(t *testing.T) {
	for mode, prepare := range modes() {
		for _, name := range slices.Sorted(maps.Keys(vandals())) {
			vandal := vandals()[name]
			t.Run(mode+"/somebody "+name, func(t *testing.T) {
				if vandal.root && os.Geteuid() != 0 {
					t.Skip("only root may give files away")
				}
				t.Parallel()
				p, v := inhabited(t, func(o *agent.Options) { prepare(o); o.ReportDrift = true }, nil)
				// What the agent does at its start is over: the watch has to tell.
				time.Sleep(2 * quiet)
				vandal.do(v)
				r := p.await("drifted")
				eventually(t, "all said", func() bool { r = p.report(); return r.DriftTotal == len(vandal.drifts) })
				for i, path := range vandal.drifts {
					if !strings.HasPrefix(r.Drift[i], fmt.Sprintf("%q: ", path)) {
						t.Errorf("reported %q, want %q", r.Drift[i], path)
					}
				}
				left := disk(t, p.target.Dir)
				p.write(p.source.Dir, "new", "new")
				p.push()
				eventually(t, "the new file is there", func() bool { _, err := os.Stat(v.at("new")); return err == nil })
				if got := disk(t, p.target.Dir); !sameManaged(got, left) {
					t.Errorf("it did not stay: %q, was %q", got, left)
				}
				// A generation that changes everything.
				for _, path := range []string{"a", "d/b", "d/e/c"} {
					p.write(p.source.Dir, path, "changed")
				}
				v.must(os.Remove(filepath.Join(p.source.Dir, "l")))
				v.must(os.Symlink("new", filepath.Join(p.source.Dir, "l")))
				v.must(os.Chmod(filepath.Join(p.source.Dir, "d"), 0o750))
				v.must(os.Chmod(filepath.Join(p.source.Dir, "d/e"), 0o750))
				p.push()
				eventually(t, "nothing drifts", func() bool { r := p.report(); return r.State == "in_sync" && r.DriftTotal == 0 })
				if found, _, err := install.Verify(t.Context(), p.target.Dir, nil); err != nil || len(found) > 0 {
					t.Errorf("verified: %v %v", found, err)
				}
			})
		}
	}
}

func TestDriftOfAFileThatIsOpenForWritingWaits(t *testing.T) {
	t.Parallel()
	p, v := inhabited(t, nil, nil)
	f, err := os.OpenFile(v.at("a"), os.O_WRONLY|os.O_TRUNC, 0)
	v.must(err)
	_, err = f.WriteString("half")
	v.must(err)
	r := p.await("drifted")
	if !strings.Contains(r.Drift[0], "open for writing") {
		t.Errorf("reported %q", r.Drift)
	}
	_, err = f.WriteString(" and half")
	v.must(err)
	if b, err := os.ReadFile(v.at("a")); err != nil || string(b) != "half and half" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	v.must(f.Close())
	p.await("in_sync")
	if b, err := os.ReadFile(v.at("a")); err != nil || string(b) != "one" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

// Without a watch, the clock finds what happened; without a trace in the stat cache, the
// deep look does.
func TestDriftIsFoundByTheClock(t *testing.T) {
	for name, tt := range map[string]struct {
		hasten func(*agent.Agent)
		do     func(p *place, v *visit, a *agent.Agent)
	}{
		"by the stat cache": {
			func(a *agent.Agent) { a.Hasten(100*time.Millisecond, time.Hour, true) },
			func(_ *place, v *visit, _ *agent.Agent) { v.write(v.at("d/e/c"), "peed") },
		},
		"by the content": {
			func(a *agent.Agent) { a.Hasten(time.Hour, 100*time.Millisecond, true) },
			func(_ *place, v *visit, _ *agent.Agent) { v.write(v.at("d/e/c"), "peed") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, v := inhabited(t, nil, tt.hasten)
			before := disk(t, p.target.Dir)
			tt.do(p, v, nil)
			eventually(t, "repaired", func() bool { return sameManaged(disk(t, p.target.Dir), before) })
		})
	}
	t.Run("when it is asked for", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.write(p.source.Dir, "a", "one")
		p.push()
		a := p.runAs(func(a *agent.Agent) { a.Hasten(time.Hour, time.Hour, true) })
		p.await("in_sync")
		p.write(p.target.Dir, "a", "eno")
		a.Verify()
		eventually(t, "repaired", func() bool {
			b, err := os.ReadFile(filepath.Join(p.target.Dir, "a"))
			return err == nil && string(b) == "one"
		})
	})
}

// A tool that writes a file again and again is met with patience, and named.
func TestDriftThatComesBack(t *testing.T) {
	t.Parallel()
	p, v := inhabited(t, nil, hasty)
	stop := make(chan struct{})
	ended := make(chan struct{})
	repairs := 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			if b, err := os.ReadFile(v.at("a")); err == nil && string(b) == "one" {
				repairs++
				_ = os.WriteFile(v.at("a"), []byte("theirs"), 0o644)
			}
		}
	}()
	begin := time.Now()
	eventually(t, "alarm", func() bool {
		r := p.report()
		return r.State == "drifted" && strings.Contains(r.Reason, "again and again") && strings.Contains(strings.Join(r.Drift, ";"), "another tool")
	})
	t.Logf("alarm after %v", time.Since(begin).Round(time.Millisecond))
	close(stop)
	<-ended
	// The one after the alarm's is due 1.6 s later.
	if took := time.Since(begin); repairs > 6+int(took/time.Second) {
		t.Errorf("%d repairs within %v", repairs, took)
	}
	// Others are repaired at once, meanwhile.
	v.must(os.Remove(v.at("d/b")))
	eventually(t, "repaired", func() bool { _, err := os.Stat(v.at("d/b")); return err == nil })
}

// A directory that a later generation brings, or takes over, is watched as well, and one
// that nobody manages never.
func TestDriftInWhatCameLater(t *testing.T) {
	t.Parallel()
	p, v := inhabited(t, nil, func(a *agent.Agent) { a.Hasten(time.Hour, time.Hour, false) })
	v.must(os.Mkdir(v.at("taken"), 0o755)) // It is there, and not managed yet.
	for _, dir := range []string{"taken", "new", "new/deep"} {
		v.must(os.Mkdir(filepath.Join(p.source.Dir, dir), 0o755))
		p.write(p.source.Dir, dir+"/f", "published")
	}
	p.push()
	eventually(t, "applied", func() bool { _, err := os.Stat(v.at("taken/f")); return err == nil })
	time.Sleep(3 * quiet)
	for _, dir := range []string{"taken", "new", "new/deep"} {
		v.write(v.at(dir+"/f"), "mine")
		edited := time.Now()
		eventually(t, "repaired", func() bool {
			b, err := os.ReadFile(v.at(dir + "/f"))
			return err == nil && string(b) == "published"
		})
		t.Logf("edit to repaired: %v", time.Since(edited).Round(time.Millisecond))
	}
}

// What was seen last in etcd may have been compacted since.
func TestDriftIsRepairedAfterACompaction(t *testing.T) {
	t.Parallel()
	p, v := inhabited(t, nil, nil)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.endpoint}})
	v.must(err)
	defer c.Close()
	put, err := c.Put(t.Context(), "/elsewhere", "x")
	v.must(err)
	_, err = c.Compact(t.Context(), put.Header.Revision, clientv3.WithCompactPhysical())
	v.must(err)
	v.write(v.at("a"), "mine")
	eventually(t, "repaired", func() bool { b, err := os.ReadFile(v.at("a")); return err == nil && string(b) == "one" })
}
