//go:build !lean

package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
)

func TestPullWaitsForWhatIsOpenForWriting(t *testing.T) {
	for mode, set := range modes() {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			set(&p.target)
			p.write(p.source.Dir, "a", "one")
			p.push()
			if _, err := agent.Pull(t.Context(), p.target); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(p.target.Dir, "a"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString(" and more"); err != nil {
				t.Fatal(err)
			}
			var stuck *agent.Stuck
			if _, err := agent.Pull(t.Context(), p.target); !errors.As(err, &stuck) || !errors.Is(err, agent.ErrRefused) || stuck.Paths[0].Path != "a" {
				t.Fatal(err)
			}
			closed := time.AfterFunc(300*time.Millisecond, func() { _ = f.Close() })
			defer closed.Stop()
			done, err := agent.Pull(t.Context(), p.target)
			if err != nil || done.Applied == nil || done.Applied.Corrected != 1 || done.Applied.Kept != 1 {
				t.Fatalf("%+v, %v", done.Applied, err)
			}
		})
	}
}
