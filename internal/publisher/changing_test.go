//go:build !lean

package publisher_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/publisher"
)

// restless returns the options of a publisher during whose reading a file is replaced each
// time, until it is told to stop.
func (p *place) restless(path string) (o publisher.Options, stop func()) {
	var mu sync.Mutex
	n, ended := 0, false
	o = p.options
	o.Beat = func() {
		mu.Lock()
		defer mu.Unlock()
		if n++; !ended {
			p.write(path, fmt.Sprint("version ", n))
		}
	}
	return o, func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		p.write(path, "the last")
	}
}

func TestFileThatChangesAllTheTimeHoldsNoOtherUp(t *testing.T) {
	tests := []struct {
		name      string
		committed string // of the file, before; "" is none
	}{
		{"its committed version stays", "the first"},
		{"it stays absent", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.write("quiet", "one")
			want := map[string]string{"quiet": "one"}
			if tt.committed != "" {
				p.write("busy", tt.committed)
				want["busy"] = tt.committed
			}
			p.mustPush()
			o, stop := p.restless("busy")
			p.write("quiet", "two")
			p.write("more/quiet", "three")
			begin := time.Now()
			p.run(o)
			want["quiet"], want["more"], want["more/quiet"] = "two", "", "three"
			// On a slow machine the scan may have kept a version of the other file.
			for _, got := p.head(); got["quiet"] != "two" || got["more/quiet"] != "three"; _, got = p.head() {
				if time.Since(begin) > time.Minute {
					t.Fatalf("head holds %v", got)
				}
				time.Sleep(5 * time.Millisecond)
			}
			stop()
			want["busy"] = "the last"
			p.await(want)
		})
	}
}

func TestDirectoryThatBecomesAFileThatChangesAllTheTimeIsNotLeftOut(t *testing.T) {
	p := newPlace(t)
	p.write("busy/below", "one")
	p.write("quiet", "one")
	p.mustPush()
	p.remove("busy")
	p.write("quiet", "two")
	o, stop := p.restless("busy")
	replace, replaced := o.Beat, make(chan struct{}, 300) // Several for each try.
	o.Beat = func() {
		replace()
		select {
		case replaced <- struct{}{}:
		default:
		}
	}
	p.run(o)
	for len(replaced) < cap(replaced) {
		time.Sleep(time.Millisecond)
	}
	_, got := p.head()
	if _, old := got["busy/below"]; old != (got["quiet"] == "one") {
		t.Errorf("head holds a part of the change: %v", got)
	}
	stop()
	p.await(map[string]string{"busy": "the last", "quiet": "two"})
}

func TestPushLeavesNothingOut(t *testing.T) {
	p := newPlace(t)
	p.write("quiet", "one")
	o, _ := p.restless("busy")
	if _, err := p.push(o, publisher.PushOptions{}); err == nil {
		t.Fatal("pushed although a file changed each time that it was read")
	}
	if v, _ := p.head(); v != nil {
		t.Fatalf("there is a commit: %+v", diff.Compare(diff.Tree{}, v.Tree))
	}
}

func TestNothingGoesAwayWhileWhatMayReplaceItIsLeftOut(t *testing.T) {
	p := newPlace(t)
	p.write("old", "one")
	p.write("quiet", "one")
	p.mustPush()
	o, stop := p.restless("new")
	p.remove("old")
	p.write("quiet", "two")
	begin := time.Now()
	p.run(o)
	for {
		_, got := p.head()
		_, before := got["old"]
		_, after := got["new"]
		if !before && !after {
			t.Fatalf("head holds %v: neither the old nor the new", got)
		}
		if got["quiet"] == "two" {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("head holds %v", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	p.await(map[string]string{"quiet": "two", "new": "the last"})
}
