//go:build bench

package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// perDirectory is how many files a tree has in each of its directories.
const perDirectory = 100

// FileName is the path of the i-th file of a tree that WriteTree wrote.
func FileName(i int) string {
	return fmt.Sprintf("service-%04d/app-%03d.conf", i/perDirectory, i%perDirectory)
}

// WriteTree writes n files that look like configuration, each of that many bytes, and all
// different. The same seed gives the same tree.
func WriteTree(dir string, n, bytes int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, uint64(bytes)))
	for i := range n {
		name := filepath.Join(dir, FileName(i))
		if i%perDirectory == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(name, []byte(Config(rng, bytes)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Tree returns the directory of a tree of n files of 2 KB that all figures share, and
// nobody may change. It is made when it is first asked for.
func (m *Meter) Tree(n int) string {
	m.Helper()
	trees.mu.Lock()
	defer trees.mu.Unlock()
	dir := filepath.Join(trees.dir, fmt.Sprint(n))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		m.Must(WriteTree(dir, n, 2048, uint64(n)))
	}
	return dir
}

// Trees are what figures share.
type Trees struct {
	dir string
	mu  sync.Mutex // held while one is made
}

// Config makes text that looks like configuration: mostly words that recur, some numbers
// and tokens that do not.
func Config(rng *rand.Rand, bytes int) string {
	words := strings.Fields(`access backend buffer cache certificate client connect cookie default directory enable error
		frontend group handler header host index interval key level listen location log match method name number option
		origin path pool port prefix proxy queue rate read retry route script secret server session size socket source
		status timeout token upstream user value verify weight worker write zone`)
	var s strings.Builder
	for s.Len() < bytes {
		word, other := words[rng.IntN(len(words))], words[rng.IntN(len(words))]
		switch rng.IntN(7) {
		case 0:
			fmt.Fprintf(&s, "\n[%s.%s-%d]\n", word, other, rng.IntN(100))
		case 1:
			fmt.Fprintf(&s, "# The %s of the %s, see the %s.\n", word, other, words[rng.IntN(len(words))])
		case 2:
			fmt.Fprintf(&s, "%s_%s = 10.%d.%d.%d:%d\n", word, other, rng.IntN(4), rng.IntN(256), rng.IntN(256), 1024+rng.IntN(60000))
		case 3:
			fmt.Fprintf(&s, "%s_%s = \"%016x\"\n", word, other, rng.Uint64())
		case 4:
			fmt.Fprintf(&s, "%s_%s = \"/srv/%s/%s-%d/%s.sock\"\n", word, other, other, word, rng.IntN(1000), word)
		case 5:
			fmt.Fprintf(&s, "%s_%s = %v\n", word, other, rng.IntN(2) == 0)
		default:
			fmt.Fprintf(&s, "%s_%s = %ds\n", word, other, rng.IntN(600))
		}
	}
	return s.String()[:bytes]
}
