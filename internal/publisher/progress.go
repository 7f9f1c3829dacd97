package publisher

import (
	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// telling returns stage so that PushOptions.Progress is told of what was staged.
func (p *Publisher) telling(changes []diff.Change, stage func(codec.Pack) error) func(codec.Pack) error {
	if p.push == nil || p.push.Progress == nil {
		return stage
	}
	var done, total int64
	seen := make(map[diff.Hash]bool)
	for _, c := range changes {
		if c.New.HasContent() && c.New.Hash != c.Old.Hash && !seen[c.New.Hash] {
			seen[c.New.Hash] = true
			total += c.New.Size
		}
	}
	return func(pack codec.Pack) error {
		err := stage(pack)
		done = min(done+pack.Ref.Size, total)
		p.push.Progress(done, total)
		return err
	}
}
