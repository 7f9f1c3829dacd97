//go:build !lean

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// generation publishes a content of a file, and returns its position.
func (p *place) generation(content string) diff.Position {
	p.Helper()
	p.write(p.source.Dir, "a", content)
	p.push()
	view, err := p.source.Store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return view.Head.Position
}

func (p *place) move(channel string, to diff.Position) {
	p.Helper()
	if _, err := p.source.Store.MoveChannel(p.Context(), channel, to); err != nil {
		p.Fatal(err)
	}
}

// awaitFile waits until the target's file has a content.
func (p *place) awaitFile(content string) {
	p.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(p.target.Dir, "a"))
		if string(b) == content {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("the file holds %q (%v), want %q", b, err, content)
		}
	}
}

func TestAgentFollowsItsChannel(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.target.Channel = "stable"
	applies := make(chan agent.Applied, 100)
	p.target.Applied = func(a agent.Applied) { applies <- a }
	applied := func(want uint64) {
		t.Helper()
		if a := <-applies; a.Position.Generation != want {
			t.Fatalf("applied generation %d, want %d", a.Position.Generation, want)
		}
	}
	first := p.generation("1")
	p.run()
	if r := p.await("waiting"); !strings.Contains(r.Reason, `no channel "stable"`) {
		t.Errorf("reason is %q", r.Reason)
	}
	p.move("stable", first)
	p.await("in_sync")
	applied(1)

	// The head moves on and keyframes are made: nothing is done here.
	var last diff.Position
	for i := 2; i <= 30; i++ {
		last = p.generation(fmt.Sprint(i))
		if i%10 == 0 {
			view, err := p.source.Store.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k, err := p.source.Store.StageKeyframe(t.Context(), view, nil)
			if err == nil {
				_, err = p.source.Store.PublishKeyframe(t.Context(), view.Head, k)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// What drifts is put right with what the channel has.
	if err := os.Remove(filepath.Join(p.target.Dir, "a")); err != nil {
		t.Fatal(err)
	}
	p.awaitFile("1")
	p.move("stable", last)
	applied(30)
	p.awaitFile("30")
	if len(applies) > 0 {
		t.Errorf("applied generation %d too", (<-applies).Position.Generation)
	}
}

func TestTargetThatIsPutOnAChannelBehindItWaits(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	first := p.generation("1")
	p.generation("2")
	p.move("stable", first)
	pull := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := agent.Pull(ctx, p.target)
		return err
	}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	p.target.Channel = "stable"
	if err := pull(); !errors.Is(err, agent.ErrChannel) {
		t.Fatalf("pull: %v", err)
	}
	p.run()
	if r := p.await("waiting"); !strings.Contains(r.Reason, `channel "stable" is at generation 1, behind generation 2 here`) {
		t.Errorf("reason is %q", r.Reason)
	}
	// It goes on repairing what it has.
	if err := os.Remove(filepath.Join(p.target.Dir, "a")); err != nil {
		t.Fatal(err)
	}
	p.awaitFile("2")
	p.move("stable", p.generation("3"))
	p.await("in_sync")
	p.awaitFile("3")
}

// rollAhead lets hosts follow the head before their channel does.
func (p *place) rollAhead(hosts ...codec.Selector) {
	p.Helper()
	view, err := p.source.Store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	at := view.Head.Position
	if _, err := p.source.Store.Lead(p.Context(), &codec.Ahead{Channel: codec.MainChannel, Generation: at.Generation, Commit: at.Commit, Hosts: hosts}); err != nil {
		p.Fatal(err)
	}
}

func TestAgentGoesAheadOfItsChannelInARollout(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.source.Channels = []string{}
	p.target.Host = agent.Host{ID: "web-1", Labels: map[string]string{"role": "web"}}
	p.generation("1")
	p.run()
	p.awaitFile("1")
	p.generation("2")
	p.rollAhead(codec.Selector{Label: "role=db", Parts: codec.AllParts}, codec.Selector{Label: "role=web", Parts: codec.Share(p.tenant(), "web-1")})
	p.generation("3")
	p.rollAhead(codec.Selector{Label: "role=web", Parts: codec.Share(p.tenant(), "web-1") + 1})
	p.await("in_sync")
	p.awaitFile("3")
	// It ends: whoever has the generation keeps it, until its channel comes.
	if _, err := p.source.Store.Lead(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	p.await("waiting")
	p.awaitFile("3")
	p.source.Channels = nil
	p.generation("4")
	p.awaitFile("4")
	p.await("in_sync")
}

func (p *place) tenant() diff.TenantID {
	p.Helper()
	var view store.View
	view, err := p.source.Store.View(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return view.Head.Position.Tenant
}
