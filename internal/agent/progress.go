package agent

import (
	"context"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
)

// telling returns contents so that Options.Progress is told of what was staged.
func (o Options) telling(c install.Contents) install.Contents {
	if o.Progress == nil {
		return c
	}
	return teller{c, o.Progress}
}

// teller is contents whose progress is told.
type teller struct {
	install.Contents
	progress func(done, total int64)
}

// Fetch tells of each content once it was put.
func (t teller) Fetch(ctx context.Context, want []diff.Entry, have func(diff.Hash) []byte, put func(diff.Entry, []byte) error) error {
	var done, total int64
	seen := make(map[diff.Hash]bool)
	for _, e := range want {
		if !seen[e.Hash] {
			seen[e.Hash] = true
			total += e.Size
		}
	}
	return t.Contents.Fetch(ctx, want, have, func(e diff.Entry, content []byte) error {
		err := put(e, content)
		done += e.Size
		t.progress(done, total)
		return err
	})
}
