package publisher

import (
	"testing"

	"github.com/confsyncd/confsyncd/internal/watcher"
)

func TestABusyFileThatCameAndWentHasAllLookedAt(t *testing.T) {
	cases := []struct {
		name string
		more watcher.Dirty
		all  bool
	}{
		{"beside some of what was done under it", watcher.Dirty{Paths: []string{".confsyncd-hold", "a"}}, true},
		{"perhaps, where names are not told apart", watcher.Dirty{Dirs: []string{""}}, true},
		{"in another directory", watcher.Dirty{Dirs: []string{".git"}}, true},
		{"not at all", watcher.Dirty{Dirs: []string{"d"}, Paths: []string{"a", "b/.confsyncd-hold"}}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := daemon{Publisher: &Publisher{options: Options{BusyFiles: []string{".confsyncd-hold", ".git/index.lock"}}}}
			if d.note(c.more); d.dirty.All != c.all {
				t.Errorf("all: %v, want %v", d.dirty.All, c.all)
			}
		})
	}
}
