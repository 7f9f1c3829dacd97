package watcher

import (
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"time"
)

func TestRenewAsksAnewWhatIsIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "sub"))
	var ignoring atomic.Bool
	ignoring.Store(true)
	w := start(t, Options{Dir: dir, Settle: 20 * time.Millisecond, Ignore: func(string, bool) bool { return ignoring.Load() }})
	wait(t, w)
	ignoring.Store(false)
	w.Renew()
	if got := wait(t, w); !got.All {
		t.Fatalf("after Renew: %+v", got)
	}
	write(t, filepath.Join(dir, "sub", "f"), "1")
	if got, want := wait(t, w), (Dirty{Dirs: []string{"sub"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
