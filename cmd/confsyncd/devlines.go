//go:build !lean

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// devLines prints one line for each changeset, from what publisher and agent tell of
// it. Either may be first.
type devLines struct {
	app    *app
	source string
	commit chan devCommit
	apply  chan devApply
	synced chan uint64 // capacity 1: the first time only
}

type devCommit struct {
	publisher.Commit
	edited time.Time // when the last of the changes was made
}

type devApply struct {
	agent.Applied
	at time.Time
}

func newDevLines(a *app, source string) *devLines {
	return &devLines{app: a, source: source, commit: make(chan devCommit, 64), apply: make(chan devApply, 64), synced: make(chan uint64, 1)}
}

// committed is called by the publisher.
func (d *devLines) committed(c publisher.Commit) { d.commit <- devCommit{c, d.edited(c.Changes)} }

// applied is called by the agent.
func (d *devLines) applied(done agent.Applied) { d.apply <- devApply{done, time.Now()} }

// inSync is called by the agent whenever the target has come to equal the head.
func (d *devLines) inSync(generation uint64) {
	select {
	case d.synced <- generation:
	default:
	}
}

// edited returns when the newest of the changes was made: the kernel's change time of
// what is there, and of the directory of what is gone.
func (d *devLines) edited(changes []diff.Change) time.Time {
	var newest time.Time
	for _, ch := range changes {
		path := ch.Path
		if ch.Deleted() {
			path = diff.Parent(path)
		}
		if at, ok := changeTime(filepath.Join(d.source, path)); ok && at.After(newest) {
			newest = at
		}
	}
	return newest
}

// run prints until ctx ends.
func (d *devLines) run(ctx context.Context) error {
	commits := make(map[uint64]devCommit)
	applied := devApply{}
	printed := uint64(0)
	synced := d.synced
	overdue := time.NewTimer(time.Hour)
	defer overdue.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-d.commit:
			commits[c.Position.Generation] = c
		case applied = <-d.apply:
			if printed == 0 {
				printed = applied.From
			}
		case <-overdue.C:
		case g := <-synced:
			synced = nil
			if applied.at.IsZero() && len(d.apply) == 0 {
				if err := d.app.printf("%s  generation %d  in sync\n", time.Now().Format("15:04:05"), g); err != nil {
					return err
				}
			}
		}
		for g := printed + 1; g <= applied.Position.Generation; g++ {
			c, ok := commits[g]
			if wait := time.Until(applied.at.Add(time.Second)); !ok && wait > 0 {
				overdue.Reset(wait) // the publisher is about to tell, if the commit is its own
				break
			}
			if err := d.print(g, c, ok, applied); err != nil {
				return err
			}
			delete(commits, g)
			printed = g
		}
	}
}

func (d *devLines) print(generation uint64, c devCommit, known bool, done devApply) error {
	line := fmt.Sprintf("%s  generation %d  ", done.at.Format("15:04:05"), generation)
	switch {
	case !known:
		line += fmt.Sprintf("%s  %s", countsText(done.Created, done.Changed, done.Deleted), bytesText(done.Bytes))
	case c.Founding:
		line += fmt.Sprintf("%s  %s  whole tree in %d ms", countsText(c.Counts()), bytesText(c.Bytes), (c.Duration + done.Duration).Milliseconds())
	default:
		line += fmt.Sprintf("%s  %s  %d ms", changesText(c.Changes), bytesText(c.Bytes), done.at.Sub(c.edited).Milliseconds())
	}
	return d.app.printf("%s\n", line)
}

// changesText names the first of the changes.
func changesText(changes []diff.Change) string {
	const most = 4
	var words []string
	for _, ch := range changes[:min(len(changes), most)] {
		sign := "~"
		if ch.Created() {
			sign = "+"
		} else if ch.Deleted() {
			sign = "-"
		}
		words = append(words, sign+printable(ch.Path))
	}
	if more := len(changes) - most; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}

func changeTime(path string) (time.Time, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}, false
	}
	return ctime(info), true
}
