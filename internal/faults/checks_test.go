//go:build faults

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// rest checks all that must hold once everything is equal again and nothing is going on.
func (w *World) rest() {
	w.Helper()
	w.stopReading()
	w.Honest()
	w.acknowledged()
	w.tidy()
	w.mute()
	w.leaks()
}

// stopReading ends the reader, and asks it what it saw.
func (w *World) stopReading() {
	w.Helper()
	if w.stopRead == nil {
		return
	}
	w.stopRead()
	if err := <-w.read; errors.Is(err, lab.ErrFell) {
		w.wrong("b", "%v", err)
	} else if err != nil {
		w.wrong("a", "%v", err)
	}
	if err := <-w.honest; err != nil {
		w.wrong("b", "%v", err)
	}
	w.stopRead = nil
	if err := w.reader.Once(); err != nil {
		w.wrong("a", "%v", err)
	}
	w.result.checked("a", true)
	w.result.count("files read", int(w.reader.Reads.Load()))
}

// Honest compares the journal with the disk: a case calls it besides while an agent lies
// dead.
func (w *World) Honest() {
	w.Helper()
	if w.isStrange() {
		return
	}
	if err := w.honestly(); err != nil {
		w.wrong("b", "%v", err)
		return
	}
	w.result.checked("b", true)
}

func (w *World) honestly() error {
	w.looking.Lock()
	defer w.looking.Unlock()
	if w.strange {
		return nil
	}
	return w.reader.Honest()
}

// acknowledged looks for every commit that the publisher logged in etcd's history.
func (w *World) acknowledged() {
	w.Helper()
	if w.Rewound {
		return
	}
	r := w.Source.Command(w.T, "log", "--tenant", tenant, "-n", "0", "-o", "json")
	if r.Code != 0 {
		w.wrong("c", "log: %v", r)
		return
	}
	commits := make(map[uint64]string)
	for line := range strings.Lines(r.Out) {
		var c struct {
			Generation uint64
			Commit     string
		}
		w.do(json.Unmarshal([]byte(line), &c))
		commits[c.Generation] = c.Commit
	}
	for _, h := range append(w.standbys, w.Source) {
		w.loggedIn(h, commits)
	}
	w.result.checked("c", true)
}

// loggedIn compares what a publisher logged as committed with what etcd has.
func (w *World) loggedIn(h *lab.Host, commits map[uint64]string) {
	w.Helper()
	logged, err := os.ReadFile(h.Log)
	w.do(err)
	for line := range strings.Lines(string(logged)) {
		var c struct {
			Message    string `json:"@message"`
			Generation uint64
			Commit     string
		}
		if json.Unmarshal([]byte(line), &c) != nil || c.Message != "committed" {
			continue
		}
		if got := commits[c.Generation]; got != c.Commit && (got != "" || !w.Swept) {
			w.wrong("c", "generation %d was logged as committed (%s), etcd has %q there", c.Generation, c.Commit, got)
		}
	}
}

// tidy looks for what was left over, and for what was touched outside.
func (w *World) tidy() {
	w.Helper()
	if now := w.bystanders(); !maps.Equal(now, w.bystander) {
		w.wrong("d", "a bystander was touched: %v, was %v", now, w.bystander)
	}
	_, err := lab.Eventually(15*time.Second, func() error {
		return errors.Join(w.leftovers(), w.strays())
	})
	if err != nil {
		w.wrong("d", "%v", err)
		return
	}
	w.result.checked("d", true)
}

// leftovers tells what an agent at rest should not have in its own directory. Kept files
// are what a case that lets others change the target expects.
func (w *World) leftovers() error {
	if w.isStrange() {
		return nil
	}
	return lab.Leftovers(w.Target.Dir)
}

// strays tells what lies beside source and target that was not there before.
func (w *World) strays() error {
	var errs []error
	known := map[string]bool{"dir": true, "dir.outside": true, "state": true, "log": true, "bystander": true, ".dir.confsyncd": w.Mode == "tree"}
	for _, h := range []*lab.Host{w.Source, w.Target} {
		entries, err := os.ReadDir(filepath.Dir(h.Dir))
		errs = append(errs, err)
		for _, e := range entries {
			if !known[e.Name()] && !strings.HasPrefix(e.Name(), "lab-") {
				errs = append(errs, errors.New("left over beside "+h.Dir+": "+e.Name()))
			}
		}
	}
	return errors.Join(errs...)
}

// mute looks for contents in all that the program logged.
func (w *World) mute() {
	w.Helper()
	err := filepath.WalkDir(w.Lab.Dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // An old tree is being removed.
		}
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "log") || filepath.Dir(name) == w.Source.Dir || filepath.Dir(name) == w.Target.Dir {
			return err
		}
		b, err := os.ReadFile(name)
		if at := bytes.Index(b, []byte(lab.Secret)); err == nil && at >= 0 {
			w.wrong("f", "%s holds contents: …%.200s", name, b[max(0, at-100):])
		}
		return err
	})
	w.do(err)
	w.result.checked("f", true)
}
