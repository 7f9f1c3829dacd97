package publisher

import (
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// inlineBytes is up to how many bytes of contents travel inside the record itself, so
// that hosts need nothing but the event; beyond, all of them go into packs.
const inlineBytes = 16 << 10

// contents finds the changes' contents a place in the record or in packs. Content that
// the changes take away elsewhere, or that keeps its path, is not sent again: readers
// have it, or find it by its hash. At a founding everything is sent.
func (p *Publisher) contents(changes []diff.Change, founding bool, stage func(codec.Pack) error) ([]codec.Change, int64, error) {
	known := make(map[diff.Hash]bool)
	if !founding {
		for _, c := range changes {
			if c.Old.HasContent() {
				known[c.Old.Hash] = true
			}
		}
	}
	sent := make([]codec.Change, len(changes))
	first := make(map[diff.Hash]int) // the change that each content is sent with
	var order []int                  // of these, by path
	var bytes int64
	for i, c := range changes {
		sent[i] = codec.Change{Path: c.Path, New: c.New}
		if !c.New.HasContent() || c.New.Size == 0 || known[c.New.Hash] {
			continue
		}
		if _, ok := first[c.New.Hash]; !ok {
			first[c.New.Hash] = i
			order = append(order, i)
			bytes += c.New.Size
		}
	}
	var err error
	if bytes <= inlineBytes {
		err = p.inline(sent, order)
	} else {
		err = p.pack(sent, order, stage)
	}
	for i := range sent {
		if from, ok := first[sent[i].New.Hash]; ok && sent[i].New.HasContent() && sent[i].New.Size > 0 {
			sent[i].Content = sent[from].Content
		}
	}
	return sent, bytes, err
}

// inline reads the contents into the changes.
func (p *Publisher) inline(sent []codec.Change, order []int) error {
	for _, i := range order {
		p.options.Beat()
		p.reading = sent[i].Path
		content, err := p.scanner.Read(sent[i].Path, sent[i].New)
		if err != nil {
			return err
		}
		sent[i].Content.Whole = content
	}
	return nil
}

// pack reads the contents into packs, one at a time.
func (p *Publisher) pack(sent []codec.Change, order []int, stage func(codec.Pack) error) error {
	packer := codec.NewPacker(stage)
	spots := make([]codec.Spot, len(order))
	for n, i := range order {
		p.options.Beat()
		p.reading = sent[i].Path
		content, err := p.scanner.Read(sent[i].Path, sent[i].New)
		if err != nil {
			return err
		}
		if spots[n], err = packer.Add(content); err != nil {
			return fmt.Errorf("pack %q: %w", sent[i].Path, err)
		}
	}
	if err := packer.Close(); err != nil {
		return err
	}
	for n, i := range order {
		sent[i].Content = packer.Content(spots[n])
	}
	return nil
}
