//go:build !lean

package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/install"
)

// pinned reports whether the target of p is pinned.
func (p *place) pinned() bool {
	p.Helper()
	holds, err := install.ReadHolds(p.target.Dir)
	if err != nil {
		p.Fatal(err)
	}
	return holds.Pin != nil
}

func TestPinIsThereBeforeTheFirstWrite(t *testing.T) {
	for mode, set := range modes() {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			set(&p.target)
			p.write(p.source.Dir, "a", "one")
			p.write(p.source.Dir, "b", "two")
			p.push()
			p.target.Pin = &install.Hold{By: "bob", Time: time.Now(), Generation: 1}
			asked := false
			p.target.Progress = func(done, _ int64) {
				if asked = true; done > 0 && !p.pinned() {
					t.Error("staged before it was pinned")
				}
			}
			if _, err := agent.Pull(t.Context(), p.target); err != nil || !asked || !p.pinned() {
				t.Fatalf("pulled: %v, asked %v, pinned %v", err, asked, p.pinned())
			}
		})
	}
}

func TestPinOfWhatIsRefusedLeavesNothing(t *testing.T) {
	p := newPlace(t)
	p.write(p.source.Dir, "a", "one")
	p.push()
	p.write(p.target.Dir, "a", "mine")
	p.target.Pin = &install.Hold{By: "bob", Time: time.Now(), Generation: 1}
	if _, err := agent.Pull(t.Context(), p.target); !errors.Is(err, agent.ErrRefused) {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(p.target.Dir); err != nil || len(list) != 1 {
		t.Fatalf("left %v, %v in %s", list, err, filepath.Base(p.target.Dir))
	}
}
