//go:build !lean

package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/confsyncd/confsyncd/internal/store"
)

func TestWithHead(t *testing.T) {
	f := newFixture(t)
	h1 := f.mustCommit(nil, map[string]string{"a": "one"}, false)
	other := errors.New("other")
	for name, tt := range map[string]struct {
		answers []error // one for each call; nil ends it
		want    error
	}{
		"done":                          {[]error{nil}, nil},
		"again while etcd is away":      {[]error{store.ErrUnreachable, store.ErrNotApplied, nil}, nil},
		"missing once":                  {[]error{store.ErrGone, nil}, nil},
		"missing twice is damage":       {[]error{store.ErrGone, store.ErrGone}, store.ErrDamaged},
		"what does not go away is told": {[]error{other}, other},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := f.store.WithHead(t.Context(), func(v store.View) error {
				if !v.Head.Same(h1) {
					t.Errorf("the head is %+v", v.Head)
				}
				calls++
				if err := tt.answers[calls-1]; err != nil {
					return fmt.Errorf("wrapped: %w", err)
				}
				return nil
			})
			if !errors.Is(err, tt.want) || calls != len(tt.answers) {
				t.Errorf("%d calls, %v; want %d, %v", calls, err, len(tt.answers), tt.want)
			}
		})
	}
	t.Run("missing under another head is looked for again", func(t *testing.T) {
		calls, head := 0, h1
		err := f.store.WithHead(t.Context(), func(store.View) error {
			if calls++; calls == 3 {
				return nil
			}
			head = f.mustCommit(head, map[string]string{"a": fmt.Sprint(calls)}, false)
			return store.ErrGone
		})
		if err != nil || calls != 3 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := f.store.WithHead(ctx, func(store.View) error {
			cancel()
			return store.ErrUnreachable
		})
		if !errors.Is(err, store.ErrUnreachable) {
			t.Error(err)
		}
	})
}
