//go:build faults

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// powerCases cut the power of file systems.
func powerCases() []Case {
	var all []Case
	for _, fs := range []struct{ name, kind, options, program string }{
		{"ext4", "ext4", "", "mkfs.ext4:e2fsprogs"},
		{"ext4 without da_alloc", "ext4", "noauto_da_alloc", "mkfs.ext4:e2fsprogs"},
		{"XFS", "xfs", "", "mkfs.xfs:xfsprogs"},
	} {
		for i, lost := range []string{"data lost", "data and journal lost"} {
			flag := i + 1 // As Disk.Cut has it.
			how := "file system shut down by ioctl 0x8004587d with flag " + fmt.Sprint(flag) + ", then unmounted and mounted again; files are edited all the while; "
			needs := Needs{Root: true, Programs: []string{fs.program}}
			all = append(all, Case{
				Name:  fmt.Sprintf("target on %s, %s", fs.name, lost),
				How:   how + "a third of the cuts at any call of the agent on the target (ptrace), a third between the first rename and the last sync of an apply, a third at random moments",
				Needs: needs,
				Setup: Setup{Empty: true, Publish: []string{"--max-delete", "100%"}},
				Try:   func(w *World) { w.cutTarget(fs.kind, fs.options, flag) },
			}, Case{
				Name:  fmt.Sprintf("publisher's memory on %s, %s", fs.name, lost),
				How:   how + "every other cut at a random call of the publisher on its memory (ptrace), the others at random moments; what was logged as committed is remembered",
				Modes: []string{"files"},
				Needs: needs,
				Setup: Setup{Empty: true, Publish: []string{"--max-delete", "100%"}},
				Try:   func(w *World) { w.cutSource(fs.kind, fs.options, flag) },
			})
		}
	}
	return all
}

// cuts is how often the power is cut in each case.
const cuts = 24

func (w *World) cutTarget(kind, options string, flag int) {
	w.Helper()
	disk := lab.NewDisk(w.T, filepath.Join(w.Lab.Dir, "disk"), kind, options)
	w.Target.Dir = filepath.Join(disk.Dir, "host", "dir")
	w.do(os.MkdirAll(w.Target.Dir, 0o755))
	w.reader.Dir = w.Target.Dir
	w.surround(w.Target)
	w.do(disk.Sync())
	w.Publish()
	interrupted := 0
	for i := range cuts {
		tr, calls := w.targetCalls(), 150
		switch i % 3 {
		case 1:
			tr, calls = w.switchCalls(), 12
		case 2:
			calls = 0
		}
		w.do(w.Target.StartTraced(tr, "agent", w.AgentFlags()...))
		w.cut(disk, flag, w.Target, tr, calls, `"applied"`)
		_, pending, err := install.ReadState(w.Target.Dir)
		if errors.Is(err, journal.ErrNone) && w.logged(w.Target, "applied") == 0 {
			continue
		}
		w.do(err)
		if pending != nil {
			interrupted++
		}
		got, err := lab.JournalGeneration(w.Target.Dir)
		w.do(err)
		if logged := w.logged(w.Target, "applied"); got < logged {
			w.wrong("b", "after cut %d the journal is at generation %d, and %d was logged as applied", i, got, logged)
		}
		w.Honest()
		if err := w.reader.Once(); err != nil {
			w.wrong("a", "after cut %d: %v", i, err)
		}
	}
	w.Note("%d of %d cuts left an apply to be completed", interrupted, cuts)
	w.Agent()
	w.Healed()
}

func (w *World) cutSource(kind, options string, flag int) {
	w.Helper()
	disk := lab.NewDisk(w.T, filepath.Join(w.Lab.Dir, "disk"), kind, options)
	w.Source.State = filepath.Join(disk.Dir, "state")
	w.do(os.Mkdir(w.Source.State, 0o755))
	w.do(disk.Sync())
	w.Agent()
	for i := range cuts {
		tr := w.sourceCalls()[0]
		w.do(w.Source.StartTraced(tr, "publish", w.PublishFlags()...))
		w.cut(disk, flag, w.Source, tr, i%2*40, `"committed"`)
		if logged, got := w.logged(w.Source, "committed"), w.remembered(); got < logged {
			w.wrong("c", "after cut %d generation %d is remembered, and %d was logged as committed", i, got, logged)
		}
	}
	w.Publish()
	w.Healed()
	w.Converge()
	w.Read()
}

// cut cuts the power of the disk that a daemon uses while files are edited, after it did
// something: at one of its next calls, or, if these are none, at any moment.
func (w *World) cut(disk *lab.Disk, flag int, h *lab.Host, tr *lab.Trace, calls int, did string) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	before := lab.CountLines(h.Log, did)
	edited := make(chan error, 1)
	at := 1 + w.Writer.Draw(max(1, calls))
	delay := time.Duration(w.Writer.Draw(200)) * time.Millisecond
	go func() { edited <- w.Writer.Run(ctx) }()
	_, err := lab.Eventually(w.c.within(), func() error {
		if lab.CountLines(h.Log, did) == before {
			return fmt.Errorf("nothing done, see %s", lab.Tail(h.Log))
		}
		return nil
	})
	w.do(err)
	cut := make(chan error, 1)
	var once sync.Once
	if calls > 0 {
		delay = w.c.within()
		tr.Arm(at, func(int, lab.Call) { once.Do(func() { cut <- disk.Cut(flag) }) })
	}
	select {
	case err = <-cut:
	case <-time.After(delay):
		tr.Disarm()
		once.Do(func() { cut <- disk.Cut(flag) })
		err = <-cut
	}
	w.do(err)
	stop()
	w.do(<-edited)
	p := h.Daemon
	h.Daemon = nil
	w.do(p.Kill())
	w.do(disk.Remount())
	w.Count("cuts", 1)
}

// switchCalls counts the calls by which an apply becomes visible, and durable.
func (w *World) switchCalls() *lab.Trace {
	own := filepath.Join(w.Target.Dir, ".confsyncd")
	return &lab.Trace{Counts: func(c lab.Call) bool {
		switch c.Name {
		case "renameat2", "unlinkat", "fsync":
			return c.Below(filepath.Dir(w.Target.Dir)) && !c.Below(own, w.sibling()) || c.Path == filepath.Join(w.sibling(), "next")
		}
		return false
	}}
}

// logged is the newest generation that a daemon logged as applied or committed.
func (w *World) logged(h *lab.Host, did string) (newest uint64) {
	w.Helper()
	b, err := os.ReadFile(h.Log)
	w.do(err)
	for line := range strings.Lines(string(b)) {
		var l struct {
			Message    string `json:"@message"`
			Generation uint64
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Message == did {
			newest = max(newest, l.Generation)
		}
	}
	return newest
}

// remembered is the generation that the publisher's memory is at.
func (w *World) remembered() uint64 {
	w.Helper()
	sources := filepath.Join(w.Source.State, "sources")
	entries, err := os.ReadDir(sources)
	w.do(err)
	if len(entries) != 1 {
		w.Fatalf("%d memories", len(entries))
	}
	dir, err := os.OpenRoot(filepath.Join(sources, entries[0].Name()))
	w.do(err)
	s, _, err := journal.Read(dir)
	w.do(errors.Join(err, dir.Close()))
	return s.Position.Generation
}
