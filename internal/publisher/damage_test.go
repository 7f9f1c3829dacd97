//go:build !lean

package publisher_test

import (
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

// A commit on top of a head that names no record could be followed by nobody.
func TestHeadThatNamesNoRecordIsNotPublishedOver(t *testing.T) {
	for name, alter := range map[string]func(*codec.Head){
		"generation": func(h *codec.Head) { h.Position.Generation += 8 },
		"commit id":  func(h *codec.Head) { h.Position.Commit[5] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := devetcdtest.Start(t)
			p := newPlaceAt(t, endpoint)
			p.write("a", "one")
			p.mustPush()
			etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
			if err != nil {
				t.Fatal(err)
			}
			defer etcd.Close()
			view, err := p.store.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head := view.Head.Head
			alter(&head)
			raw, err := codec.EncodeHead(head)
			if err != nil {
				t.Fatal(err)
			}
			const key = "/confsyncd/prod/pub/head"
			if _, err := etcd.Put(t.Context(), key, string(raw)); err != nil {
				t.Fatal(err)
			}
			o := p.options
			o.StateDir = t.TempDir() // What it remembers does not tell.
			if c, err := p.push(o, publisher.PushOptions{}); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), key) {
				t.Errorf("%+v, %v", c, err)
			}
			p.run(o)
			awaitReport(t, o.StateDir, "holding")
			if _, err := etcd.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			p.await(map[string]string{"a": "one"})
		})
	}
}
