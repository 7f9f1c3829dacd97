//go:build !lean

package publisher_test

import (
	"crypto/rand"
	"encoding/hex"
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
	for until := time.Now().Add(20 * time.Second); newest < 10; {
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
