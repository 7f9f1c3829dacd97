//go:build !lean

package publisher_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/publisher"
)

// Each record outweighs the tree by far, and none waits for a keyframe.
func TestKeyframesAreMadeWhileCommitsGoOn(t *testing.T) {
	p := newPlace(t)
	committed := make(chan publisher.Commit, 1)
	o := p.options
	o.Committed = func(c publisher.Commit) { committed <- c }
	p.run(o)
	content := make([]byte, 50<<10)
	var newest uint64
	for until := time.Now().Add(time.Minute); newest < 10; {
		rand.Read(content)
		p.write("f", hex.EncodeToString(content))
		<-committed
		view, err := p.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		newest = view.Head.Keyframe.Generation
		if time.Now().After(until) {
			t.Fatalf("generation %d, and the newest keyframe is of %d", view.Head.Position.Generation, newest)
		}
	}
	p.await(map[string]string{"f": hex.EncodeToString(content)})
}

// Whatever is under way beside the steps ends with them; TestMain looks for what is left.
func TestRunEndsInTheMiddleOfStagingAndReadingAgain(t *testing.T) {
	p := newPlace(t)
	o := p.options
	o.Rehash = time.Millisecond
	content := make([]byte, 300<<10)
	for i := range 20 {
		p.write(fmt.Sprint("dir/", i), text(50<<10, uint64(i)))
	}
	for i := range 10 {
		stop := p.run(o)
		rand.Read(content)
		p.write("f", hex.EncodeToString(content))
		time.Sleep(time.Duration(i) * 15 * time.Millisecond) // To end it anywhere.
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it took %v to end", took)
		}
	}
	p.mustPush()
	if _, got := p.head(); got["f"] != hex.EncodeToString(content) {
		t.Error("the last edit is not published")
	}
}
