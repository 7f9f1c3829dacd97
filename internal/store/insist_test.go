package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestInsist(t *testing.T) {
	cases := []struct {
		name     string
		ended    bool // the context
		failures int  // before the first success
		err      error
		tries    int
		want     error
	}{
		{"a success is the end", false, 0, nil, 1, nil},
		{"what may pass is tried again", false, 2, ErrUnreachable, 3, nil},
		{"not for ever", false, 100, ErrUnreachable, breakAfter, ErrUnreachable},
		{"what etcd refuses is not tried again", false, 100, ErrRefused, 1, ErrRefused},
		{"nor anything once the context has ended", true, 100, ErrUnreachable, 1, ErrUnreachable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancel(context.Background())
				defer end()
				if c.ended {
					end()
				}
				tries := 0
				err := insist(ctx, func() error {
					if tries++; tries > c.failures {
						return nil
					}
					return c.err
				})
				if !errors.Is(err, c.want) || tries != c.tries {
					t.Errorf("%v after %d tries, want %v after %d", err, tries, c.want, c.tries)
				}
			})
		})
	}
}
