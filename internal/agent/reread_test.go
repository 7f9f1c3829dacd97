//go:build !lean

package agent_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/install"
)

// readAt is where in a target's stamps stands when all was read.
const readAt = 5 + 36 + 16

func TestPullReadsAllOnceAnHour(t *testing.T) {
	for mode, set := range modes() {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			set(&p.target)
			p.write(p.source.Dir, "a", "one")
			p.push()
			pull := func() (read time.Time) {
				t.Helper()
				if _, err := agent.Pull(t.Context(), p.target); err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(filepath.Join(install.ControlDir(p.target.Dir), "stamps"))
				if err != nil {
					t.Skip("stamps are not kept on this file system; set TMPDIR to another one: ", err)
				}
				return time.Unix(0, int64(binary.LittleEndian.Uint64(b[readAt:])))
			}
			first := pull()
			if again := pull(); !again.Equal(first) {
				t.Errorf("all was read at %v, and again at %v", first, again)
			}
			path := filepath.Join(install.ControlDir(p.target.Dir), "stamps")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			binary.LittleEndian.PutUint64(b[readAt:], uint64(first.Add(-time.Hour).UnixNano()))
			end := len(b) - 4
			binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if again := pull(); !again.After(first) {
				t.Errorf("all was read an hour before %v, and is said to have been at %v", first, again)
			}
		})
	}
}
